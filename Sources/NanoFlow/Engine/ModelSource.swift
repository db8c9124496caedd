import Crypto
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
    /// nil for random weights.
    private let file: GGUFFile?
    private let randomSeed: UInt64

    /// Opens and checks the file.
    ///
    /// - Throws: ``NanoFlowError`` of code `modelLoading`.
    package init(_ path: String) throws(NanoFlowError) {
        do {
            let file = try GGUFFile(path: path)
            (self.file, randomSeed) = (file, 0)
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
        self.init(
            shape.configuration(layerCount: layers), shape.tensors(seed: seed), seed: seed)
    }

    /// A model of random weights, with the tokenizer of bytes.
    package init(_ model: ModelConfiguration, _ tensors: RandomTensors, seed: UInt64) {
        self.model = model
        self.tensors = tensors
        (file, randomSeed) = (nil, seed)
        chatTemplate = nil
        do {
            tokenizer = try Tokenizer(.bytes(count: model.vocabularyCount))
        } catch {
            preconditionFailure("A vocabulary of bytes must make a tokenizer: \(error)")
        }
    }

    /// Stands for the weights, by all bytes of their file.
    ///
    /// `progress` is told how far it is, 0...1.
    /// - Returns: Text for people and machines to compare.
    func weightsDigest(progress: (Double) -> Void) -> String {
        guard let file else { return "random weights \(randomSeed)" }
        var hash = SHA256()
        let part = 16 << 20
        for start in stride(from: 0, to: file.byteCount, by: part) {
            let end = min(file.byteCount, start + part)
            file.withBytes(start..<end) { hash.update(bufferPointer: $0) }
            progress(Double(end) / Double(file.byteCount))
        }
        return "\(hash.finalize())"
    }

    func weightPlan(_ formats: [MatrixFormat]) throws(NanoFlowError) -> WeightPlan {
        do throws(ModelLoadingError) {
            return try WeightPlan(tensors, configuration: model, formats: formats)
        } catch {
            throw NanoFlowError(.modelLoading, field: error.field, message: "\(error)")
        }
    }
}
