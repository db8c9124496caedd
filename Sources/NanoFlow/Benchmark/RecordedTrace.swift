package import Foundation

/// Requests by their lengths and, where the trace says it, when they came.
///
/// Next: NanoClient sends requests of these lengths, at these times or at others, to a server.
package struct RecordedTrace: Sendable, Hashable {
    /// One request, as it was recorded.
    package struct Row: Sendable, Hashable {
        /// Seconds since a moment that all rows share; nil where the trace has no time.
        package let arrival: Double?
        package let promptTokens: Int
        package let completionTokens: Int
        /// As ``MooncakeTrace/Request/hashIDs``; empty where the trace has none.
        package let hashIDs: [Int]
    }

    /// In the order of their arrival, or of the file where that is not known.
    package let rows: [Row]

    /// Reads a trace: CSV as ``Workload/init(trace:limits:seed:)`` does, or JSON lines as
    /// ``MooncakeTrace`` does, with `timestamp` in ms.
    ///
    /// Rows with a length of 0 or over a limit are left out.
    /// - Parameters:
    ///   - path: The file.
    ///   - maxPrompt: Tokens of a prompt at most; nil is any number.
    ///   - maxCompletion: Tokens of a completion at most; nil is any number.
    ///   - needsArrivals: Whether a row without a time is an error. A time in a CSV file's column
    ///     `TIMESTAMP` is a date with the time of day, whose zone is ignored, or a number of seconds.
    /// - Throws: ``NanoFlowError`` for a file that cannot be read, with the line at fault, and where
    ///   no row is within the limits.
    package init(
        file path: String, maxPrompt: Int? = nil, maxCompletion: Int? = nil, needsArrivals: Bool
    ) throws(NanoFlowError) {
        try self.init(
            Workload.contents(of: path), name: path, maxPrompt: maxPrompt,
            maxCompletion: maxCompletion, needsArrivals: needsArrivals)
    }

    /// As ``init(file:maxPrompt:maxCompletion:needsArrivals:)``; `name` stands for the file in errors.
    package init(
        _ data: Data, name: String, maxPrompt: Int? = nil, maxCompletion: Int? = nil,
        needsArrivals: Bool
    ) throws(NanoFlowError) {
        try Workload.check("max-prompt", maxPrompt ?? 1, atMost: Workload.maxTokenCount)
        try Workload.check("max-completion", maxCompletion ?? 1, atMost: Workload.maxTokenCount)
        let isLines = data.first { !jsonWhiteSpace.contains($0) } == UInt8(ascii: "{")
        let all =
            isLines
            ? try Self.rows(jsonLines: data, name, needsArrivals)
            : try Self.rows(csv: data, name, needsArrivals)
        let prompts = 1...(maxPrompt ?? Workload.maxTokenCount)
        let completions = 1...(maxCompletion ?? Workload.maxTokenCount)
        let kept = all.filter {
            prompts.contains($0.promptTokens) && completions.contains($0.completionTokens)
        }
        guard !kept.isEmpty else {
            throw NanoFlowError(
                .invalidConfiguration, field: name, limit: "a trace with a row within the limits",
                given: "\(all.count) rows, none of them within")
        }
        rows = needsArrivals ? kept.sorted { $0.arrival ?? 0 < $1.arrival ?? 0 } : kept
    }

    // MARK: - JSON lines

    private struct Entry: Decodable {
        let timestamp: Double?
    }

    private static func rows(
        jsonLines data: Data, _ name: String, _ needsArrivals: Bool
    ) throws(NanoFlowError) -> [Row] {
        let requests = try MooncakeTrace(data, name: name).requests
        let lines = try jsonLines(
            data, name: name, limit: MooncakeTrace.maxRequestCount, of: "requests")
        var rows: [Row] = []
        for (request, (place, line)) in zip(requests, lines) {
            let timestamp = (try? JSONDecoder().decode(Entry.self, from: line))?.timestamp
            guard timestamp != nil || !needsArrivals else {
                throw noArrival("\(place): timestamp", limit: "a number of ms", given: "none")
            }
            rows.append(
                Row(
                    arrival: timestamp.map { $0 / 1000 }, promptTokens: request.promptTokens,
                    completionTokens: request.answerTokens, hashIDs: request.hashIDs))
        }
        return rows
    }

    // MARK: - CSV

    private static func rows(
        csv data: Data, _ name: String, _ needsArrivals: Bool
    ) throws(NanoFlowError) -> [Row] {
        var columns: (arrival: Int?, prompt: Int, completion: Int)?
        var rows: [Row] = []
        for (index, bytes) in data.split(separator: 0x0A, omittingEmptySubsequences: false)
            .enumerated()
        {
            let line = CSVLine(bytes, place: "\(name), line \(index + 1)")
            guard !line.isBlank else { continue }
            guard let columns else {
                columns = (
                    arrival: line.index(of: "TIMESTAMP"),
                    prompt: try line.column("ContextTokens"),
                    completion: try line.column("GeneratedTokens")
                )
                continue
            }
            let text = columns.arrival.map { line[$0] } ?? ""
            let arrival = needsArrivals ? seconds(text) : nil
            guard arrival != nil || !needsArrivals else {
                throw noArrival(
                    "\(line.place): TIMESTAMP",
                    limit: "like 2023-11-16 18:15:46.68, or a number of seconds",
                    given: text.isEmpty ? "nothing" : abbreviated(text))
            }
            rows.append(
                Row(
                    arrival: arrival,
                    promptTokens: try line.integer(columns.prompt, "ContextTokens"),
                    completionTokens: try line.integer(columns.completion, "GeneratedTokens"),
                    hashIDs: []))
        }
        return rows
    }

    private static let calendar: Calendar = {
        var calendar = Calendar(identifier: .gregorian)
        calendar.timeZone = .gmt
        return calendar
    }()

    /// nil for what is neither a date with a time nor a number.
    private static func seconds(_ text: String) -> Double? {
        if let number = Double(text) { return number.isFinite ? number : nil }
        let parts = text.split { !$0.isWholeNumber && $0 != "." }.prefix(6)
        let whole = parts.prefix(5).compactMap { Int($0) }
        guard whole.count == 5, parts.count == 6, let seconds = parts.last.flatMap({ Double($0) }),
            let minute = calendar.date(
                from: DateComponents(
                    year: whole[0], month: whole[1], day: whole[2], hour: whole[3],
                    minute: whole[4]))
        else { return nil }
        return minute.timeIntervalSinceReferenceDate + seconds
    }

    private static func noArrival(_ field: String, limit: String, given: String) -> NanoFlowError {
        NanoFlowError(
            .invalidRequest, field: field, limit: limit, given: given,
            message: "\(field) must be \(limit), for requests are to come as they were recorded. "
                + "Given: \(given).")
    }
}
