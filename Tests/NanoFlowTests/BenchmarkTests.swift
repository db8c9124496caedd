import NanoFlow
import NanoModel
import Testing

/// The arithmetic of a benchmark, against figures worked out by hand.
@Suite struct BenchmarkTests {
    // Two layers of 8 inputs, 16 + 8 + 3 x 16 outputs; 100 tokens; 4 heads of 2 dimensions.
    private static let work = ModelWork(
        layerParameters: 1152, headParameters: 800, attentionOperations: 64)

    private static func load() -> TokenLoad {
        var load = TokenLoad()
        load.add(promptTokens: 3, completionTokens: 2)
        return load
    }

    @Test func theOptimumCountsTheHeadForCompletionTokensOnly() {
        let load = Self.load()
        // 2 x 1152 x 5 + 2 x 800 x 2
        #expect(Self.work.matrixOperations(load) == 14_720)
        #expect(Optimum(load, Self.work, peak: 1472).tokensPerSecond == 0.5)
    }

    @Test func attendedPositionsGrowWithTheSquareOfTheLength() {
        var load = Self.load()
        // 1 + 2 + 3 + 4 + 5
        #expect(load.attendedPositions == 15)
        load.add(promptTokens: 1, completionTokens: 1)
        #expect(load.attendedPositions == 18)
        #expect(load.promptTokens == 4 && load.completionTokens == 3 && load.tokens == 7)
    }

    @Test func whatIsAttainableIsTheLargerOfArithmeticAndTraffic() {
        let load = Self.load()
        // The prompt, then one decode: contexts of 3 and 4.
        let steps = StepCounters.Sums(steps: 2, logitSteps: 2, tokens: 4, contextTokens: 7)
        let sizes = Attainable.Sizes(parameter: 1, cachedToken: 32)
        // 14720 + 64 x 15 operations; (1152 + 800) x 2 + 32 x (7 + 4) bytes
        let slowMemory = Attainable(
            load, Self.work, steps: steps, sizes: sizes, peak: 1568, bandwidth: 42.56)
        #expect(slowMemory.arithmeticSeconds == 10)
        #expect(abs(slowMemory.memorySeconds - 100) < 1e-9)
        #expect(abs(slowMemory.tokensPerSecond - 0.05) < 1e-12)
        let fastMemory = Attainable(
            load, Self.work, steps: steps, sizes: sizes, peak: 1568, bandwidth: 4256)
        #expect(fastMemory.tokensPerSecond == 0.5)
    }

    /// With the embedding the sums are the numbers of parameters that the models are named for.
    @Test(arguments: [
        (PublishedShape.llama3With8B, 8.03), (.llama2With70B, 68.98), (.qwen2With72B, 72.70),
        (.deepSeekWith67B, 67.42),
    ])
    func publishedShapesHaveTheirPublishedSize(shape: PublishedShape, billions: Double) {
        let work = ModelWork(shape.configuration(layerCount: shape.layerCount))
        let parameters = Double(work.layerParameters + 2 * work.headParameters)
        #expect(abs(parameters / 1e9 - billions) < 0.01)
    }

    @Test func aLayersParametersAreItsMatrices() {
        let work = ModelWork(PublishedShape.llama3With8B.configuration(layerCount: 1))
        // qkv 6144, output 4096, gate, up and down 14336 each; all of 4096 inputs or outputs
        #expect(work.layerParameters == 4096 * (6144 + 4096 + 3 * 14_336))
        #expect(work.headParameters == 4096 * 128_256)
        #expect(work.attentionOperations == 4 * 32 * 128)
    }
}
