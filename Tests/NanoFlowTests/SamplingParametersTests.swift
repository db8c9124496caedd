import NanoFlow
import Testing

@Suite struct SamplingParametersTests {
    @Test func defaultsAndBoundsAreAccepted() throws {
        try SamplingParameters().validate(vocabularyCount: 10)
        try SamplingParameters(
            temperature: 0, topK: 0, topP: 1e-300, minP: 1, repetitionPenalty: 0.01,
            presencePenalty: -2, frequencyPenalty: 2, seed: .max, maxTokens: 1,
            stopTokens: [0, 9], stopStrings: [String(repeating: "x", count: 1024)], logprobCount: 20
        ).validate(vocabularyCount: 10)
        try SamplingParameters(temperature: 100, topK: 1 << 31 - 1, logprobCount: 0)
            .validate(vocabularyCount: 10)
    }

    static let refused: [(String, SamplingParameters)] = [
        ("temperature", SamplingParameters(temperature: -0.1)),
        ("temperature", SamplingParameters(temperature: 100.1)),
        ("temperature", SamplingParameters(temperature: .nan)),
        ("temperature", SamplingParameters(temperature: .infinity)),
        ("top_k", SamplingParameters(topK: -1)),
        ("top_k", SamplingParameters(topK: .max)),
        ("top_p", SamplingParameters(topP: 0)),
        ("top_p", SamplingParameters(topP: 1.0001)),
        ("top_p", SamplingParameters(topP: .nan)),
        ("min_p", SamplingParameters(minP: -1)),
        ("min_p", SamplingParameters(minP: 2)),
        ("repetition_penalty", SamplingParameters(repetitionPenalty: 0)),
        ("repetition_penalty", SamplingParameters(repetitionPenalty: -.infinity)),
        ("presence_penalty", SamplingParameters(presencePenalty: 2.5)),
        ("frequency_penalty", SamplingParameters(frequencyPenalty: -2.5)),
        ("max_tokens", SamplingParameters(maxTokens: 0)),
        ("max_tokens", SamplingParameters(maxTokens: .min)),
        ("max_tokens", SamplingParameters(maxTokens: .max)),
        ("logprobs", SamplingParameters(logprobCount: 21)),
        ("logprobs", SamplingParameters(logprobCount: -1)),
        ("stop", SamplingParameters(stopStrings: Array(repeating: "x", count: 17))),
        ("stop", SamplingParameters(stopStrings: [""])),
        ("stop", SamplingParameters(stopStrings: [String(repeating: "é", count: 513)])),
        ("stop_token_ids", SamplingParameters(stopTokens: [-1])),
        ("stop_token_ids", SamplingParameters(stopTokens: [10])),
    ]

    @Test(arguments: refused.indices)
    func valuesOutOfRangeAreRefusedWithTheirField(index: Int) {
        let (field, parameters) = Self.refused[index]
        let error = #expect(throws: NanoFlowError.self) {
            try parameters.validate(vocabularyCount: 10)
        }
        #expect(error?.code == .invalidRequest)
        #expect(error?.field == field)
        #expect(error?.limit.isEmpty == false)
        #expect(error?.given.isEmpty == false)
    }
}
