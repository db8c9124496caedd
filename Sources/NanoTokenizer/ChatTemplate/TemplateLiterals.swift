// Number and string literals of the expression language.

enum TemplateNumberLiteral {
    /// Reads a literal off the front: decimal, `0x`, `0o` or `0b`, with `_` between digits.
    static func read(
        _ bytes: ArraySlice<UInt8>, isIndex: Bool, line: Int
    ) throws(ChatTemplateError) -> (TemplateToken.Kind, length: Int) {
        let whole = digits(bytes, radix: 10)
        var float = whole
        if bytes.dropFirst(float).first == UInt8(ascii: ".") {
            let fraction = digits(bytes.dropFirst(float + 1), radix: 10)
            if fraction > 0 { float += 1 + fraction }
        }
        float += exponent(bytes.dropFirst(float))
        if float > whole, !isIndex {
            let text = plain(bytes.prefix(float))
            return (.number(Double(text) ?? .infinity), float)
        }
        for (mark, radix) in [("x", 16), ("o", 8), ("b", 2)] {
            let head = String(decoding: bytes.prefix(2), as: UTF8.self).lowercased()
            guard head == "0" + mark else { continue }
            let skipped = bytes.dropFirst(2).first == UInt8(ascii: "_") ? 3 : 2
            let count = digits(bytes.dropFirst(skipped), radix: radix)
            guard count > 0 else { continue }
            let text = plain(bytes.dropFirst(skipped).prefix(count))
            return (.integer(try integer(text, radix, line)), skipped + count)
        }
        // A leading zero stands alone or among zeros only.
        let isZero = bytes.first == UInt8(ascii: "0")
        let zero = UInt8(ascii: "0")
        let length =
            isZero
            ? bytes.prefix(whole).prefix { $0 == zero || $0 == UInt8(ascii: "_") }.count : whole
        return (.integer(try integer(plain(bytes.prefix(length)), 10, line)), length)
    }

    private static func integer(
        _ text: String, _ radix: Int, _ line: Int
    ) throws(ChatTemplateError) -> Int {
        guard let value = Int(text, radix: radix) else {
            throw ChatTemplateError(
                .syntax, line: line, "The number \(text.prefix(40)) does not fit 64 bits.")
        }
        return value
    }

    private static func plain(_ bytes: ArraySlice<UInt8>) -> String {
        String(decoding: bytes.filter { $0 != UInt8(ascii: "_") }, as: UTF8.self)
    }

    /// How many bytes at the front are digits, with single underscores between them.
    private static func digits(_ bytes: ArraySlice<UInt8>, radix: Int) -> Int {
        var count = 0
        var length = 0
        for byte in bytes {
            if byte == UInt8(ascii: "_"), count == length, count > 0 {
                length += 1
            } else if Character(Unicode.Scalar(byte)).hexDigitValue.map({ $0 < radix }) == true {
                length += 1
                count = length
            } else {
                break
            }
        }
        return count
    }

    private static func exponent(_ bytes: ArraySlice<UInt8>) -> Int {
        guard bytes.first == UInt8(ascii: "e") || bytes.first == UInt8(ascii: "E") else { return 0 }
        let sign = bytes.dropFirst().first
        let head = sign == UInt8(ascii: "+") || sign == UInt8(ascii: "-") ? 2 : 1
        let count = digits(bytes.dropFirst(head), radix: 10)
        return count > 0 ? head + count : 0
    }
}

extension TemplateText {
    /// The text that the inside of a string literal means; nil for an escape without a character.
    ///
    /// An unknown escape stays as it is written, as in Python.
    init?(unescaping body: ArraySlice<UInt8>) {
        var result: [UInt8] = []
        var index = body.startIndex
        while index < body.endIndex {
            let byte = body[index]
            index += 1
            guard byte == UInt8(ascii: "\\"), index < body.endIndex else {
                result.append(byte)
                continue
            }
            let letter = body[index]
            index += 1
            if let simple = Self.simpleEscape(letter) {
                result.append(contentsOf: simple)
                continue
            }
            guard let (radix, least, most) = Self.numericEscape(letter) else {
                if letter == UInt8(ascii: "N") { return nil }
                result.append(byte)
                result.append(letter)
                continue
            }
            if radix == 8 { index -= 1 }
            let digits = body[index...].prefix(most).prefix {
                Character(Unicode.Scalar($0)).hexDigitValue.map { $0 < radix } == true
            }
            guard digits.count >= least,
                let value = UInt32(String(decoding: digits, as: UTF8.self), radix: radix),
                let scalar = Unicode.Scalar(value)
            else { return nil }
            result.append(contentsOf: TemplateText([scalar]).bytes)
            index += digits.count
        }
        bytes = result
    }

    private static func simpleEscape(_ letter: UInt8) -> [UInt8]? {
        switch Character(Unicode.Scalar(letter)) {
        case "\n": []
        case "\\", "'", "\"": [letter]
        case "a": [0x07]
        case "b": [0x08]
        case "t": [0x09]
        case "n": [0x0A]
        case "v": [0x0B]
        case "f": [0x0C]
        case "r": [0x0D]
        default: nil
        }
    }

    private static func numericEscape(_ letter: UInt8) -> (radix: Int, least: Int, most: Int)? {
        switch Character(Unicode.Scalar(letter)) {
        case "x": (16, 2, 2)
        case "u": (16, 4, 4)
        case "U": (16, 8, 8)
        case "0"..."7": (8, 1, 3)
        default: nil
        }
    }
}
