/// GPT-2's spelling of bytes as characters, by which a vocabulary of byte strings fits into a text
/// file: printable Latin-1 characters stand for themselves, the 68 other bytes for the characters
/// from U+0100 on, in order.
enum ByteSpelling {
    /// The character for each byte.
    static let scalars: [Unicode.Scalar] = {
        var next: UInt8 = 0
        return (0...UInt8.max).map { byte in
            if standsForItself(byte) { return Unicode.Scalar(byte) }
            defer { next += 1 }
            return Unicode.Scalar(0x100 + UInt16(next)) ?? "\u{FFFD}"
        }
    }()

    /// The byte for each character from U+0000 on; nil where the character stands for none.
    private static let bytes: [UInt8?] = {
        var bytes = [UInt8?](repeating: nil, count: 0x100 + 68)
        for (byte, scalar) in scalars.enumerated() {
            bytes[Int(scalar.value)] = UInt8(byte)
        }
        return bytes
    }()

    /// Returns the bytes that `text` spells; its own UTF-8 when a character of it stands for none.
    static func bytes(spelledBy text: String) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(text.utf8.count)
        for scalar in text.unicodeScalars {
            guard scalar.value < bytes.count, let byte = bytes[Int(scalar.value)] else {
                return Array(text.utf8)
            }
            result.append(byte)
        }
        return result
    }

    private static func standsForItself(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x21...0x7E, 0xA1...0xAC, 0xAE...0xFF: true
        default: false
        }
    }
}
