import Foundation

/// Walks once over a JSON text without recursion, before a decoder recurses over it.
///
/// The grammar is RFC 8259's, and an object has each key once. Escaped lone surrogates, which
/// Python's `json.dumps` may write and no Swift string can hold, become U+FFFD in place.
struct JSONScanner {
    static let maxDepth = 64

    private enum Expected {
        case value, valueOrEnd, key, keyOrEnd, colon, separator, end
    }

    private(set) var bytes: [UInt8]
    private var index = 0
    /// The bytes that close what is open, innermost last.
    private var closers: [UInt8] = []
    /// The keys so far of each thing that is open.
    private var keys: [Set<String>] = []

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    /// - Throws: ``RequestError/invalidJSON(_:)`` that names the byte.
    mutating func scan() throws(RequestError) {
        var expected = Expected.value
        while true {
            skip(while: { [0x20, 0x09, 0x0A, 0x0D].contains($0) })
            guard let byte = current else {
                if expected == .end { return }
                throw unexpected()
            }
            switch (expected, byte) {
            case (.valueOrEnd, closers.last), (.keyOrEnd, closers.last),
                (.separator, closers.last):
                index += 1
                closers.removeLast()
                keys.removeLast()
                expected = afterValue
            case (.value, _), (.valueOrEnd, _):
                expected = try scanValue(byte)
            case (.key, UInt8(ascii: "\"")), (.keyOrEnd, UInt8(ascii: "\"")):
                try scanKey()
                expected = .colon
            case (.colon, UInt8(ascii: ":")):
                index += 1
                expected = .value
            case (.separator, UInt8(ascii: ",")):
                index += 1
                expected = closers.last == UInt8(ascii: "}") ? .key : .value
            default:
                throw unexpected()
            }
        }
    }

    private var current: UInt8? {
        index < bytes.count ? bytes[index] : nil
    }

    private var afterValue: Expected {
        closers.isEmpty ? .end : .separator
    }

    private func unexpected() -> RequestError {
        index < bytes.count
            ? .invalidJSON("there is something unexpected at byte \(index).")
            : .invalidJSON("it ends too early, at byte \(index).")
    }

    private mutating func skip(while isSkipped: (UInt8) -> Bool) {
        while let byte = current, isSkipped(byte) {
            index += 1
        }
    }

    private mutating func scanValue(_ byte: UInt8) throws(RequestError) -> Expected {
        switch byte {
        case UInt8(ascii: "{"):
            try open(UInt8(ascii: "}"))
            return .keyOrEnd
        case UInt8(ascii: "["):
            try open(UInt8(ascii: "]"))
            return .valueOrEnd
        case UInt8(ascii: "\""): try scanString()
        case UInt8(ascii: "t"): try scanLiteral("true")
        case UInt8(ascii: "f"): try scanLiteral("false")
        case UInt8(ascii: "n"): try scanLiteral("null")
        default: try scanNumber()
        }
        return afterValue
    }

    private mutating func open(_ closer: UInt8) throws(RequestError) {
        guard closers.count < Self.maxDepth else {
            throw .invalidJSON("it is nested deeper than \(Self.maxDepth) at byte \(index).")
        }
        closers.append(closer)
        keys.append([])
        index += 1
    }

    private mutating func scanLiteral(_ literal: StaticString) throws(RequestError) {
        let end = index + literal.utf8CodeUnitCount
        let isMatch = literal.withUTF8Buffer { expected in
            end <= bytes.count && bytes[index..<end].elementsEqual(expected)
        }
        guard isMatch else { throw unexpected() }
        index = end
    }

    private mutating func scanNumber() throws(RequestError) {
        if current == UInt8(ascii: "-") { index += 1 }
        if current == UInt8(ascii: "0") {
            index += 1
        } else {
            try scanDigits()
        }
        if current == UInt8(ascii: ".") {
            index += 1
            try scanDigits()
        }
        if current == UInt8(ascii: "e") || current == UInt8(ascii: "E") {
            index += 1
            if current == UInt8(ascii: "+") || current == UInt8(ascii: "-") { index += 1 }
            try scanDigits()
        }
    }

    private mutating func scanDigits() throws(RequestError) {
        let start = index
        skip(while: { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
        guard index > start else { throw unexpected() }
    }
}

extension JSONScanner {
    /// Two values under one key have no one meaning: a proxy in front may check the one that is not used.
    private mutating func scanKey() throws(RequestError) {
        let start = index
        try scanString()
        let text = bytes[start + 1..<index - 1]
        // Written with escapes it is still the same key.
        let key =
            text.contains(UInt8(ascii: "\\"))
            ? try? JSONDecoder().decode(String.self, from: Data(bytes[start..<index])) : nil
        guard keys[keys.count - 1].insert(key ?? String(decoding: text, as: UTF8.self)).inserted
        else {
            throw .invalidJSON("a key is there for the second time at byte \(start).")
        }
    }

    private mutating func scanString() throws(RequestError) {
        index += 1
        while let byte = current {
            switch byte {
            case UInt8(ascii: "\""):
                index += 1
                return
            case UInt8(ascii: "\\"):
                try scanEscape()
            case 0..<0x20:
                throw unexpected()
            default:
                index += 1
            }
        }
        throw unexpected()
    }

    private mutating func scanEscape() throws(RequestError) {
        guard let unit = escapedUnit(at: index) else {
            index += 1
            guard let byte = current, "\"\\/bfnrt".utf8.contains(byte) else { throw unexpected() }
            index += 1
            return
        }
        if UTF16.isLeadSurrogate(unit), let next = escapedUnit(at: index + 6),
            UTF16.isTrailSurrogate(next)
        {
            index += 12
            return
        }
        if UTF16.isSurrogate(unit) {
            bytes.replaceSubrange(index + 2..<index + 6, with: "fffd".utf8)
        }
        index += 6
    }

    /// The code unit of the `\uXXXX` at `index`; nil where there is something else.
    private func escapedUnit(at index: Int) -> UInt16? {
        guard index + 6 <= bytes.count, bytes[index] == UInt8(ascii: "\\"),
            bytes[index + 1] == UInt8(ascii: "u")
        else { return nil }
        var unit: UInt16 = 0
        for byte in bytes[index + 2..<index + 6] {
            guard let digit = Character(Unicode.Scalar(byte)).hexDigitValue else { return nil }
            unit = unit << 4 | UInt16(digit)
        }
        return unit
    }
}
