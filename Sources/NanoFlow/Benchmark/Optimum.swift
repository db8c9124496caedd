package import NanoModel

/// Tokens of a run, as far as the arithmetic of its optimum needs them.
package struct TokenLoad: Sendable, Hashable {
    package private(set) var promptTokens = 0
    package private(set) var completionTokens = 0
    /// The sum over all tokens of the number of positions that each attends to, its own included.
    package private(set) var attendedPositions = 0.0

    package init() {}

    /// Adds one sequence.
    package mutating func add(promptTokens prompt: Int, completionTokens completion: Int) {
        promptTokens += prompt
        completionTokens += completion
        let length = Double(prompt + completion)
        attendedPositions += length * (length + 1) / 2
    }

    package var tokens: Int { promptTokens + completionTokens }
}

/// The parameters and operations that tokens of a model need.
package struct ModelWork: Sendable, Hashable {
    /// Parameters of the layers' matrices, which every token goes through.
    package let layerParameters: Int
    /// Parameters of the LM head, which only sampled positions go through.
    package let headParameters: Int
    /// Multiplications and additions of attention for one token and one position that it attends
    /// to, in all layers: scores and weighted sum, 4 x heads x head dimension a layer.
    package let attentionOperations: Int

    package init(layerParameters: Int, headParameters: Int, attentionOperations: Int) {
        self.layerParameters = layerParameters
        self.headParameters = headParameters
        self.attentionOperations = attentionOperations
    }

    package init(_ model: ModelConfiguration) {
        let attended = model.headCount * model.headDimension
        layerParameters =
            model.layerCount * model.hiddenSize
            * (model.qkvSize + attended + 3 * model.feedForwardSize)
        headParameters = model.hiddenSize * model.vocabularyCount
        attentionOperations = model.layerCount * 4 * attended
    }

    /// Operations of the matrix products: 2 x the parameters that each token needs.
    ///
    /// All prompt and completion tokens are counted for the layers, completion tokens for the LM
    /// head; the look-up of the embedding, norms, biases and attention are not counted.
    package func matrixOperations(_ load: TokenLoad) -> Double {
        2 * Double(layerParameters) * Double(load.tokens)
            + 2 * Double(headParameters) * Double(load.completionTokens)
    }
}

/// The rate that a run would have if its matrix products ran at the peak and all else took no time.
///
/// Zhu et al., NanoFlow, 2024: peak / (2 x parameters used per token).
package struct Optimum: Sendable, Hashable {
    /// Prompt and completion tokens a second.
    package let tokensPerSecond: Double

    /// - Parameters:
    ///   - load: The run's tokens.
    ///   - work: What they need.
    ///   - peak: Operations a second of all units together, at the run's precision.
    package init(_ load: TokenLoad, _ work: ModelWork, peak: Double) {
        tokensPerSecond = peak * Double(load.tokens) / work.matrixOperations(load)
    }
}

/// The rate that a run would have if arithmetic and memory traffic overlapped perfectly.
///
/// Arithmetic: ``ModelWork/matrixOperations(_:)`` and the attention of every token to the positions
/// up to its own, at the peak. Traffic, at the read bandwidth: the matrices of the layers once a
/// step and that of the LM head once a step that samples, without scales and biases; the keys and
/// values of each sequence's context once a step, and each token's written once. Activations stay
/// in caches and are not counted.
package struct Attainable: Sendable, Hashable {
    package let arithmeticSeconds: Double
    package let memorySeconds: Double
    /// Prompt and completion tokens a second.
    package let tokensPerSecond: Double

    /// Bytes that weights and cache take up.
    package struct Sizes: Sendable, Hashable {
        /// Bytes of one parameter of a matrix.
        package let parameter: Int
        /// Bytes of one token's keys and values in all layers.
        package let cachedToken: Double

        package init(parameter: Int, cachedToken: Double) {
            self.parameter = parameter
            self.cachedToken = cachedToken
        }
    }

    /// - Parameters:
    ///   - load: The run's tokens.
    ///   - work: What they need.
    ///   - steps: The steps that the run took.
    ///   - sizes: Bytes of weights and cache.
    ///   - peak: Operations a second of all units together, at the run's precision.
    ///   - bandwidth: Bytes a second that all units together read from memory.
    package init(
        _ load: TokenLoad, _ work: ModelWork, steps: StepCounters.Sums, sizes: Sizes,
        peak: Double, bandwidth: Double
    ) {
        let attention = Double(work.attentionOperations) * load.attendedPositions
        arithmeticSeconds = (work.matrixOperations(load) + attention) / peak
        let weights =
            Double(work.layerParameters) * Double(steps.steps)
            + Double(work.headParameters) * Double(steps.logitSteps)
        let cache = sizes.cachedToken * Double(steps.contextTokens + steps.tokens)
        memorySeconds = (weights * Double(sizes.parameter) + cache) / bandwidth
        tokensPerSecond = Double(load.tokens) / max(arithmeticSeconds, memorySeconds)
    }
}
