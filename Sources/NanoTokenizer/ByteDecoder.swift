/// Turns bytes into text as they come; a scalar waits until its last byte is there.
package struct ByteDecoder: Sendable {
    /// The start of a scalar whose other bytes have not come yet: at most three bytes.
    private var pending: [UInt8] = []

    package init() {}

    /// Takes the next bytes and returns the text that they settle, which may be empty.
    package mutating func append(_ bytes: some Sequence<UInt8>) -> String {
        pending.append(contentsOf: bytes)
        let settledCount = pending.count - Self.openByteCount(at: pending)
        defer { pending.removeFirst(settledCount) }
        return String(decoding: pending[..<settledCount], as: UTF8.self)
    }

    /// Returns what is left when no byte will follow: U+FFFD for a scalar that was never completed.
    package mutating func finish() -> String {
        defer { pending.removeAll() }
        return String(decoding: pending, as: UTF8.self)
    }

    /// How many bytes at the end of `bytes` are the proper start of a scalar.
    private static func openByteCount(at bytes: [UInt8]) -> Int {
        for count in 1...3 where count <= bytes.count {
            let tail = bytes.suffix(count)
            guard let lead = tail.first, lead & 0xC0 != 0x80 else { continue }
            let isOpen =
                count < scalarByteCount(lead: lead)
                && tail.dropFirst().prefix(1).allSatisfy(secondBytes(lead: lead).contains)
            return isOpen ? count : 0
        }
        return 0
    }

    /// How many bytes a scalar has that starts with `lead`; 1 if none does.
    private static func scalarByteCount(lead: UInt8) -> Int {
        switch lead {
        case 0xC2...0xDF: 2
        case 0xE0...0xEF: 3
        case 0xF0...0xF4: 4
        default: 1
        }
    }

    /// The bytes that may follow `lead` (The Unicode Standard, table 3-7).
    private static func secondBytes(lead: UInt8) -> ClosedRange<UInt8> {
        switch lead {
        case 0xE0: 0xA0...0xBF
        case 0xED: 0x80...0x9F
        case 0xF0: 0x90...0xBF
        case 0xF4: 0x80...0x8F
        default: 0x80...0xBF
        }
    }
}
