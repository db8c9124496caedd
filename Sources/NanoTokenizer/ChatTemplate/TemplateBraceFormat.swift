// Python's `'{}'.format(value)`, under the sandbox's rules for attributes.

/// Which fields of a format had a number so far, and the number of the next one without.
private struct FieldNumbering {
    var next = 0
    var isManual = false
}

extension TemplateInterpreter {
    func braceFormat(
        _ format: TemplateText, _ arguments: ArgumentValues
    ) throws(ChatTemplateError) -> TemplateText {
        var reader = TemplateFormatReader(rest: format.scalars[...])
        var result: [UInt8] = []
        var numbering = FieldNumbering()
        while let scalar = reader.rest.popFirst() {
            try checkSize(result.count)
            if scalar == "{" || scalar == "}", reader.skip(scalar) {
                result += TemplateText([scalar]).bytes
                continue
            }
            guard scalar == "{" else {
                guard scalar != "}" else { throw failure("A format has a single '}'.") }
                result += TemplateText([scalar]).bytes
                continue
            }
            let inside = reader.rest.prefix { $0 != "}" }
            guard inside.count < reader.rest.count else {
                throw failure("A format has a '{' without its '}'.")
            }
            reader.rest = reader.rest.dropFirst(inside.count + 1)
            guard !inside.contains("{") else {
                throw failure("Fields inside the fields of a format are not supported.")
            }
            result += try braceField(inside, arguments, &numbering).bytes
        }
        return TemplateText(bytes: result)
    }

    private func braceField(
        _ inside: ArraySlice<Unicode.Scalar>, _ arguments: ArgumentValues,
        _ numbering: inout FieldNumbering
    ) throws(ChatTemplateError) -> TemplateText {
        let path = inside.prefix { $0 != "!" && $0 != ":" }
        var rest = TemplateFormatReader(rest: inside.dropFirst(path.count))
        var value = try fieldValue(path, arguments, &numbering)
        if rest.skip("!") {
            guard let conversion = rest.rest.popFirst(), "rsa".unicodeScalars.contains(conversion)
            else { throw failure("A field of a format has an unknown conversion.") }
            value = .text(try text(of: value, quoted: conversion != "s"))
        }
        guard rest.skip(":"), !rest.rest.isEmpty else { return try text(of: value) }
        var style = try braceStyle(&rest)
        if case .text(let text) = value {
            guard style.type == nil || style.type == "s" else {
                throw failure("A string does not fit a field for numbers.")
            }
            return try lay(out: cut(text, style.precision), style)
        }
        if value.asNumber != nil {
            if case .boolean = value, style.type == nil {
                return try lay(out: try text(of: value), style)
            }
            style.alignment = style.alignment ?? ">"
            return try layNumber(value, style)
        }
        throw failure("A \(value.typeName) takes no format.")
    }

    private func fieldValue(
        _ path: ArraySlice<Unicode.Scalar>, _ arguments: ArgumentValues,
        _ numbering: inout FieldNumbering
    ) throws(ChatTemplateError) -> RuntimeValue {
        let head = path.prefix { $0 != "." && $0 != "[" }
        var rest = TemplateFormatReader(rest: path.dropFirst(head.count))
        let name = TemplateText(head).string
        var position = Int(name)
        if position != nil { numbering.isManual = true }
        if name.isEmpty {
            position = numbering.next
            numbering.next += 1
        }
        guard !numbering.isManual || numbering.next == 0 else {
            throw failure("A format numbers some of its fields and not others.")
        }
        let found: RuntimeValue? =
            if let position {
                arguments.positional.indices.contains(position)
                    ? arguments.positional[position] : nil
            } else { arguments.keyword.first { $0.name == name }?.value }
        guard var value = found else {
            throw failure("A format names the value '\(name)', which is not given.")
        }
        while let mark = rest.rest.popFirst() {
            if mark == "[" {
                let key = rest.rest.prefix { $0 != "]" }
                rest.rest = rest.rest.dropFirst(key.count + 1)
                let label = TemplateText(key)
                let index = Int(label.string).map { RuntimeValue.integer($0) }
                value = try element(index ?? .text(label), of: value)
            } else {
                let label = rest.rest.prefix { $0 != "." && $0 != "[" }
                rest.rest = rest.rest.dropFirst(label.count)
                value = try attribute(TemplateText(label), of: value)
            }
        }
        return value
    }

    // [[fill]align][sign][#][0][width][,][.precision][type]
    private func braceStyle(
        _ reader: inout TemplateFormatReader
    ) throws(ChatTemplateError) -> TemplateFieldStyle {
        var style = TemplateFieldStyle()
        let alignments = "<>^=".unicodeScalars
        let head = Array(reader.rest.prefix(2))
        if head.count == 2, alignments.contains(head[1]) {
            style.fill = head[0]
            style.alignment = head[1]
            reader.rest = reader.rest.dropFirst(2)
        } else if let first = head.first, alignments.contains(first) {
            style.alignment = first
            reader.rest.removeFirst()
        }
        if let sign = reader.rest.first, "+- ".unicodeScalars.contains(sign) {
            style.sign = sign
            reader.rest.removeFirst()
        }
        style.isAlternate = reader.skip("#")
        if reader.skip("0"), style.alignment == nil {
            style.fill = "0"
            style.alignment = "="
        }
        style.width = reader.number() ?? 0
        style.groupsThousands = reader.skip(",")
        if reader.skip(".") {
            guard let precision = reader.number() else {
                throw failure("A field of a format has a point without digits.")
            }
            style.precision = precision
        }
        style.type = reader.rest.popFirst()
        guard reader.rest.isEmpty else { throw failure("A field of a format is malformed.") }
        return style
    }
}
