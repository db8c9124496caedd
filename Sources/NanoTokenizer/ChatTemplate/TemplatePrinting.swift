// Python's `str` and `repr` of values.

extension TemplateInterpreter {
    /// What printing a value writes; quoted, as it looks inside a list.
    func text(
        of value: RuntimeValue, quoted: Bool = false
    ) throws(ChatTemplateError) -> TemplateText {
        if !quoted {
            if case .text(let text) = value { return text }
            if value.isUndefined { return "" }
        }
        var bytes: [UInt8] = []
        try describe(value, into: &bytes)
        return TemplateText(bytes: bytes)
    }

    private func describe(
        _ value: RuntimeValue, into bytes: inout [UInt8]
    ) throws(ChatTemplateError) {
        try enter()
        defer { leave() }
        try charge(byteCount: bytes.count, growth: 1)
        switch value {
        case .text(let text):
            try charge(byteCount: bytes.count, growth: text.bytes.count)
            bytes += pythonLiteral(of: text)
        case .list(let list): try describe(list.items, "[", "]", into: &bytes)
        case .tuple(let list):
            try describe(list.items, "(", list.items.count == 1 ? ",)" : ")", into: &bytes)
        case .dictionary(let dictionary): try describe(dictionary, into: &bytes)
        case .view(let kind, _):
            bytes += "dict_\(kind.rawValue)(".utf8
            try describe(try items(of: value), "[", "])", into: &bytes)
        case .namespace(let index):
            bytes += "<Namespace ".utf8
            try describe(namespaces[index], into: &bytes)
            bytes += ">".utf8
        default: bytes += scalarDescription(of: value).utf8
        }
    }

    private func scalarDescription(of value: RuntimeValue) -> String {
        switch value {
        case .undefined: return "Undefined"
        case .none: return "None"
        case .boolean(let value): return value ? "True" : "False"
        case .integer(let value): return String(value)
        case .number(let value): return pythonDescription(of: value)
        case .range(let range):
            let step = range.step == 1 ? "" : ", \(range.step)"
            return "range(\(range.start), \(range.stop)\(step))"
        case .macro(let index):
            let name = macros[index].macro.name.map { "'\(program.names[$0])'" } ?? "anonymous"
            return "<Macro \(name)>"
        default: return "<\(value.typeName)>"
        }
    }

    private func charge(byteCount: Int, growth: Int) throws(ChatTemplateError) {
        guard byteCount + growth <= limits.maxOutputByteCount else {
            throw ChatTemplateError(
                .limit, line: line,
                "The template makes a text of more than \(limits.maxOutputByteCount) bytes.")
        }
        try charge(growth / ChatTemplateLimits.bytesPerStep)
    }

    private func describe(
        _ items: [RuntimeValue], _ open: String, _ close: String, into bytes: inout [UInt8]
    ) throws(ChatTemplateError) {
        bytes += open.utf8
        for (position, item) in items.enumerated() {
            if position > 0 { bytes += ", ".utf8 }
            try describe(item, into: &bytes)
        }
        bytes += close.utf8
    }

    private func describe(
        _ dictionary: ValueDictionary, into bytes: inout [UInt8]
    ) throws(ChatTemplateError) {
        bytes += "{".utf8
        for (position, key) in dictionary.keys.enumerated() {
            if position > 0 { bytes += ", ".utf8 }
            try describe(key, into: &bytes)
            bytes += ": ".utf8
            try describe(dictionary.values[position], into: &bytes)
        }
        bytes += "}".utf8
    }
}

/// A text in quotation marks: single ones, unless it holds those and no double ones.
func pythonLiteral(of text: TemplateText) -> [UInt8] {
    let single = UInt8(ascii: "'")
    let double = UInt8(ascii: "\"")
    let quote = text.bytes.contains(single) && !text.bytes.contains(double) ? double : single
    var result = [quote]
    for scalar in text.string.unicodeScalars {
        switch scalar {
        case "\\": result += "\\\\".utf8
        case "\n": result += "\\n".utf8
        case "\r": result += "\\r".utf8
        case "\t": result += "\\t".utf8
        case _ where scalar.value == UInt32(quote): result += [UInt8(ascii: "\\"), quote]
        case _ where isPythonPrintable(scalar): result += TemplateText([scalar]).bytes
        default:
            let (letter, width) =
                scalar.value < 0x100 ? ("x", 2) : scalar.value < 0x10000 ? ("u", 4) : ("U", 8)
            result += "\\\(letter)\(hexadecimal(scalar.value, width: width))".utf8
        }
    }
    return result + [quote]
}

private func isPythonPrintable(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.properties.generalCategory {
    case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator,
        .paragraphSeparator:
        false
    case .spaceSeparator: scalar == " "
    default: true
    }
}

/// A number in hexadecimal, with zeros in front up to `width` digits.
func hexadecimal(_ value: UInt32, width: Int) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
}

/// Python's `repr` of a float: the shortest digits that read back as the same number, with an
/// exponent below -4 and from 16 on.
func pythonDescription(of number: Double) -> String {
    if number.isNaN { return "nan" }
    if number.isInfinite { return number < 0 ? "-inf" : "inf" }
    let parts = number.magnitude.description.split(separator: "e")
    let mantissa = parts[0].split(separator: ".")
    var exponent = (parts.count > 1 ? Int(parts[1]) ?? 0 : 0) + mantissa[0].count
    var digits = Array(mantissa[0] + (mantissa.count > 1 ? mantissa[1] : ""))
    let leadingZeros = digits.prefix { $0 == "0" }.count
    digits.removeFirst(leadingZeros)
    exponent -= leadingZeros
    while digits.last == "0" { digits.removeLast() }
    let sign = number.sign == .minus ? "-" : ""
    guard !digits.isEmpty else { return sign + "0.0" }
    // The number is 0.DIGITS times ten to the exponent.
    if exponent > 16 || exponent < -3 {
        let fraction = digits.count > 1 ? "." + String(digits[1...]) : ""
        let power = abs(exponent - 1)
        let padded = power < 10 ? "0\(power)" : "\(power)"
        return sign + String(digits[0]) + fraction + (exponent > 0 ? "e+" : "e-") + padded
    }
    if exponent <= 0 {
        return sign + "0." + String(repeating: "0", count: -exponent) + String(digits)
    }
    while digits.count < exponent { digits.append("0") }
    let fraction = digits.count > exponent ? String(digits[exponent...]) : "0"
    return sign + String(digits[..<exponent]) + "." + fraction
}
