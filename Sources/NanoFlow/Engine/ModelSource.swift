import NanoDevice
package import NanoModel
package import NanoTokenizer

/// A model, understood and checked; nothing of the weights is loaded.
package struct ModelSource {
    package let model: ModelConfiguration
    package let tokenizer: Tokenizer
    /// nil where the model has none.
    package let chatTemplate: ChatTemplate?
    private let tensors: any TensorSource

    /// Opens and checks the file.
    ///
    /// - Throws: ``NanoFlowError`` of code `modelLoading`.
    package init(_ path: String) throws(NanoFlowError) {
        do {
            let file = try GGUFFile(path: path)
            tensors = file
            model = try ModelConfiguration(file)
            tokenizer = try Tokenizer(TokenizerVocabulary(file))
            let template = try file.stringIfPresent("tokenizer.chat_template")
            chatTemplate = try template.map { try ChatTemplate($0) }
        } catch {
            throw NanoFlowError(.modelLoading, field: path, message: "\(error)")
        }
        guard tokenizer.vocabularyCount <= model.vocabularyCount else {
            throw NanoFlowError(
                .modelLoading, field: "tokenizer.ggml.tokens",
                limit: "at most \(model.vocabularyCount), the rows of token_embd.weight",
                given: "\(tokenizer.vocabularyCount)")
        }
    }

    /// A published shape with random weights, for benchmarks: no file, and a tokenizer that knows
    /// the 256 bytes only.
    ///
    /// - Parameters:
    ///   - shape: The shape.
    ///   - layerCount: Layers, at most as many as published; nil: all.
    ///   - seed: Chooses the weights.
    /// - Throws: ``NanoFlowError`` for a number of layers out of range.
    package init(
        _ shape: PublishedShape, layerCount: Int? = nil, seed: UInt64 = 0
    ) throws(NanoFlowError) {
        let layers = layerCount ?? shape.layerCount
        guard (1...shape.layerCount).contains(layers) else {
            throw NanoFlowError(
                .invalidConfiguration, field: "layers", limit: "1 to \(shape.layerCount)",
                given: "\(layers)")
        }
        model = shape.configuration(layerCount: layers)
        tensors = shape.tensors(seed: seed)
        chatTemplate = nil
        do {
            tokenizer = try Tokenizer(.bytes(count: model.vocabularyCount))
        } catch {
            preconditionFailure("A vocabulary of bytes must make a tokenizer: \(error)")
        }
    }

    func weightPlan(_ formats: [MatrixFormat]) throws(NanoFlowError) -> WeightPlan {
        do throws(ModelLoadingError) {
            return try WeightPlan(tensors, configuration: model, formats: formats)
        } catch {
            throw NanoFlowError(.modelLoading, field: error.field, message: "\(error)")
        }
    }
}
