#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

// Python's way to fill values into a text with `'%s' % value`, and what TemplateBraceFormat needs
// of it for `'{}'.format(value)`.

/// A number with a fixed count of digits after the point, rounded from its exact value.
func fixedDescription(of number: Double, _ digits: Int) -> String {
    formatted(number, conversion: "f", digits)
}

/// C's `printf` of one number; `conversion` is one of e, f, g, E, F and G.
private func formatted(_ number: Double, conversion: Character, _ digits: Int) -> String {
    // The longest double has 309 digits before the point.
    let digits = min(max(digits, 0), 400)
    return withUnsafeTemporaryAllocation(of: CChar.self, capacity: 1024) { buffer in
        let count = withVaList([CInt(digits), number]) {
            vsnprintf(buffer.baseAddress, buffer.count, "%.*\(conversion)", $0)
        }
        let bytes = buffer.prefix(min(max(0, Int(count)), buffer.count - 1))
        return String(decoding: bytes.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}

/// How one value is laid out in a text.
struct TemplateFieldStyle {
    var fill: Unicode.Scalar = " "
    /// One of `<`, `>`, `^` and `=`; the type of the value decides when there is none.
    var alignment: Unicode.Scalar?
    var sign: Unicode.Scalar?
    var isAlternate = false
    var groupsThousands = false
    var width = 0
    var precision: Int?
    var type: Unicode.Scalar?
}

/// Reads the letters of a format.
struct TemplateFormatReader {
    var rest: ArraySlice<Unicode.Scalar>

    mutating func skip(_ scalar: Unicode.Scalar) -> Bool {
        guard rest.first == scalar else { return false }
        rest.removeFirst()
        return true
    }

    /// A number, or nil when there are no digits; bounded, since no text may be that wide.
    mutating func number() -> Int? {
        var value: Int?
        while let digit = rest.first, ("0"..."9").contains(digit) {
            value = min((value ?? 0) * 10 + Int(digit.value - 48), 1 << 40)
            rest.removeFirst()
        }
        return value
    }
}

// MARK: - Percent signs

extension TemplateInterpreter {
    func percentFormat(
        _ format: TemplateText, _ values: RuntimeValue
    ) throws(ChatTemplateError) -> TemplateText {
        var waiting: [RuntimeValue] = [values]
        if case .tuple(let tuple) = values { waiting = tuple.items }
        waiting.reverse()
        var isMapped = false
        if case .dictionary = values { isMapped = true }
        var reader = TemplateFormatReader(rest: format.scalars[...])
        var result: [UInt8] = []
        while let scalar = reader.rest.popFirst() {
            try checkSize(result.count)
            guard scalar == "%" else {
                result += TemplateText([scalar]).bytes
                continue
            }
            if reader.skip("%") {
                result += "%".utf8
                continue
            }
            let named = try namedValue(&reader, values)
            let style = try percentStyle(&reader, &waiting)
            guard let value = named ?? waiting.popLast() else {
                throw failure("A format has more fields than there are values.")
            }
            result += try percentField(value, style).bytes
        }
        guard waiting.isEmpty || isMapped else {
            throw failure("A format has fewer fields than there are values.")
        }
        return TemplateText(bytes: result)
    }

    private func namedValue(
        _ reader: inout TemplateFormatReader, _ values: RuntimeValue
    ) throws(ChatTemplateError) -> RuntimeValue? {
        guard reader.skip("(") else { return nil }
        let name = reader.rest.prefix { $0 != ")" }
        reader.rest = reader.rest.dropFirst(name.count + 1)
        guard case .dictionary(let dictionary) = values,
            let value = dictionary[.text(TemplateText(name))]
        else { throw failure("A format names the value '\(TemplateText(name).string)'.") }
        return value
    }

    private func percentStyle(
        _ reader: inout TemplateFormatReader, _ waiting: inout [RuntimeValue]
    ) throws(ChatTemplateError) -> TemplateFieldStyle {
        func count(_ reader: inout TemplateFormatReader) throws(ChatTemplateError) -> Int? {
            guard reader.skip("*") else { return reader.number() }
            guard let value = waiting.popLast() else {
                throw failure("A format has more fields than there are values.")
            }
            return try wholeNumber(value, "A format")
        }
        var style = TemplateFieldStyle()
        while let flag = reader.rest.first, "-+ #0".unicodeScalars.contains(flag) {
            reader.rest.removeFirst()
            switch flag {
            case "-": style.alignment = "<"
            case "#": style.isAlternate = true
            case "0": style.fill = "0"
            case "+": style.sign = "+"
            default: style.sign = style.sign ?? " "
            }
        }
        let width = try count(&reader) ?? 0
        if width < 0 { style.alignment = "<" }
        style.width = width == .min ? .max : abs(width)
        if reader.skip(".") { style.precision = max(0, try count(&reader) ?? 0) }
        while let size = reader.rest.first, "hlL".unicodeScalars.contains(size) {
            reader.rest.removeFirst()
        }
        style.type = reader.rest.popFirst()
        if style.fill == "0" { style.alignment = style.alignment == "<" ? "<" : "=" }
        if style.alignment == "<" { style.fill = " " }
        return style
    }

    private func percentField(
        _ value: RuntimeValue, _ style: TemplateFieldStyle
    ) throws(ChatTemplateError) -> TemplateText {
        var style = style
        switch style.type {
        case "s"?, "r"?, "a"?:
            let text = try text(of: value, quoted: style.type != "s")
            style.fill = " "
            if style.alignment != "<" { style.alignment = ">" }
            return try lay(out: cut(text, style.precision), style)
        case "c"?:
            if case .text(let text) = value, text.scalarCount == 1 {
                return try lay(out: text, style)
            }
            guard let code = value.asInteger,
                let scalar = UInt32(exactly: code).flatMap(Unicode.Scalar.init)
            else { throw failure("A character is needed for %c.") }
            return try lay(out: TemplateText([scalar]), style)
        case "d"?, "i"?, "u"?, "x"?, "X"?, "o"?, "e"?, "E"?, "f"?, "F"?, "g"?, "G"?:
            if style.type == "i" || style.type == "u" { style.type = "d" }
            style.alignment = style.alignment ?? ">"
            if case .undefined(let undefined) = value { throw failure(undefined.message) }
            if style.type == "d", case .number(let number) = value {
                guard let whole = Int(exactly: number.rounded(.towardZero)) else {
                    throw failure("A whole number does not fit 64 bits.")
                }
                return try layNumber(.integer(whole), style)
            }
            return try layNumber(value, style)
        default: throw failure("A format has a field of unknown type.")
        }
    }

    func cut(_ text: TemplateText, _ count: Int?) -> TemplateText {
        guard let count else { return text }
        return TemplateText(bytes: text.bytes[..<text.byteIndex(ofScalar: count)])
    }

    func lay(
        out text: TemplateText, _ style: TemplateFieldStyle
    ) throws(ChatTemplateError) -> TemplateText {
        let padding: Padding =
            switch style.alignment {
            case ">"?, "="?: .start
            case "^"?: .both
            default: .end
            }
        guard padding == .both, style.width > text.scalarCount else {
            return try pad(text, to: style.width, with: TemplateText([style.fill]), padding)
        }
        // A format puts the odd one on the right.
        let missing = style.width - text.scalarCount
        let fill = TemplateText([style.fill])
        let left = try pad(text, to: text.scalarCount + missing / 2, with: fill, .start)
        return try pad(left, to: style.width, with: fill, .end)
    }
}

// MARK: - Numbers

extension TemplateInterpreter {
    func layNumber(
        _ value: RuntimeValue, _ style: TemplateFieldStyle
    ) throws(ChatTemplateError) -> TemplateText {
        guard let number = value.asNumber else {
            throw failure("A number is needed in a format, not a \(value.typeName).")
        }
        try charge(byteCount: min(style.precision ?? 0, limits.maxOutputByteCount))
        let isNegative = number.sign == .minus
        var digits = try digits(of: value, style)
        if style.groupsThousands { digits = grouped(digits) }
        let sign = isNegative ? "-" : style.sign.map { $0 == "-" ? "" : String($0) } ?? ""
        guard style.alignment == "=" else {
            return try lay(out: TemplateText(sign + digits), style)
        }
        let fill = TemplateText([style.fill])
        let padded = try pad(
            TemplateText(digits), to: style.width - sign.count, with: fill, .start)
        return TemplateText(bytes: Array(sign.utf8) + padded.bytes)
    }

    private func digits(
        of value: RuntimeValue, _ style: TemplateFieldStyle
    ) throws(ChatTemplateError) -> String {
        let radices: [Unicode.Scalar: Int] = ["d": 10, "n": 10, "x": 16, "X": 16, "o": 8, "b": 2]
        let type = style.type
        if let whole = value.asInteger, type == nil || type.flatMap({ radices[$0] }) != nil {
            let radix = type.flatMap { radices[$0] } ?? 10
            var digits = String(whole.magnitude, radix: radix, uppercase: type == "X")
            if let least = style.precision, digits.count < least {
                guard least <= 4096 else { throw failure("A format asks for too many digits.") }
                digits = String(repeating: "0", count: least - digits.count) + digits
            }
            return (style.isAlternate && radix != 10 ? "0\(type ?? "x")" : "") + digits
        }
        guard let number = value.asNumber, type.flatMap({ radices[$0] }) == nil else {
            throw failure("A whole number is needed in a format, not a \(value.typeName).")
        }
        let magnitude = number.magnitude
        guard magnitude.isFinite else { return magnitude.isNaN ? "nan" : "inf" }
        switch type {
        case nil where style.precision == nil: return pythonDescription(of: magnitude)
        case "%"?: return fixedDescription(of: magnitude * 100, style.precision ?? 6) + "%"
        case nil, "e"?, "E"?, "f"?, "F"?, "g"?, "G"?:
            let conversion = Character(type ?? "g")
            return formatted(magnitude, conversion: conversion, style.precision ?? 6)
        default: throw failure("A format has a field of unknown type.")
        }
    }

    private func grouped(_ digits: String) -> String {
        let whole = digits.prefix(while: \.isNumber)
        var result = ""
        for (position, digit) in whole.enumerated() {
            if position > 0, (whole.count - position).isMultiple(of: 3) { result += "," }
            result.append(digit)
        }
        return result + digits.dropFirst(whole.count)
    }
}
