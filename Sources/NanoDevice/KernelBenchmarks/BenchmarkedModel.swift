/// The sizes of a published model that its kernels' shapes follow from.
package struct BenchmarkedModel: Sendable, Hashable {
    package let name: String
    let hiddenSize: Int
    let feedForwardSize: Int
    let headCount: Int
    let kvHeadCount: Int
    let headDimension: Int
    let vocabularyCount: Int

    /// Those whose shapes are measured.
    ///
    /// The figures are those of the `config.json` files that their makers published. An expert of
    /// Mixtral is a feed-forward layer like any other.
    package static let all = [
        BenchmarkedModel(
            name: "smollm2-135m", hiddenSize: 576, feedForwardSize: 1536, headCount: 9,
            kvHeadCount: 3, headDimension: 64, vocabularyCount: 49_152),
        BenchmarkedModel(
            name: "llama-3-8b", hiddenSize: 4096, feedForwardSize: 14_336, headCount: 32,
            kvHeadCount: 8, headDimension: 128, vocabularyCount: 128_256),
        BenchmarkedModel(
            name: "llama-2-70b", hiddenSize: 8192, feedForwardSize: 28_672, headCount: 64,
            kvHeadCount: 8, headDimension: 128, vocabularyCount: 32_000),
        BenchmarkedModel(
            name: "mixtral-8x7b", hiddenSize: 4096, feedForwardSize: 14_336, headCount: 32,
            kvHeadCount: 8, headDimension: 128, vocabularyCount: 32_000),
    ]

    /// Inputs and outputs of a product's matrix.
    func size(of role: ProductRole) -> (inputs: Int, outputs: Int) {
        let attended = headCount * headDimension
        return switch role {
        case .qkvProjection:
            (hiddenSize, attended + 2 * kvHeadCount * headDimension)
        case .outputProjection: (attended, hiddenSize)
        case .gateUpProjection: (hiddenSize, 2 * feedForwardSize)
        case .downProjection: (feedForwardSize, hiddenSize)
        case .lmHead: (hiddenSize, vocabularyCount)
        }
    }
}
