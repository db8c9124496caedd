import Foundation
import NanoFlow
import NanoTestSupport
import Testing

/// Workload files and traces: what they say is run, and what is wrong in them is named.
@Suite struct WorkloadTests {
    private static func read(_ json: String) throws -> Workload {
        try Workload(json: Data(json.utf8), name: "w")
    }

    private static func trace(
        _ csv: String, _ limits: Workload.TraceLimits, seed: UInt64 = 0
    ) throws -> Workload {
        try Workload(trace: Data(csv.utf8), name: "t", limits: limits, seed: seed)
    }

    // MARK: - Workload files

    @Test func aListOfTokenIDs() throws {
        let workload = try Self.read(
            #" [{"prompt_token_ids": [5, 6], "output_len": 3}, {"prompt_token_ids": [7], "output_len": 1}]"#
        )
        #expect(
            workload.requests == [
                Workload.Request(prompt: .tokens([5, 6]), outputLength: 3),
                Workload.Request(prompt: .tokens([7]), outputLength: 1),
            ])
        #expect(!workload.hasTexts)
        #expect(workload.maxSequenceLength == 5)
    }

    @Test func linesOfTexts() throws {
        let workload = try Self.read(
            """
            {"prompt": "Hello\\n", "max_tokens": 3}

            {"prompt": "x", "prompt_token_ids": [7], "output_len": 1, "else": null}\r
            """)
        #expect(
            workload.requests == [
                Workload.Request(prompt: .text("Hello\n"), outputLength: 3),
                Workload.Request(prompt: .tokens([7]), outputLength: 1),
            ])
        #expect(workload.hasTexts)
        #expect(workload.maxSequenceLength == nil)
    }

    /// Each file, and what the error must name.
    @Test(arguments: [
        ("", "w"), ("  \n", "w"), ("null", "w"), ("[]", "w"), ("[", "w"), ("{", "w, line 1"),
        ("[1]", "w: [0]"), (#"[{"output_len": 1}]"#, "w, request 0"),
        (#"[{"prompt_token_ids": [], "output_len": 1}]"#, "w, request 0: prompt_token_ids"),
        (#"[{"prompt_token_ids": [1]}]"#, "w, request 0"),
        (#"[{"prompt_token_ids": [1], "output_len": 0}]"#, "w, request 0: output_len"),
        (#"[{"prompt_token_ids": [1], "max_tokens": -4}]"#, "w, request 0: max_tokens"),
        (#"[{"prompt_token_ids": [1], "output_len": 16777217}]"#, "w, request 0: output_len"),
        (#"[{"prompt_token_ids": [1, "a"], "output_len": 1}]"#, "w: [0].prompt_token_ids[1]"),
        (
            #"[{"prompt_token_ids": [7, 1.5], "output_len": 1}]"#,
            "w, request 0: prompt_token_ids[1]"
        ),
        (#"[{"prompt_token_ids": [1e30], "output_len": 1}]"#, "w, request 0: prompt_token_ids[0]"),
        (
            #"[{"prompt_token_ids": [1], "output_len": 99999999999999999999}]"#,
            "w, request 0: output_len"
        ),
        (#"[{"prompt_token_ids": [1e999], "output_len": 1}]"#, "w"),
        (#"[{"prompt": 5, "output_len": 1}]"#, "w: [0].prompt"),
        ("{\"prompt\": \"a\", \"max_tokens\": 1}\n{\"prompt\": }", "w, line 2"),
        ("{\"prompt\": \"a\", \"max_tokens\": 1}\n\n{\"prompt\": \"b\"}", "w, request 1"),
    ])
    func whatIsWrongIsNamed(json: String, field: String) {
        let error = #expect(throws: NanoFlowError.self) { try Self.read(json) }
        #expect(error?.field == field, "\(error?.description ?? "")")
        #expect(error?.description.isEmpty == false)
    }

    @Test func deepNestingIsRefused() {
        for opening in ["[", #"[{"prompt": ["#, #"{"a":"#] {
            let deep = String(repeating: opening, count: 200_000)
            #expect(throws: NanoFlowError.self) { try Self.read(deep) }
        }
    }

    @Test func mutantsOfAFileAreReadOrRefused() throws {
        let whole = Array(
            #"[{"prompt_token_ids": [5, 6], "output_len": 3}, {"prompt": "a\u00e9", "max_tokens": 1}]"#
                .utf8)
        for seed in UInt64(0)..<2000 {
            var random = SeededGenerator(seed: seed)
            var bytes = whole
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = .random(
                    in: 0...255, using: &random)
            }
            do {
                let workload = try Workload(json: Data(bytes), name: "w")
                #expect(!workload.requests.isEmpty, "seed \(seed)")
            } catch {
                #expect(!error.description.isEmpty, "seed \(seed)")
            }
        }
    }

    @Test func filesThatCannotBeReadAreNamed() {
        let error = #expect(throws: NanoFlowError.self) { try Workload(file: "/nowhere/w.json") }
        #expect(error?.field == "/nowhere/w.json")
        #expect(throws: NanoFlowError.self) { try Workload(file: "/") }
        #expect(throws: NanoFlowError.self) {
            try Workload(trace: "/", limits: .init(requestCount: 1), seed: 0)
        }
    }

    // MARK: - Traces

    @Test func theFirstRowsWithinTheLimitsAreTaken() throws {
        let csv =
            "GeneratedTokens, TIMESTAMP,ContextTokens\r\n"
            + "4,x,10\r\n5,x,0\r\n0,x,9\r\n6,x,101\r\n51,x,9\r\n\r\n50,x,100\r\n1,x,1\r\n"
        let limits = Workload.TraceLimits(requestCount: 2, maxPrompt: 100, maxCompletion: 50)
        let workload = try Self.trace(csv, limits)
        #expect(
            workload.requests == [
                Workload.Request(prompt: .random(count: 10), outputLength: 4),
                Workload.Request(prompt: .random(count: 100), outputLength: 50),
            ])
        #expect(workload.maxSequenceLength == 150)
    }

    @Test(arguments: [
        ("", "requests"), ("ContextTokens\n1\n", "t, line 1"), ("a,b\n", "t, line 1"),
        ("ContextTokens,GeneratedTokens\n", "requests"),
        ("ContextTokens,GeneratedTokens\n1\n", "t, line 2: GeneratedTokens"),
        ("ContextTokens,GeneratedTokens\n1,1\n\nx,1\n", "t, line 4: ContextTokens"),
        ("ContextTokens,GeneratedTokens\n-1,1\n", "t, line 2: ContextTokens"),
        ("ContextTokens,GeneratedTokens\n99999999999999999999,1\n", "t, line 2: ContextTokens"),
        ("ContextTokens,GeneratedTokens\n1,1\n", "requests"),
    ])
    func whatIsWrongInATraceIsNamed(csv: String, field: String) {
        let error = #expect(throws: NanoFlowError.self) {
            try Self.trace(csv, .init(requestCount: 2))
        }
        #expect(error?.field == field, "\(error?.description ?? "")")
    }

    @Test func numbersOutOfRangeAreRefused() {
        let cases: [(Workload.TraceLimits, String)] = [
            (.init(requestCount: 0), "requests"), (.init(requestCount: .max), "requests"),
            (.init(requestCount: 1, maxPrompt: 0), "max-prompt"),
            (.init(requestCount: 1, maxCompletion: .min), "max-completion"),
        ]
        for (limits, field) in cases {
            let error = #expect(throws: NanoFlowError.self) { try Self.trace("a", limits) }
            #expect(error?.field == field)
        }
        for (prompt, completion, count) in [(0, 1, 1), (1, 0, 1), (1, 1, 0), (.max, .max, .max)] {
            #expect(throws: NanoFlowError.self) {
                try Workload(
                    promptTokens: prompt, completionTokens: completion, requestCount: count,
                    seed: 0)
            }
        }
    }
}
