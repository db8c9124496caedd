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
        for (index, line) in data.split(separator: 0x0A, omittingEmptySubsequences: false)
            .enumerated() where line.contains(where: { !jsonWhiteSpace.contains($0) })
        {
            let place = "\(name), line \(index + 1)"
            guard let entry = try? JSONDecoder().decode(Entry.self, from: line),
                !entry.history.isEmpty
            else {
                throw NanoFlowError(
                    .invalidRequest, field: place,
                    limit: "{\"history\": [{\"user\": \"...\", \"bot\": \"...\"}, ...]}",
                    given: "something else")
            }
            dialogues.append(entry.history.map { Round(question: $0.user, answer: $0.bot) })
            guard dialogues.count <= Self.maxDialogueCount else {
                throw NanoFlowError(
                    .invalidRequest, field: name, limit: "\(Self.maxDialogueCount) dialogues",
                    given: "more")
            }
        }
        guard !dialogues.isEmpty else {
            throw NanoFlowError(
                .invalidRequest, field: name, limit: "at least one dialogue", given: "none")
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
