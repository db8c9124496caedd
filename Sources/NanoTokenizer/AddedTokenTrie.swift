/// Finds the tokens that are spelled as themselves in a text before it is cut into pieces.
struct AddedTokenTrie: Sendable {
    /// The most bytes that such a token may have, which bounds the search at each byte of a text.
    static let maxTokenByteCount = 1024

    /// The child of a node along a byte, by `node << 8 | byte`; the root is node 0.
    private var children: [Int: Int32] = [:]
    /// The token that ends at each node; -1 for none.
    private var tokens: [Int32] = [-1]
    private var startsToken = [Bool](repeating: false, count: 256)

    mutating func insert(_ bytes: ArraySlice<UInt8>, token: Int) {
        var node = 0
        for byte in bytes {
            let key = node << 8 | Int(byte)
            if let child = children[key] {
                node = Int(child)
            } else {
                node = tokens.count
                children[key] = Int32(node)
                tokens.append(-1)
            }
        }
        tokens[node] = Int32(token)
        if let first = bytes.first { startsToken[Int(first)] = true }
    }

    /// The longest token that starts at `position` in `text`, and the position after it.
    func longestMatch(
        in text: UnsafeBufferPointer<UInt8>, at position: Int
    ) -> (token: Int, end: Int)? {
        guard startsToken[Int(text[position])] else { return nil }
        var match: (token: Int, end: Int)?
        var node = 0
        var end = position
        while end < text.count, let child = children[node << 8 | Int(text[end])] {
            node = Int(child)
            end += 1
            if tokens[node] >= 0 { match = (Int(tokens[node]), end) }
        }
        return match
    }
}
