package import Foundation

extension Workload {
    /// Bytes that a workload or trace file can have.
    package static let maxFileByteCount = 256 << 20

    /// Reads requests from a file: a JSON list, or JSON lines.
    ///
    /// Each entry has a prompt, `prompt_token_ids` or `prompt` (a text; the ids count where both are
    /// there), and a length, `output_len` or `max_tokens`.
    /// - Throws: ``NanoFlowError`` for a file that cannot be read, with the entry or line at fault.
    package init(file path: String) throws(NanoFlowError) {
        try self.init(json: Workload.contents(of: path), name: path)
    }

    /// As ``init(file:)``; `name` stands for the file in errors.
    package init(json data: Data, name: String) throws(NanoFlowError) {
        let first = data.first { !jsonWhiteSpace.contains($0) }
        let entries: [Entry]
        switch first {
        case UInt8(ascii: "["):
            entries = try Self.decode([Entry].self, data, place: name)
        case UInt8(ascii: "{"):
            entries = try Self.lines(data, name)
        default:
            throw NanoFlowError(
                .invalidRequest, field: name, limit: "a JSON list, or JSON lines",
                given: first == nil ? "an empty file" : "something else")
        }
        guard !entries.isEmpty, entries.count <= Self.maxRequestCount else {
            throw NanoFlowError(
                .invalidRequest, field: name, limit: "1 to \(Self.maxRequestCount) requests",
                given: "\(entries.count)")
        }
        var requests: [Request] = []
        for (index, entry) in entries.enumerated() {
            requests.append(try entry.request("\(name), request \(index)"))
        }
        self.init(requests: requests, hasTexts: entries.contains { $0.prompt != nil })
    }

    private static func lines(_ data: Data, _ name: String) throws(NanoFlowError) -> [Entry] {
        var entries: [Entry] = []
        for (index, line) in data.split(separator: 0x0A, omittingEmptySubsequences: false)
            .enumerated() where line.contains(where: { !jsonWhiteSpace.contains($0) })
        {
            entries.append(try decode(Entry.self, line, place: "\(name), line \(index + 1)"))
            if entries.count > maxRequestCount { break }
        }
        return entries
    }

    private static func decode<Value: Decodable>(
        _ type: Value.Type, _ data: Data, place: String
    ) throws(NanoFlowError) -> Value {
        do {
            return try JSONDecoder().decode(type, from: data)
        } catch DecodingError.typeMismatch(_, let context),
            DecodingError.valueNotFound(_, let context)
        {
            let path = context.codingPath.reduce("") { path, key in
                if let index = key.intValue { return path + "[\(index)]" }
                return path + (path.isEmpty ? "" : ".") + key.stringValue
            }
            throw NanoFlowError(
                .invalidRequest, field: "\(place): \(path)",
                limit: "a number, a list of numbers, a text or an object, as its place asks for",
                given: "a value of another kind")
        } catch {
            throw NanoFlowError(
                .invalidRequest, field: place, limit: "JSON", given: "something else")
        }
    }

    /// The bytes of a file of limited size; devices and pipes end at the limit, too.
    static func contents(of path: String) throws(NanoFlowError) -> Data {
        let data: Data
        do {
            let file = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
            data = try file.read(upToCount: maxFileByteCount + 1) ?? Data()
        } catch {
            throw NanoFlowError(
                .invalidRequest, field: path,
                message: "\(path) cannot be read: \(error.localizedDescription)")
        }
        guard data.count <= maxFileByteCount else {
            throw NanoFlowError(
                .invalidRequest, field: path, limit: "a file of at most \(bytes(maxFileByteCount))",
                given: "a larger one")
        }
        return data
    }
}

let jsonWhiteSpace: [UInt8] = [0x20, 0x09, 0x0A, 0x0D]

/// A request as a workload file spells it.
///
/// Numbers are read as floats, because the decoder says of 1.5 where an integer should be only that
/// the whole file is not JSON.
private struct Entry: Decodable {
    let promptTokenIDs: [Double]?
    let prompt: String?
    let outputLength: Double?
    let maxTokens: Double?

    private enum CodingKeys: String, CodingKey {
        case promptTokenIDs = "prompt_token_ids"
        case prompt
        case outputLength = "output_len"
        case maxTokens = "max_tokens"
    }

    func request(_ place: String) throws(NanoFlowError) -> Workload.Request {
        let length: Int
        if let outputLength {
            length = try Self.count(outputLength, "\(place): output_len")
        } else if let maxTokens {
            length = try Self.count(maxTokens, "\(place): max_tokens")
        } else {
            throw missing(place, "output_len or max_tokens")
        }
        if let promptTokenIDs {
            let ids = try Self.tokens(promptTokenIDs, "\(place): prompt_token_ids")
            return Workload.Request(prompt: .tokens(ids), outputLength: length)
        }
        guard let prompt else { throw missing(place, "prompt_token_ids or prompt") }
        return Workload.Request(prompt: .text(prompt), outputLength: length)
    }

    private static func count(_ number: Double, _ field: String) throws(NanoFlowError) -> Int {
        guard let count = Int(exactly: number), (1...Workload.maxTokenCount).contains(count)
        else {
            throw NanoFlowError(
                .invalidRequest, field: field, limit: "1 to \(Workload.maxTokenCount)",
                given: plain(number))
        }
        return count
    }

    private static func tokens(
        _ numbers: [Double], _ field: String
    ) throws(NanoFlowError) -> [Int] {
        guard (1...Workload.maxTokenCount).contains(numbers.count) else {
            throw NanoFlowError(
                .invalidRequest, field: field, limit: "1 to \(Workload.maxTokenCount) token ids",
                given: "\(numbers.count)")
        }
        var ids: [Int] = []
        ids.reserveCapacity(numbers.count)
        for (index, number) in numbers.enumerated() {
            // The vocabulary's size is checked with the model.
            guard let id = Int32(exactly: number) else {
                throw NanoFlowError(
                    .invalidRequest, field: "\(field)[\(index)]", limit: "a token id",
                    given: plain(number))
            }
            ids.append(Int(id))
        }
        return ids
    }

    private static func plain(_ number: Double) -> String {
        Int(exactly: number).map(String.init) ?? "\(number)"
    }

    private func missing(_ place: String, _ what: String) -> NanoFlowError {
        NanoFlowError(
            .invalidRequest, field: place, limit: "an entry with \(what)", given: "one without")
    }
}
