import Foundation
import NanoFlow
import Testing

/// Traces of lengths and hashes: what is read, what continues what, and what it is scaled to.
@Suite struct MooncakeTraceTests {
    private static func line(_ prompt: Int, _ answer: Int, _ ids: [Int]) -> String {
        #"{"timestamp": 0, "input_length": \#(prompt), "output_length": \#(answer), "#
            + #""hash_ids": \#(ids)}"#
    }

    private static func read(_ text: String) throws(NanoFlowError) -> MooncakeTrace {
        try MooncakeTrace(Data(text.utf8), name: "t.jsonl")
    }

    /// Requests whose last id stands for one token.
    private static func trace(_ ids: [[Int]], answer: Int = 100) throws -> MooncakeTrace {
        let lines = ids.map { line(($0.count - 1) * 512 + 1, answer, $0) }
        return try read(lines.joined(separator: "\n"))
    }

    private static func scaled(
        _ trace: MooncakeTrace, contextLength: Int
    ) throws -> [[MooncakeTrace.Round]] {
        try MooncakeTrace.scaled(
            trace.sessions, contextLength: contextLength, vocabulary: Array(1000..<2000))
    }

    // MARK: - Reading

    @Test func requestsAreReadInTheFilesOrder() throws {
        let text = Self.line(512, 7, [3]) + "\n\n" + Self.line(513, 1, [3, -4]) + "\n"
        let requests = try Self.read(text).requests
        #expect(requests.map(\.promptTokens) == [512, 513])
        #expect(requests.map(\.answerTokens) == [7, 1])
        #expect(requests.map(\.hashIDs) == [[3], [3, -4]])
    }

    private static let faults: [(String, String)] = [
        ("", "t.jsonl"), (" \n", "t.jsonl"), ("[]", "t.jsonl, line 1"),
        (#"{"input_length": 5, "output_length": 5}"#, "t.jsonl, line 1"),
        (line(5, 5, [1]) + "\n{", "t.jsonl, line 2"),
        (#"{"input_length": 1.5, "output_length": 5, "hash_ids": [1]}"#, "t.jsonl, line 1"),
        (#"{"input_length": 1e30, "output_length": 5, "hash_ids": [1]}"#, "t.jsonl, line 1"),
        (line(0, 5, []), "t.jsonl, line 1: input_length"),
        (line(-5, 5, []), "t.jsonl, line 1: input_length"),
        (line(Int.max, 5, [1]), "t.jsonl, line 1: input_length"),
        (line(5, 0, [1]), "t.jsonl, line 1: output_length"),
        (line(5, Int.max, [1]), "t.jsonl, line 1: output_length"),
        (line(512, 5, [1, 2]), "t.jsonl, line 1: hash_ids"),
        (line(513, 5, [1]), "t.jsonl, line 1: hash_ids"),
    ]

    @Test(arguments: faults)
    func whatIsNoRequestIsRefused(text: String, field: String) {
        let error = #expect(throws: NanoFlowError.self) { try Self.read(text) }
        #expect(error?.field == field)
    }

    @Test func tooManyRequestsAreRefused() {
        let text = String(repeating: "{\n", count: MooncakeTrace.maxRequestCount + 1)
        let error = #expect(throws: NanoFlowError.self) { try Self.read(text) }
        #expect(error?.field == "t.jsonl")
    }

    @Test func aMissingFileIsNamed() {
        let error = #expect(throws: NanoFlowError.self) {
            try MooncakeTrace(file: "/nowhere/t.jsonl")
        }
        #expect(error?.field == "/nowhere/t.jsonl")
    }

    // MARK: - Sessions

    @Test func aRequestContinuesTheLastOneThatItBeginsWith() throws {
        let trace = try Self.trace([
            [0, 1, 2], [0, 5, 6],
            // After the first; the id that it ended with is another now.
            [0, 1, 3, 4],
            // The first has been continued, and this one does not begin as the third does.
            [0, 1, 7, 8],
            // After the third.
            [0, 1, 3, 9, 10, 11],
            // Only the first id is that of others.
            [0, 12, 13],
        ])
        #expect(
            trace.sessions.map { $0.map(\.hashIDs) } == [
                [[0, 1, 2], [0, 1, 3, 4], [0, 1, 3, 9, 10, 11]], [[0, 5, 6]], [[0, 1, 7, 8]],
                [[0, 12, 13]],
            ])
    }

    @Test func ofSeveralThatItBeginsWithTheNewestIsContinued() throws {
        let trace = try Self.trace([[0, 1, 2, 3], [0, 1, 4], [0, 1, 2, 5, 6], [0, 1, 2, 7, 8]])
        #expect(
            trace.sessions.map { $0.map(\.hashIDs) } == [
                [[0, 1, 2, 3], [0, 1, 2, 7, 8]], [[0, 1, 4], [0, 1, 2, 5, 6]],
            ])
    }

    @Test func shortRequestsAreContinuedByNone() throws {
        let trace = try Self.trace([[0], [0, 1], [0, 1, 2]])
        #expect(trace.sessions.count == 3)
    }

    @Test func theLongestHistoriesAreKeptInTheFilesOrder() throws {
        let trace = try Self.trace([
            [0, 1, 9], [0, 1, 2, 9], [0, 3, 4, 5, 6, 7], [10, 11, 12, 9], [10, 11, 12, 13, 9],
        ])
        #expect(trace.longest(9).map { $0[0].hashIDs[1] } == [1, 3, 11])
        // The long request alone has no history.
        #expect(trace.longest(2).map { $0[0].hashIDs[1] } == [1, 11])
        #expect(trace.longest(1).map { $0[0].hashIDs[1] } == [11])
    }

    // MARK: - Scaling

    @Test func lengthsThatFitAreNotScaled() throws {
        let rounds = try Self.scaled(Self.trace([[0, 1, 2]]), contextLength: 100_000)[0]
        #expect(rounds[0].promptTokens == 1025)
        #expect(rounds[0].answerTokens == 100)
        #expect(rounds[0].prompt.count == 1025)
    }

    @Test(arguments: [4, 5, 16, 100, 1000, 1124])
    func theLongestRequestFitsTheContext(contextLength: Int) throws {
        let trace = try Self.trace([[0], [0, 1, 2], [3]])
        let rounds = try Self.scaled(trace, contextLength: contextLength).joined()
        for round in rounds {
            #expect(round.promptTokens >= 1 && round.answerTokens >= 1)
            #expect(round.promptTokens + round.answerTokens <= contextLength)
            #expect(round.prompt.count == round.promptTokens)
            #expect(round.prompt.allSatisfy { (1000..<2000).contains($0) })
        }
    }

    @Test func allLengthsHaveOneFactor() throws {
        let text = [Self.line(1024, 256, [0, 1]), Self.line(256, 1024, [2])]
        let trace = try Self.read(text.joined(separator: "\n"))
        // 256 + 64 tokens, and 64 + 128, as an answer has no more.
        let rounds = try Self.scaled(trace, contextLength: 320).joined()
        #expect(rounds.map(\.promptTokens) == [256, 64])
        #expect(rounds.map(\.answerTokens) == [64, 128])
    }

    @Test func aContextTooSmallIsRefused() throws {
        let trace = try Self.trace([[0, 1, 2]])
        let error = #expect(throws: NanoFlowError.self) {
            try Self.scaled(trace, contextLength: 3)
        }
        #expect(error?.code == .contextLengthExceeded)
        #expect(error?.given == "3")
    }

    @Test func equalHashesAreEqualTokens() throws {
        let trace = try Self.trace([[0, 1, 2], [0, 1, 3, 4], [5, 1, 2]])
        let sessions = try Self.scaled(trace, contextLength: 200)
        let (first, second, other) = (
            sessions[0][0].prompt, sessions[0][1].prompt, sessions[1][0].prompt
        )
        // Two whole blocks and one token.
        let size = first.count / 2
        #expect(size > 8)
        #expect(first.prefix(2 * size) == second.prefix(2 * size))
        #expect(first.prefix(size) != other.prefix(size))
        #expect(first.prefix(size) != first.dropFirst(size).prefix(size))
        #expect(first.dropFirst(size) == other.dropFirst(size))
    }
}
