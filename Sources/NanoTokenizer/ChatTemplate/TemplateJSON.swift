// The `tojson` filter: Python's `json.dumps`, with everything but ASCII left as it is.

struct TemplateJSONStyle {
    var escapesNonASCII = false
    /// What one level is indented by; nil for one line.
    var indentation: String?
    var itemSeparator = ", "
    var keySeparator = ": "
    var sortsKeys = false
}

extension TemplateInterpreter {
    func json(
        _ value: RuntimeValue, _ arguments: ArgumentValues
    ) throws(ChatTemplateError) -> RuntimeValue {
        let bound = try bind(
            arguments, ["ensure_ascii", "indent", "separators", "sort_keys"], of: "tojson")
        var style = TemplateJSONStyle()
        if let value = bound[0] { style.escapesNonASCII = try isTrue(value) }
        if let value = bound[3] { style.sortsKeys = try isTrue(value) }
        switch bound[1] {
        case nil, .some(.none): break
        case .text(let text)?: style.indentation = text.string
        case let width?:
            let width = max(0, try wholeNumber(width, "tojson"))
            try charge(byteCount: width)
            style.indentation = String(repeating: " ", count: width)
        }
        if style.indentation != nil { style.itemSeparator = "," }
        if let separators = bound[2], !separators.isNone {
            let parts = try items(of: separators)
            guard parts.count == 2, case .text(let item) = parts[0], case .text(let key) = parts[1]
            else { throw failure("tojson needs two strings as separators.") }
            style.itemSeparator = item.string
            style.keySeparator = key.string
        }
        var bytes: [UInt8] = []
        try writeJSON(value, style, level: 0, into: &bytes)
        return .text(TemplateText(bytes: bytes))
    }

    private func writeJSON(
        _ value: RuntimeValue, _ style: TemplateJSONStyle, level: Int, into bytes: inout [UInt8]
    ) throws(ChatTemplateError) {
        try enter()
        defer { leave() }
        switch value {
        case .text(let text):
            try charge(byteCount: text.bytes.count)
            writeJSON(text, style, into: &bytes)
        case .list(let list), .tuple(let list):
            try writeJSON(list.items, style, level: level + 1, into: &bytes)
        case .dictionary(let dictionary):
            try writeJSON(dictionary, style, level: level + 1, into: &bytes)
        default:
            guard let scalar = jsonScalar(value) else {
                throw failure("A \(value.typeName) cannot be written as JSON.")
            }
            bytes += scalar.utf8
        }
        guard bytes.count <= limits.maxOutputByteCount else {
            throw ChatTemplateError(
                .limit, line: line,
                "The template makes JSON of more than \(limits.maxOutputByteCount) bytes.")
        }
    }

    private func jsonScalar(_ value: RuntimeValue) -> String? {
        switch value {
        case .none: return "null"
        case .boolean(let value): return value ? "true" : "false"
        case .integer(let value): return String(value)
        case .number(let value):
            if value.isNaN { return "NaN" }
            if value.isInfinite { return value < 0 ? "-Infinity" : "Infinity" }
            return pythonDescription(of: value)
        default: return nil
        }
    }

    private func writeJSON(
        _ items: [RuntimeValue], _ style: TemplateJSONStyle, level: Int, into bytes: inout [UInt8]
    ) throws(ChatTemplateError) {
        bytes.append(UInt8(ascii: "["))
        for (position, item) in items.enumerated() {
            if position > 0 { bytes += style.itemSeparator.utf8 }
            try writeLineEnd(style, level: level, into: &bytes)
            try writeJSON(item, style, level: level, into: &bytes)
        }
        if !items.isEmpty { try writeLineEnd(style, level: level - 1, into: &bytes) }
        bytes.append(UInt8(ascii: "]"))
    }

    private func writeJSON(
        _ dictionary: ValueDictionary, _ style: TemplateJSONStyle, level: Int,
        into bytes: inout [UInt8]
    ) throws(ChatTemplateError) {
        var order = Array(dictionary.keys.indices)
        if style.sortsKeys { order = try sortedIndices(of: dictionary.keys, isReversed: false) }
        bytes.append(UInt8(ascii: "{"))
        for (position, index) in order.enumerated() {
            if position > 0 { bytes += style.itemSeparator.utf8 }
            try writeLineEnd(style, level: level, into: &bytes)
            let key = dictionary.keys[index]
            if case .text(let text) = key {
                try charge(byteCount: text.bytes.count)
                writeJSON(text, style, into: &bytes)
            } else if let scalar = jsonScalar(key) {
                bytes += "\"\(scalar)\"".utf8
            } else {
                throw failure("A \(key.typeName) cannot be a key of JSON.")
            }
            bytes += style.keySeparator.utf8
            try writeJSON(dictionary.values[index], style, level: level, into: &bytes)
        }
        if !order.isEmpty { try writeLineEnd(style, level: level - 1, into: &bytes) }
        bytes.append(UInt8(ascii: "}"))
    }

    private func writeLineEnd(
        _ style: TemplateJSONStyle, level: Int, into bytes: inout [UInt8]
    ) throws(ChatTemplateError) {
        guard let indentation = style.indentation else { return }
        try charge(byteCount: bytes.count / 64 + indentation.utf8.count * level)
        bytes.append(UInt8(ascii: "\n"))
        for _ in 0..<level { bytes += indentation.utf8 }
    }

    private func writeJSON(
        _ text: TemplateText, _ style: TemplateJSONStyle, into bytes: inout [UInt8]
    ) {
        bytes.append(UInt8(ascii: "\""))
        for scalar in text.string.unicodeScalars {
            switch scalar {
            case "\"": bytes += "\\\"".utf8
            case "\\": bytes += "\\\\".utf8
            case "\n": bytes += "\\n".utf8
            case "\r": bytes += "\\r".utf8
            case "\t": bytes += "\\t".utf8
            case "\u{8}": bytes += "\\b".utf8
            case "\u{C}": bytes += "\\f".utf8
            case _ where scalar.value < 0x20 || (style.escapesNonASCII && !scalar.isASCII):
                for unit in UTF16.encode(scalar) ?? .init() {
                    bytes += "\\u\(hexadecimal(UInt32(unit), width: 4))".utf8
                }
            default: bytes += TemplateText([scalar]).bytes
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }
}
