/// What a completion continues.
public enum Prompt: Sendable, Hashable {
    /// Plain text; special tokens spelled in it count as such.
    case text(String)
    /// Token ids, taken as they are.
    case tokens([Int])
    /// A conversation, rendered through the model's own chat template.
    case chat([ChatMessage])
}

/// One turn of a conversation.
public struct ChatMessage: Sendable, Hashable {
    /// "system", "user", "assistant", or what else the model's template knows.
    public var role: String
    /// What was said.
    public var content: String

    /// A turn of `role` saying `content`.
    public init(role: String, content: String) {
        self.role = role
        self.content = content
    }
}
