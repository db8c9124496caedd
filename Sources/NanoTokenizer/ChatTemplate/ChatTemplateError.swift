/// Why a chat template could not be parsed or rendered.
package struct ChatTemplateError: Error, Hashable, CustomStringConvertible {
    /// Who is to blame, which decides what a server answers.
    package enum Kind: Sendable, Hashable {
        /// The text is not a template: the model file is broken.
        case syntax
        /// The template did what its language forbids, such as reading an attribute of nothing.
        case evaluation
        /// The template called `raise_exception`: the messages do not suit this model.
        case raised
        /// A bound of ``ChatTemplateLimits`` was met.
        case limit
    }

    /// What kind of failure this is.
    package let kind: Kind
    /// The line of the template, counted from one, at whose statement it failed.
    package let line: Int
    /// A sentence for a person; for `raised`, the words of the template.
    package let message: String

    init(_ kind: Kind, line: Int, _ message: String) {
        self.kind = kind
        self.line = line
        self.message = message
    }

    package var description: String {
        kind == .raised ? message : "Chat template, line \(line): \(message)"
    }
}
