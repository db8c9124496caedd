import Foundation
import NanoClient
import NanoFlow
import Testing

/// What is sent, and when.
@Suite struct OnlineLoadTests {
    private static func trace(_ text: String, needsArrivals: Bool = true) throws -> RecordedTrace {
        try RecordedTrace(Data(text.utf8), name: "t", needsArrivals: needsArrivals)
    }

    private static func load(
        _ source: RequestSource = .sized(promptTokens: 4, completionTokens: 2),
        rate: Double = 2, requests: Int? = nil, duration: Double? = nil, seed: UInt64 = 0,
        index: Int = 0
    ) throws -> OnlineLoad {
        try OnlineLoad(
            source, .poisson(rate: rate),
            limits: OnlineLoad.Limits(requestCount: requests, duration: duration), seed: seed,
            index: index)
    }

    // MARK: - Poisson arrivals

    @Test func gapsHaveTheirMeanAndSpread() {
        let times = PoissonArrivals.times(count: 20_000, rate: 4, seed: 1)
        let gaps = zip(times.dropFirst(), times).map { $0 - $1 }
        let mean = gaps.reduce(0, +) / Double(gaps.count)
        let variance = gaps.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(gaps.count)
        #expect(times[0] == 0)
        #expect(gaps.allSatisfy { $0 >= 0 })
        #expect(abs(mean - 0.25) < 0.001)
        // Of an exponential distribution, mean and deviation are one.
        #expect(abs(variance.squareRoot() - 0.25) < 0.01)
        let beyondMean = Double(gaps.count { $0 > 0.25 }) / Double(gaps.count)
        #expect(abs(beyondMean - exp(-1)) < 0.01)
    }

    @Test func fewRequestsKeepToTheRateToo() {
        for seed in 0..<100 as Range<UInt64> {
            let times = PoissonArrivals.times(count: 5, rate: 2, seed: seed)
            #expect(times.count == 5 && times[0] == 0)
            #expect(times == times.sorted() && times[4] < 2.5)
        }
        #expect(PoissonArrivals.times(count: 1, rate: 2, seed: 0) == [0])
    }

    @Test func seedsChooseTheGapsAndRatesScaleThem() {
        let times = PoissonArrivals.times(count: 50, rate: 1, seed: 7)
        #expect(times == PoissonArrivals.times(count: 50, rate: 1, seed: 7))
        #expect(times != PoissonArrivals.times(count: 50, rate: 1, seed: 8))
        for (slow, fast) in zip(times, PoissonArrivals.times(count: 50, rate: 10, seed: 7)) {
            #expect(abs(slow / 10 - fast) < 1e-9)
        }
        #expect(PoissonArrivals.times(count: 3, rate: .infinity, seed: 7) == [0, 0, 0])
    }

    // MARK: - Where a load ends

    @Test func byNumberTimeAndSource() throws {
        #expect(try Self.load(requests: 5).requests.count == 5)
        let timed = try Self.load(rate: 50, duration: 2).requests
        #expect(timed.count == 100)
        #expect(timed.allSatisfy { $0.arrival < 2 })
        let workload = try Workload(
            json: Data(#"[{"prompt_token_ids": [5, 6], "output_len": 3}]"#.utf8), name: "w")
        let whole = try Self.load(.workload(workload), duration: 100).requests
        #expect(whole.map(\.prompt) == [.tokens([5, 6])])
        #expect(whole.map(\.outputLength) == [3])
        for isWrong in [
            { try Self.load() }, { try Self.load(rate: 1e9, duration: 1e9) },
            { try Self.load(rate: .infinity, duration: 1) },
            { try Self.load(requests: 0) }, { try Self.load(.workload(workload), requests: 2) },
        ] {
            #expect(throws: NanoFlowError.self) { _ = try isWrong() }
        }
    }

    @Test func loadsOfASweepDifferInTheirPromptsOnly() throws {
        let first = try Self.load(requests: 3)
        let second = try Self.load(requests: 3, index: 1)
        #expect(try Self.load(requests: 3) == first)
        #expect(first.requests.map(\.arrival) == second.requests.map(\.arrival))
        let prompts = (first.requests + second.requests).map { $0.prompt.drawn(from: 1000..<9000) }
        #expect(Set(prompts).count == 6)
    }

    // MARK: - Prompts

    @Test func drawnIDsKeepToTheVocabulary() {
        let range = OnlinePrompt.ordinaryTokens(ofVocabulary: 1200)
        #expect(range == 600..<1200)
        #expect(OnlinePrompt.ordinaryTokens(ofVocabulary: 30_000) == 1000..<30_000)
        guard case .tokens(let ids) = OnlinePrompt.random(count: 500, seed: 3).drawn(from: range)
        else {
            Issue.record("Random prompts become ids.")
            return
        }
        #expect(ids.count == 500)
        #expect(ids.allSatisfy(range.contains))
    }

    @Test func equalHashesAreEqualIDs() {
        let drawn = { (hashes: [Int], count: Int, seed: UInt64) -> [Int] in
            let prompt = OnlinePrompt.hashed(hashes, count: count, tokensPerHash: 4, seed: seed)
            guard case .tokens(let ids) = prompt.drawn(from: 0..<1_000_000) else { return [] }
            return ids
        }
        let (one, two) = (drawn([1, 2, 3], 10, 0), drawn([1, 2, 4], 12, 0))
        #expect(one.count == 10 && two.count == 12)
        #expect(one.prefix(8) == two.prefix(8))
        #expect(one.suffix(2) != two[8..<10])
        #expect(drawn([1], 4, 1) != drawn([1], 4, 0))
    }

    // MARK: - Recorded arrivals

    private static let csv = """
        TIMESTAMP,ContextTokens,GeneratedTokens
        2023-11-16 23:59:59.5000000,374,44
        2023-11-17 00:00:02.0000000,0,9
        2023-11-17 00:00:01.0000000,91,16\r

        2023-11-17T00:00:03Z,20,5
        """

    @Test func aTraceComesAsItWasRecorded() throws {
        let source = RequestSource.trace(try Self.trace(Self.csv))
        let load = try OnlineLoad(source, .recorded(speed: 2), limits: .init(), seed: 0)
        #expect(load.requests.map(\.arrival) == [0, 0.75, 1.75])
        #expect(load.requests.map(\.outputLength) == [44, 16, 5])
        #expect(load.rate == 2 / 1.75)
        let short = try OnlineLoad(
            source, .recorded(speed: 1), limits: .init(duration: 3), seed: 0)
        #expect(short.requests.count == 2)
    }

    @Test func mooncakesTraceHasMillisecondsAndHashes() throws {
        let trace = try Self.trace(
            """
            {"timestamp": 500, "input_length": 600, "output_length": 3, "hash_ids": [4, 5]}
            {"timestamp": 2500, "input_length": 5, "output_length": 2, "hash_ids": [4]}
            """)
        let load = try OnlineLoad(
            .trace(trace), .recorded(speed: 1), limits: .init(), seed: 0)
        #expect(load.requests.map(\.arrival) == [0, 2])
        guard case .tokens(let long) = load.requests[0].prompt.drawn(from: 0..<100_000),
            case .tokens(let short) = load.requests[1].prompt.drawn(from: 0..<100_000)
        else {
            Issue.record("Hashes become ids.")
            return
        }
        #expect(long.count == 600)
        #expect(Array(long.prefix(5)) == short)
    }

    /// Each file, and what the error must name.
    @Test(arguments: [
        ("", "t"), ("a,b\n1,2", "t, line 1"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\nXXX,1,2", "t, line 2: TIMESTAMP"),
        ("ContextTokens,GeneratedTokens\n1,2", "t, line 2: TIMESTAMP"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n1.5,1,x", "t, line 2: GeneratedTokens"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n1.5,0,1", "t"),
        (#"{"input_length": 5, "output_length": 2, "hash_ids": [4]}"#, "t, line 1: timestamp"),
    ])
    func whatIsWrongInATraceIsNamed(text: String, field: String) {
        let error = #expect(throws: NanoFlowError.self) { try Self.trace(text) }
        #expect(error?.field == field)
    }

    @Test func timesAreNotReadWhereTheyAreNotUsed() throws {
        let text = "TIMESTAMP,ContextTokens,GeneratedTokens\nXXX,1,2"
        let trace = try Self.trace(text, needsArrivals: false)
        #expect(trace.rows.map(\.completionTokens) == [2])
        #expect(throws: NanoFlowError.self) {
            try OnlineLoad(.trace(trace), .recorded(speed: 1), limits: .init(), seed: 0)
        }
    }
}
