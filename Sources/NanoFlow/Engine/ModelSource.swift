import NanoDevice
package import NanoModel
package import NanoTokenizer

/// A model's file, understood and checked; nothing of the weights is loaded.
package struct ModelSource {
    package let model: ModelConfiguration
    package let tokenizer: Tokenizer
    /// nil where the file has none.
    package let chatTemplate: ChatTemplate?
    private let file: GGUFFile

    /// Opens and checks the file.
    ///
    /// - Throws: ``NanoFlowError`` of code `modelLoading`.
    package init(_ path: String) throws(NanoFlowError) {
        do {
            file = try GGUFFile(path: path)
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

    func weightPlan(_ format: MatrixFormat) throws(NanoFlowError) -> WeightPlan {
        do throws(ModelLoadingError) {
            return try WeightPlan(file, configuration: model, format: format)
        } catch {
            throw NanoFlowError(.modelLoading, field: error.field, message: "\(error)")
        }
    }
}
