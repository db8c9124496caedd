package import Foundation

/// Recorded conversations of several rounds, for benchmarks.
package struct Dialogues: Sendable, Hashable {
    /// What one side said, and how long the other's answer was.
    package struct Round: Sendable, Hashable {
        package let question: String
        /// The recorded answer; the engine gives its own, about as long.
        package let answer: String
    }

    package private(set) var dialogues: [[Round]] = []

    package static let maxDialogueCount = 100_000

    /// Reads JSON lines with a `history` of `user` and `bot` texts, as MT-Bench-101 has them.
    ///
    /// - Throws: ``NanoFlowError`` for a file that cannot be read, with the line at fault.
    package init(file path: String) throws(NanoFlowError) {
        try self.init(Workload.contents(of: path), name: path)
    }

    /// As ``init(file:)``; `name` stands for the file in errors.
    package init(_ data: Data, name: String) throws(NanoFlowError) {
        let lines = try jsonLines(data, name: name, limit: Self.maxDialogueCount, of: "dialogues")
        for (place, line) in lines {
            guard let entry = try? JSONDecoder().decode(Entry.self, from: line),
                !entry.history.isEmpty
            else {
                throw NanoFlowError(
                    .invalidRequest, field: place,
                    limit: "{\"history\": [{\"user\": \"...\", \"bot\": \"...\"}, ...]}",
                    given: "something else")
            }
            dialogues.append(entry.history.map { Round(question: $0.user, answer: $0.bot) })
        }
    }

    private struct Entry: Decodable {
        let history: [Turn]

        struct Turn: Decodable {
            let user: String
            let bot: String
        }
    }

    /// The dialogues with the longest texts in front of their last round, in the file's order.
    package func longest(_ count: Int) -> [[Round]] {
        let lengths = dialogues.map { rounds in
            rounds.dropLast().reduce(0) { $0 + $1.question.utf8.count + $1.answer.utf8.count }
        }
        let kept = dialogues.indices.sorted { (lengths[$1], $0) < (lengths[$0], $1) }.prefix(count)
        return kept.sorted().map { dialogues[$0] }
    }
}

/// The lines of a file of JSON lines, but for blank ones, each with its place for errors.
///
/// - Parameters:
///   - data: The file.
///   - name: Stands for the file in errors.
///   - limit: Lines that it may have.
///   - what: What the lines are.
/// - Returns: At least one line.
/// - Throws: ``NanoFlowError`` for no line, and for more than the limit.
func jsonLines(
    _ data: Data, name: String, limit: Int, of what: String
) throws(NanoFlowError) -> [(place: String, line: Data)] {
    var lines: [(place: String, line: Data)] = []
    for (index, line) in data.split(separator: 0x0A, omittingEmptySubsequences: false)
        .enumerated() where line.contains(where: { !jsonWhiteSpace.contains($0) })
    {
        guard lines.count < limit else {
            throw NanoFlowError(
                .invalidRequest, field: name, limit: "at most \(limit) \(what)", given: "more")
        }
        lines.append(("\(name), line \(index + 1)", line))
    }
    guard !lines.isEmpty else {
        throw NanoFlowError(.invalidRequest, field: name, limit: "1 or more \(what)", given: "none")
    }
    return lines
}
