import NanoTestSupport
import NanoTokenizer

extension SeededGenerator {
    /// A string of up to `maxCount` scalars out of a few ranges that meet each other often.
    mutating func text(maxCount: Int) -> String {
        let ranges: [ClosedRange<UInt32>] = [
            0x20...0x7E, 0x61...0x66, 0x30...0x39, 0x09...0x0D, 0x20...0x20, 0x80...0x24F,
            0x300...0x36F, 0x400...0x4FF, 0x5D0...0x64A, 0x3040...0x9FFF, 0x1F300...0x1FAFF,
            0x0...0x10FFFF,
        ]
        var result = String.UnicodeScalarView()
        for _ in 0..<Int.random(in: 0...maxCount, using: &self) {
            let range = ranges[Int.random(in: 0..<ranges.count, using: &self)]
            if let scalar = Unicode.Scalar(UInt32.random(in: range, using: &self)) {
                result.append(scalar)
            }
        }
        return String(result)
    }
}

/// The 256 bytes in GPT-2's spelling, which is written out here a second time on purpose.
let spelledBytes: [String] = {
    var next: UInt32 = 0x100
    return (UInt32(0)...255).map { byte in
        let isPrintable =
            (0x21...0x7E).contains(byte) || (0xA1...0xAC).contains(byte)
            || (0xAE...0xFF).contains(byte)
        defer { next += isPrintable ? 0 : 1 }
        return String(Unicode.Scalar(isPrintable ? byte : next) ?? "?")
    }
}()

/// A vocabulary in which token b is byte b, followed by what `merges` make and by `added`.
func tinyVocabulary(
    merges: [String] = [], added: [(String, TokenKind)] = [], preTokenizer: String = "gpt-2"
) -> TokenizerVocabulary {
    let merged = merges.map { $0.replacing(" ", with: "") }
    let tokens = spelledBytes + merged + added.map(\.0)
    let kinds =
        [TokenKind](repeating: .normal, count: 256 + merged.count) + added.map(\.1)
    return TokenizerVocabulary(
        tokens: tokens, kinds: kinds, merges: merges, preTokenizer: preTokenizer)
}

extension StringProtocol {
    /// The scalars, by which texts are to be compared: to Swift, equal characters are equal strings.
    var scalarValues: [UInt32] { unicodeScalars.map(\.value) }
}
