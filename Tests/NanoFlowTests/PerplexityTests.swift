import Foundation
import NanoFlow
import NanoTestSupport
import NanoTokenizer
import Testing

/// What the precisions cost in quality, on a text that every Debian system has.
@Suite struct PerplexityTests {
    struct Golden: Decodable {
        struct Text: Decodable {
            let name: String
            let sha256: String
            let bytes: Int
            let tokens: Int
            let scoredTokens: Int
            let perplexity: Double
        }

        let window: Int
        let texts: [Text]
    }

    static let textPath = "/usr/share/common-licenses/GPL-3"

    @Test(.enabled(if: FileManager.default.fileExists(atPath: textPath)))
    func theBarsHold() async throws {
        let golden = try Fixture.json(Golden.self, "smollm2_perplexity.json")
        let text = try String(contentsOfFile: Self.textPath, encoding: .utf8)
        let expected = try #require(golden.texts.first { $0.name == "gpl3" })
        try #require(text.utf8.count == expected.bytes, "another edition of the text")
        let f32 = try await perplexity(text, EngineConfiguration(precision: .f32), expected)
        #expect(abs(f32 / expected.perplexity - 1) < 1e-4, "\(f32)")
        let bf16 = try await perplexity(text, EngineConfiguration(precision: .bf16), expected)
        #expect(bf16 < f32 * 1.002, "bf16 \(bf16), f32 \(f32)")
        let int8 = try await perplexity(text, EngineConfiguration(precision: .int8), expected)
        #expect(int8 < f32 * 1.005, "int8 \(int8), f32 \(f32)")
    }

    private func perplexity(
        _ text: String, _ configuration: EngineConfiguration, _ golden: Golden.Text
    ) async throws -> Double {
        let llm = try await LLM(model: Fixture.defaultModelPath, configuration: configuration)
        let tokens = llm.engine.tokenizer.encode(text, parseSpecialTokens: false)
        #expect(tokens.count == golden.tokens)
        let scores = try await withThrowingTaskGroup(of: [Float].self) { group in
            for start in stride(from: 0, to: tokens.count, by: 512) {
                let window = Array(tokens[start..<min(start + 512, tokens.count)])
                group.addTask { try await llm.score(window) }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
        await llm.shutdown()
        #expect(scores.count == golden.scoredTokens)
        return exp(-scores.reduce(0.0) { $0 + Double($1) } / Double(scores.count))
    }
}
