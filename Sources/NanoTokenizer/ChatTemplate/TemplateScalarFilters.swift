#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

// Filters of texts and numbers.

extension TemplateInterpreter {
    func filterText(
        _ filter: TemplateFilter, _ value: RuntimeValue, _ arguments: ArgumentValues
    ) throws(ChatTemplateError) -> RuntimeValue {
        let name = filter.rawValue
        switch filter {
        case .indent: return try indent(value, arguments)
        case .join: return try joinItems(value, arguments)
        case .truncate: return try truncate(value, arguments)
        default: break
        }
        let text = try self.text(of: value)
        try charge(byteCount: text.bytes.count)
        switch filter {
        case .format:
            guard arguments.positional.isEmpty || arguments.keyword.isEmpty else {
                throw failure("format takes arguments with names or without, not both.")
            }
            if arguments.keyword.isEmpty {
                return .text(try percentFormat(text, try makeTuple(arguments.positional)))
            }
            let pairs = arguments.keyword.map { (RuntimeValue.text($0.name), $0.value) }
            return .text(try percentFormat(text, try makeDictionary(pairs)))
        case .replace:
            let bound = try bind(arguments, ["old", "new", "count"], required: 2, of: name)
            let (old, new) = (
                try self.text(of: bound[0] ?? .none), try self.text(of: bound[1] ?? .none)
            )
            let count = bound[2].flatMap { $0.isNone ? nil : $0 } ?? .integer(-1)
            let limit = try wholeNumber(count, name)
            return .text(try replace(old, with: new, in: text, limit: limit))
        case .trim:
            let set = try optionalText(try bind(arguments, ["chars"], of: name)[0])
            return .text(text.stripped(of: set))
        case .center:
            let width = try bind(arguments, ["width"], of: name)[0] ?? .integer(80)
            return .text(try pad(text, to: try wholeNumber(width, name), with: " ", .both))
        default: break
        }
        _ = try bind(arguments, [], of: name)
        return switch filter {
        case .capitalize: .text(text.capitalized)
        case .lower: .text(text.lowercased)
        case .upper: .text(text.uppercased)
        case .title: .text(titled(text))
        case .wordcount: .integer(wordCount(text))
        case .e, .escape, .forceescape: .text(escaped(text))
        default: .text(text)
        }
    }

    private func escaped(_ text: TemplateText) -> TemplateText {
        var result: [UInt8] = []
        for byte in text.bytes {
            switch byte {
            case UInt8(ascii: "&"): result += "&amp;".utf8
            case UInt8(ascii: "<"): result += "&lt;".utf8
            case UInt8(ascii: ">"): result += "&gt;".utf8
            case UInt8(ascii: "'"): result += "&#39;".utf8
            case UInt8(ascii: "\""): result += "&#34;".utf8
            default: result.append(byte)
            }
        }
        return TemplateText(bytes: result)
    }

    // A word starts after white space, a hyphen or an opening bracket.
    private func titled(_ text: TemplateText) -> TemplateText {
        var result: [UInt8] = []
        var word: [Unicode.Scalar] = []
        func endWord() {
            guard let first = word.first else { return }
            result += first.properties.uppercaseMapping.utf8
            result += TemplateText(word.dropFirst()).lowercased.bytes
            word = []
        }
        for scalar in text.string.unicodeScalars {
            let isBorder = scalar.isPythonSpace || "-({[<".unicodeScalars.contains(scalar)
            if isBorder {
                endWord()
                result += TemplateText([scalar]).bytes
            } else {
                word.append(scalar)
            }
        }
        endWord()
        return TemplateText(bytes: result)
    }

    private func wordCount(_ text: TemplateText) -> Int {
        var count = 0
        var isInside = false
        for scalar in text.string.unicodeScalars {
            let isWord = scalar.isPythonWord
            if isWord, !isInside { count += 1 }
            isInside = isWord
        }
        return count
    }

    private func requiredText(
        _ value: RuntimeValue, _ filter: String
    ) throws(ChatTemplateError) -> TemplateText {
        guard let text = try optionalText(value) else { throw failure("\(filter) needs a string.") }
        try charge(byteCount: text.bytes.count)
        return text
    }

    private func indent(
        _ value: RuntimeValue, _ arguments: ArgumentValues
    ) throws(ChatTemplateError) -> RuntimeValue {
        let bound = try bind(arguments, ["width", "first", "blank"], of: "indent")
        let text = try requiredText(value, "indent")
        var indentation = TemplateText("")
        if case .text(let given)? = bound[0] {
            indentation = given
        } else {
            let width = try wholeNumber(bound[0] ?? .integer(4), "indent")
            indentation = try pad("", to: width, with: " ", .start)
        }
        let indentsFirst = try isTrue(bound[1] ?? .none)
        let indentsBlank = try isTrue(bound[2] ?? .none)
        var result: [UInt8] = []
        let lines = TemplateText(bytes: text.bytes + [0x0A]).lines(keepingEnds: false)
        for (position, line) in lines.enumerated() {
            if position > 0 { result.append(0x0A) }
            if position == 0 ? indentsFirst : indentsBlank || !line.isEmpty {
                try charge(byteCount: indentation.bytes.count)
                result += indentation.bytes
            }
            result += line.bytes
            try checkSize(result.count)
        }
        return .text(TemplateText(bytes: result))
    }

    private func joinItems(
        _ value: RuntimeValue, _ arguments: ArgumentValues
    ) throws(ChatTemplateError) -> RuntimeValue {
        let bound = try bind(arguments, ["d", "attribute"], of: "join")
        let separator = try text(of: bound[0] ?? .text(""))
        let path = try itemPath(bound[1])
        var result: [UInt8] = []
        for (position, item) in try items(of: value).enumerated() {
            let part = try text(of: try self.value(at: path, of: item))
            try charge(byteCount: part.bytes.count + separator.bytes.count)
            if position > 0 { result += separator.bytes }
            result += part.bytes
            try checkSize(result.count)
        }
        return .text(TemplateText(bytes: result))
    }

    private func truncate(
        _ value: RuntimeValue, _ arguments: ArgumentValues
    ) throws(ChatTemplateError) -> RuntimeValue {
        let bound = try bind(arguments, ["length", "killwords", "end", "leeway"], of: "truncate")
        if value.isUndefined { return value }
        let text = try requiredText(value, "truncate")
        let length = try wholeNumber(bound[0] ?? .integer(255), "truncate")
        let end = try requiredText(bound[2] ?? .text("..."), "truncate")
        let leeway = bound[3].flatMap { $0.isNone ? nil : $0 } ?? .integer(5)
        let slack = try wholeNumber(leeway, "truncate")
        guard length >= end.scalarCount, slack >= 0 else {
            throw failure("truncate needs room for its end and no negative leeway.")
        }
        if text.scalarCount - slack <= length { return .text(text) }
        let scalars = text.scalars.prefix(length - end.scalarCount)
        var kept = TemplateText(scalars)
        if !(try isTrue(bound[1] ?? .none)) {
            kept = try splitFromEnd(kept, at: " ", limit: 1)[0]
        }
        return .text(TemplateText(bytes: kept.bytes + end.bytes))
    }
}

// MARK: - Numbers

extension TemplateInterpreter {
    func filterNumber(
        _ filter: TemplateFilter, _ value: RuntimeValue, _ arguments: ArgumentValues
    ) throws(ChatTemplateError) -> RuntimeValue {
        if case .undefined(let undefined) = value { throw failure(undefined.message) }
        switch filter {
        case .abs:
            _ = try bind(arguments, [], of: "abs")
            if case .number(let number) = value { return .number(number.magnitude) }
            let number = try wholeNumber(value, "abs")
            return number < 0 ? try negate(.integer(number)) : .integer(number)
        case .int:
            let bound = try bind(arguments, ["default", "base"], of: "int")
            let base = try wholeNumber(bound[1] ?? .integer(10), "int")
            return try integer(from: value, base: base) ?? bound[0] ?? .integer(0)
        case .float:
            let bound = try bind(arguments, ["default"], of: "float")
            if case .text(let text) = value {
                return parseFloat(text).map { .number($0) } ?? bound[0] ?? .number(0)
            }
            return value.asNumber.map { .number($0) } ?? bound[0] ?? .number(0)
        default: return try round(value, arguments)
        }
    }

    private func integer(
        from value: RuntimeValue, base: Int
    ) throws(ChatTemplateError) -> RuntimeValue? {
        if let whole = value.asInteger { return .integer(whole) }
        var number: Double?
        if case .text(let text) = value {
            if let whole = parseInteger(text, base: base) { return .integer(whole) }
            number = parseFloat(text)
            guard number?.isFinite == true else { return nil }
        } else {
            number = value.asNumber
            if number?.isInfinite == true { throw failure("Infinity is no whole number.") }
        }
        guard let number, !number.isNaN else { return nil }
        guard let whole = Int(exactly: number.rounded(.towardZero)) else {
            throw failure("A whole number does not fit 64 bits.")
        }
        return .integer(whole)
    }

    private func parseInteger(_ text: TemplateText, base: Int) -> Int? {
        guard 2...36 ~= base else { return nil }
        var digits = text.stripped(of: nil).string
        var sign = ""
        if let first = digits.first, first == "-" || first == "+" {
            sign = String(digits.removeFirst())
        }
        let prefixes = [16: "0x", 8: "0o", 2: "0b"]
        if let prefix = prefixes[base], digits.lowercased().hasPrefix(prefix) {
            digits.removeFirst(2)
        }
        guard let plain = withoutUnderscores(digits) else { return nil }
        return plain.allSatisfy(\.isHexDigitOrLetter) ? Int(sign + plain, radix: base) : nil
    }

    private func parseFloat(_ text: TemplateText) -> Double? {
        guard let plain = withoutUnderscores(text.stripped(of: nil).string)?.lowercased() else {
            return nil
        }
        let unsigned = plain.first == "-" || plain.first == "+" ? plain.dropFirst() : plain[...]
        if ["inf", "infinity", "nan"].contains(unsigned) { return Double(plain) }
        guard unsigned.allSatisfy({ $0.isASCII && ($0.isNumber || ".e+-".contains($0)) }) else {
            return nil
        }
        return plain.withCString { start in
            var end: UnsafeMutablePointer<CChar>?
            let value = strtod(start, &end)
            return end.map { $0.pointee == 0 && $0 != start } == true ? value : nil
        }
    }

    // Python allows single underscores between digits.
    private func withoutUnderscores(_ text: String) -> String? {
        guard !text.isEmpty, !text.hasPrefix("_"), !text.hasSuffix("_"), !text.contains("__") else {
            return nil
        }
        return text.filter { $0 != "_" }
    }

    private func round(
        _ value: RuntimeValue, _ arguments: ArgumentValues
    ) throws(ChatTemplateError) -> RuntimeValue {
        let bound = try bind(arguments, ["precision", "method"], of: "round")
        let precision = try wholeNumber(bound[0] ?? .integer(0), "round")
        let method = try optionalText(bound[1]) ?? "common"
        guard let number = value.asNumber else {
            throw failure("A \(value.typeName) cannot be rounded.")
        }
        let precisionBound = min(max(precision, -308), 308)
        if method == "common" {
            if let whole = value.asInteger, precision >= 0 { return .integer(whole) }
            let rounded = rounded(number, precisionBound)
            if value.asInteger == nil { return .number(rounded) }
            guard let whole = Int(exactly: rounded) else {
                throw failure("A whole number does not fit 64 bits.")
            }
            return .integer(whole)
        }
        guard method == "ceil" || method == "floor" else {
            throw failure("round knows the methods common, ceil and floor.")
        }
        let scale = pow(10, Double(precisionBound))
        let scaled = number * scale
        guard scaled.isFinite else { throw failure("A number is too large to round.") }
        return .number((method == "ceil" ? scaled.rounded(.up) : scaled.rounded(.down)) / scale)
    }

    private func rounded(_ number: Double, _ precision: Int) -> Double {
        guard number.isFinite else { return number }
        if precision >= 0 { return Double(fixedDescription(of: number, precision)) ?? number }
        let scale = pow(10, Double(-precision))
        return (number / scale).rounded(.toNearestOrEven) * scale
    }
}

extension Character {
    fileprivate var isHexDigitOrLetter: Bool { isASCII && (isNumber || isLetter) }
}
