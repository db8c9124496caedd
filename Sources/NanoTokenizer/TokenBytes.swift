/// The bytes of every token, one after the other in a single array.
///
///     offsets  0     3  4       8
///     bytes    a b c d  e f g h ...      token 0 is abc, token 1 is d
struct TokenBytes: Sendable {
    private(set) var bytes: [UInt8] = []
    private var offsets: [Int] = [0]

    var count: Int { offsets.count - 1 }

    mutating func append(_ token: some Sequence<UInt8>) {
        bytes.append(contentsOf: token)
        offsets.append(bytes.count)
    }

    func range(of token: Int) -> Range<Int> { offsets[token]..<offsets[token + 1] }

    /// The bytes of `token`, not copied.
    subscript(token: Int) -> ArraySlice<UInt8> { bytes[range(of: token)] }
}

/// Finds tokens by their bytes: a hash table with open addressing over a `TokenBytes`.
struct TokenBytesIndex: Sendable {
    private let table: TokenBytes
    /// Token ids, or -1 where free: a power of two, at least twice as many as there are tokens.
    private var slots: [Int32]

    /// Creates an index without entries of the tokens in `table`.
    init(of table: TokenBytes) {
        self.table = table
        slots = .init(repeating: -1, count: tableCapacity(for: table.count))
    }

    /// Adds `token`, unless a token with the same bytes is there already, which is then returned.
    mutating func insert(_ token: Int) -> Int? {
        let slot = table.bytes.withUnsafeBufferPointer { bytes in
            self.slot(of: .init(rebasing: bytes[table.range(of: token)]))
        }
        if slots[slot] >= 0 { return Int(slots[slot]) }
        slots[slot] = Int32(token)
        return nil
    }

    /// The token with these bytes.
    func token(with bytes: UnsafeBufferPointer<UInt8>) -> Int? {
        let token = slots[slot(of: bytes)]
        return token < 0 ? nil : Int(token)
    }

    /// The token with these bytes.
    func token(with bytes: [UInt8]) -> Int? {
        bytes.withUnsafeBufferPointer { token(with: $0) }
    }

    /// The slot that holds the token with these bytes, or the free one where it would be put.
    private func slot(of bytes: UnsafeBufferPointer<UInt8>) -> Int {
        // Seeded anew in each process, so that no file can be written to make the tokens collide.
        var hasher = Hasher()
        hasher.combine(bytes: UnsafeRawBufferPointer(bytes))
        let mask = slots.count - 1
        var slot = hasher.finalize() & mask
        while slots[slot] >= 0, !table[Int(slots[slot])].elementsEqual(bytes) {
            slot = (slot + 1) & mask
        }
        return slot
    }
}

/// The smallest power of two that leaves half of a hash table with `count` entries free.
func tableCapacity(for count: Int) -> Int {
    var capacity = 16
    while capacity < 2 * count { capacity *= 2 }
    return capacity
}
