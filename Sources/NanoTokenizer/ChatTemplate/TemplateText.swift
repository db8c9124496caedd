/// A string inside the interpreter: valid UTF-8, compared byte by byte.
///
/// Swift's `String` finds canonically equal texts equal and counts grapheme clusters; Python
/// compares and counts code points, and a template means the latter.
struct TemplateText: Hashable, Sendable, Comparable, ExpressibleByStringLiteral {
    var bytes: [UInt8]

    init(_ string: some StringProtocol) { bytes = Array(string.utf8) }
    init(stringLiteral value: String) { bytes = Array(value.utf8) }
    init(bytes: some Sequence<UInt8>) { self.bytes = Array(bytes) }

    init(_ scalars: some Sequence<Unicode.Scalar>) {
        bytes = []
        for scalar in scalars { bytes.append(contentsOf: UTF8.encode(scalar) ?? .init()) }
    }

    var isEmpty: Bool { bytes.isEmpty }
    var string: String { String(decoding: bytes, as: UTF8.self) }
    var scalars: [Unicode.Scalar] { Array(string.unicodeScalars) }

    /// How many code points the text has, Python's `len`.
    var scalarCount: Int {
        var count = 0
        for byte in bytes where byte & 0xC0 != 0x80 { count += 1 }
        return count
    }

    /// Where the code point with this index starts; the end for an index beyond it.
    func byteIndex(ofScalar index: Int) -> Int {
        var seen = 0
        for (offset, byte) in bytes.enumerated() where byte & 0xC0 != 0x80 {
            if seen == index { return offset }
            seen += 1
        }
        return bytes.count
    }

    /// The text of each code point.
    var characters: [TemplateText] {
        var result: [TemplateText] = []
        var start = 0
        for end in bytes.indices.dropFirst() where bytes[end] & 0xC0 != 0x80 {
            result.append(TemplateText(bytes: bytes[start..<end]))
            start = end
        }
        if start < bytes.count { result.append(TemplateText(bytes: bytes[start...])) }
        return result
    }

    static func < (left: TemplateText, right: TemplateText) -> Bool {
        left.bytes.lexicographicallyPrecedes(right.bytes)
    }

    func hasPrefix(_ prefix: TemplateText) -> Bool { bytes.starts(with: prefix.bytes) }

    func hasSuffix(_ suffix: TemplateText) -> Bool {
        bytes.count >= suffix.bytes.count && bytes.suffix(suffix.bytes.count) == suffix.bytes[...]
    }
}

// MARK: - White space

extension Unicode.Scalar {
    /// Whether Python's `str.isspace`, and so `\s` of its regular expressions, holds.
    var isPythonSpace: Bool {
        switch value {
        case 0x09...0x0D, 0x1C...0x20, 0x85, 0xA0, 0x1680, 0x2000...0x200A: true
        case 0x2028, 0x2029, 0x202F, 0x205F, 0x3000: true
        default: false
        }
    }

    /// Whether Python's `str.splitlines` ends a line here.
    var isPythonLineEnd: Bool {
        switch value {
        case 0x0A...0x0D, 0x1C...0x1E, 0x85, 0x2028, 0x2029: true
        default: false
        }
    }

    /// Whether `\w` of Python's regular expressions matches.
    var isPythonWord: Bool { value == 0x5F || isPythonAlphanumeric }

    var isPythonAlphanumeric: Bool {
        switch properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter:
            true
        default: properties.numericType != nil
        }
    }
}

extension [UInt8] {
    /// The byte count of the white-space code point that starts here; zero for any other.
    func spaceLength(at index: Int) -> Int {
        guard index < count else { return 0 }
        let first = self[index]
        if first < 0x80 { return Unicode.Scalar(first).isPythonSpace ? 1 : 0 }
        // White space beyond ASCII starts with one of four bytes and has two or three.
        let length = first == 0xC2 ? 2 : 3
        guard [0xC2, 0xE1, 0xE2, 0xE3].contains(first), index + length <= count else { return 0 }
        let text = String(decoding: self[index..<index + length], as: UTF8.self)
        return text.unicodeScalars.first?.isPythonSpace == true ? length : 0
    }

    /// The first index from `index` on where no white space starts.
    func skippingSpace(from index: Int) -> Int {
        var index = index
        while case let length = spaceLength(at: index), length > 0 { index += length }
        return index
    }

    /// The end of `start..<end` once the white space before `end` is taken off.
    func trimmingSpace(from start: Int, upTo end: Int) -> Int {
        var end = end
        while end > start {
            var first = end - 1
            while first > start, self[first] & 0xC0 == 0x80 { first -= 1 }
            guard spaceLength(at: first) == end - first else { break }
            end = first
        }
        return end
    }
}

extension TemplateText {
    /// Without the characters of `set` at the chosen ends; white space when there is no set.
    func stripped(of set: TemplateText?, start: Bool = true, end: Bool = true) -> TemplateText {
        guard let set else {
            let first = start ? bytes.skippingSpace(from: 0) : 0
            let last = end ? bytes.trimmingSpace(from: first, upTo: bytes.count) : bytes.count
            return TemplateText(bytes: bytes[first..<last])
        }
        let unwanted = Set(set.scalars)
        var kept = scalars[...]
        if start { kept = kept.drop { unwanted.contains($0) } }
        while end, let last = kept.last, unwanted.contains(last) { kept.removeLast() }
        return TemplateText(kept)
    }

    /// The lines of Python's `str.splitlines`.
    func lines(keepingEnds: Bool) -> [TemplateText] {
        var result: [TemplateText] = []
        var line: [Unicode.Scalar] = []
        let all = scalars
        var index = 0
        while index < all.count {
            let scalar = all[index]
            index += 1
            guard scalar.isPythonLineEnd else {
                line.append(scalar)
                continue
            }
            if keepingEnds { line.append(scalar) }
            if scalar == "\r", index < all.count, all[index] == "\n" {
                if keepingEnds { line.append("\n") }
                index += 1
            }
            result.append(TemplateText(line))
            line = []
        }
        if !line.isEmpty { result.append(TemplateText(line)) }
        return result
    }
}
