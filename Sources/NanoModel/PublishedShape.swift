/// Shapes of published models, for benchmarks with random weights.
///
/// The figures are those of the `config.json` files that their makers published.
package enum PublishedShape: String, Sendable, Hashable, CaseIterable {
    case llama3With8B = "llama-3-8b"
    case llama2With70B = "llama-2-70b"
    case qwen2With72B = "qwen2-72b"
    case deepSeekWith67B = "deepseek-67b"

    /// The layers of the model as published.
    package var layerCount: Int {
        switch self {
        case .llama3With8B: 32
        case .llama2With70B, .qwen2With72B: 80
        case .deepSeekWith67B: 95
        }
    }

    /// The shape with `layerCount` layers.
    package func configuration(layerCount: Int) -> ModelConfiguration {
        switch self {
        case .llama3With8B:
            configuration(
                layerCount, hidden: 4096, heads: 32, feedForward: 14_336, vocabulary: 128_256,
                ropeBase: 500_000, epsilon: 1e-5, context: 8192)
        case .llama2With70B:
            configuration(
                layerCount, hidden: 8192, heads: 64, feedForward: 28_672, vocabulary: 32_000,
                ropeBase: 10_000, epsilon: 1e-5, context: 4096)
        case .qwen2With72B:
            configuration(
                layerCount, hidden: 8192, heads: 64, feedForward: 29_568, vocabulary: 152_064,
                ropeBase: 1_000_000, epsilon: 1e-6, context: 32_768, architecture: .qwen2)
        case .deepSeekWith67B:
            configuration(
                layerCount, hidden: 8192, heads: 64, feedForward: 22_016, vocabulary: 102_400,
                ropeBase: 10_000, epsilon: 1e-6, context: 4096)
        }
    }

    /// All of them have 8 KV heads and heads of 128 dimensions, all of which are rotated.
    private func configuration(
        _ layerCount: Int, hidden: Int, heads: Int, feedForward: Int, vocabulary: Int,
        ropeBase: Float, epsilon: Float, context: Int,
        architecture: ModelConfiguration.Architecture = .llama
    ) -> ModelConfiguration {
        ModelConfiguration(
            architecture: architecture, name: "\(rawValue) with \(layerCount) layers",
            layerCount: layerCount, hiddenSize: hidden, feedForwardSize: feedForward,
            headCount: heads, kvHeadCount: 8, headDimension: 128, rotaryDimension: 128,
            ropeBase: ropeBase, ropePositionDivisor: 1, normEpsilon: epsilon,
            vocabularyCount: vocabulary, contextLength: context)
    }

    /// Random weights for the shape.
    package func tensors(seed: UInt64) -> RandomTensors {
        RandomTensors(seed: seed, hasQKVBias: self == .qwen2With72B)
    }
}
