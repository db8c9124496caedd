/// The methods of Python's `str` that a template can call.
enum TextMethod: String {
    case capitalize, casefold, center, count, endswith, expandtabs, find, format, index, isalnum
    case isalpha, isascii, isdecimal, isdigit, islower, isnumeric, isspace, istitle, isupper
    case join, ljust, lower, lstrip, partition, removeprefix, removesuffix, replace, rfind
    case rindex, rjust, rpartition, rsplit, rstrip, split, splitlines, startswith, strip
    case swapcase, title, upper, zfill
}

extension TemplateInterpreter {
    func callTextMethod(
        _ method: TextMethod, _ text: TemplateText, _ arguments: ArgumentValues
    ) throws(ChatTemplateError) -> RuntimeValue {
        try charge(byteCount: text.bytes.count)
        switch method {
        case .capitalize, .casefold, .lower, .swapcase, .title, .upper:
            _ = try bind(arguments, [], of: method.rawValue)
            return .text(changeCase(of: text, method))
        case .isalnum, .isalpha, .isascii, .isdecimal, .isdigit, .islower, .isnumeric, .isspace,
            .istitle, .isupper:
            _ = try bind(arguments, [], of: method.rawValue)
            return .boolean(hasProperty(method, text))
        case .strip, .lstrip, .rstrip:
            let set = try optionalText(try bind(arguments, ["chars"], of: method.rawValue)[0])
            return .text(
                text.stripped(of: set, start: method != .rstrip, end: method != .lstrip))
        case .center, .ljust, .rjust, .zfill: return try pad(text, method, arguments)
        case .split, .rsplit: return try split(text, method, arguments)
        case .splitlines:
            let bound = try bind(arguments, ["keepends"], of: "splitlines")
            let keeps = try isTrue(bound[0] ?? .boolean(false))
            return try makeTexts(text.lines(keepingEnds: keeps))
        case .partition, .rpartition: return try partition(text, method, arguments)
        case .startswith, .endswith: return try hasEdge(text, method, arguments)
        case .count, .find, .index, .rfind, .rindex: return try search(text, method, arguments)
        case .join:
            let bound = try bind(arguments, ["iterable"], required: 1, of: "join")
            return try join(text, bound[0] ?? .none)
        case .replace: return try replace(in: text, arguments)
        case .removeprefix, .removesuffix:
            let edge = try onlyText(arguments, method)
            if method == .removeprefix, text.hasPrefix(edge) {
                return .text(TemplateText(bytes: text.bytes.dropFirst(edge.bytes.count)))
            }
            if method == .removesuffix, text.hasSuffix(edge) {
                return .text(TemplateText(bytes: text.bytes.dropLast(edge.bytes.count)))
            }
            return .text(text)
        case .format: return .text(try braceFormat(text, arguments))
        case .expandtabs: return try expandTabs(text, arguments)
        }
    }

    private func changeCase(of text: TemplateText, _ method: TextMethod) -> TemplateText {
        switch method {
        case .capitalize: text.capitalized
        case .swapcase: text.caseSwapped
        case .title: text.titlecased
        case .upper: text.uppercased
        case .casefold: text.casefolded
        default: text.lowercased
        }
    }

    private func hasProperty(_ method: TextMethod, _ text: TemplateText) -> Bool {
        let scalars = text.scalars
        func all(_ holds: (Unicode.Scalar) -> Bool) -> Bool {
            !scalars.isEmpty && scalars.allSatisfy(holds)
        }
        return switch method {
        case .isalnum: all(\.isPythonAlphanumeric)
        case .isalpha: all { $0.isPythonAlphanumeric && $0.properties.numericType == nil }
        case .isascii: scalars.allSatisfy(\.isASCII)
        case .isdecimal: all { $0.properties.numericType == .decimal }
        case .isdigit: all { [.decimal, .digit].contains($0.properties.numericType) }
        case .isnumeric: all { $0.properties.numericType != nil }
        case .isspace: all(\.isPythonSpace)
        case .islower: text.isLowercase
        case .isupper: text.isUppercase
        default: text == text.titlecased && scalars.contains(where: \.properties.isCased)
        }
    }

    func optionalText(_ value: RuntimeValue?) throws(ChatTemplateError) -> TemplateText? {
        switch value {
        case nil, .some(.none): return nil
        case .text(let text)?: return text
        case .undefined(let undefined)?: throw failure(undefined.message)
        case let other?: throw failure("A string is needed, not a \(other.typeName).")
        }
    }

    private func onlyText(
        _ arguments: ArgumentValues, _ method: TextMethod
    ) throws(ChatTemplateError) -> TemplateText {
        let bound = try bind(arguments, ["value"], required: 1, of: method.rawValue)
        guard let text = try optionalText(bound[0]) else {
            throw failure("\(method.rawValue) needs a string.")
        }
        return text
    }
}

// MARK: - Parts

extension TemplateInterpreter {
    private func split(
        _ text: TemplateText, _ method: TextMethod, _ arguments: ArgumentValues
    ) throws(ChatTemplateError) -> RuntimeValue {
        let bound = try bind(arguments, ["sep", "maxsplit"], of: method.rawValue)
        let limit = try wholeNumber(bound[1] ?? .integer(-1), method.rawValue)
        let fromEnd = method == .rsplit
        guard let separator = try optionalText(bound[0]) else {
            return try makeTexts(try splitAtSpace(text, limit: limit, fromEnd: fromEnd))
        }
        guard !separator.isEmpty else { throw failure("The separator is an empty string.") }
        return try makeTexts(
            fromEnd
                ? try splitFromEnd(text, at: separator, limit: limit)
                : try split(text, at: separator, limit: limit))
    }

    private func partition(
        _ text: TemplateText, _ method: TextMethod, _ arguments: ArgumentValues
    ) throws(ChatTemplateError) -> RuntimeValue {
        let separator = try onlyText(arguments, method)
        guard !separator.isEmpty else { throw failure("The separator is an empty string.") }
        let isFirst = method == .partition
        let found =
            isFirst
            ? try firstRange(of: separator, in: text, from: 0)
            : try lastRange(of: separator, in: text, upTo: text.bytes.count)
        guard let found else {
            return try makeTuple(
                isFirst
                    ? [.text(text), .text(""), .text("")] : [.text(""), .text(""), .text(text)])
        }
        let before = TemplateText(bytes: text.bytes[..<found.lowerBound])
        let after = TemplateText(bytes: text.bytes[found.upperBound...])
        return try makeTuple([.text(before), .text(separator), .text(after)])
    }

    /// The byte range that the optional arguments `start` and `end`, counted in characters, mean.
    private func byteRange(
        _ start: RuntimeValue?, _ end: RuntimeValue?, of text: TemplateText
    ) throws(ChatTemplateError) -> Range<Int>? {
        if start == nil, end == nil { return 0..<text.bytes.count }
        let count = text.scalarCount
        func bound(_ value: RuntimeValue?, _ fallback: Int) throws(ChatTemplateError) -> Int {
            guard let value, !value.isNone else { return fallback }
            let index = try wholeNumber(value, "The search")
            return max(0, index < 0 ? index + count : index)
        }
        let first = try bound(start, 0)
        let last = min(try bound(end, count), count)
        guard first <= last else { return nil }
        return text.byteIndex(ofScalar: first)..<text.byteIndex(ofScalar: last)
    }

    private func hasEdge(
        _ text: TemplateText, _ method: TextMethod, _ arguments: ArgumentValues
    ) throws(ChatTemplateError) -> RuntimeValue {
        let bound = try bind(
            arguments, ["value", "start", "end"], required: 1, of: method.rawValue)
        guard let range = try byteRange(bound[1], bound[2], of: text) else {
            return .boolean(false)
        }
        let part = TemplateText(bytes: text.bytes[range])
        var edges: [RuntimeValue] = []
        if case .tuple(let list)? = bound[0] {
            edges = list.items
        } else {
            edges += [bound[0] ?? .none]
        }
        for edge in edges {
            try charge()
            guard case .text(let edge) = edge else {
                throw failure("\(method.rawValue) needs a string, not a \(edge.typeName).")
            }
            if method == .startswith ? part.hasPrefix(edge) : part.hasSuffix(edge) {
                return .boolean(true)
            }
        }
        return .boolean(false)
    }

    private func search(
        _ text: TemplateText, _ method: TextMethod, _ arguments: ArgumentValues
    ) throws(ChatTemplateError) -> RuntimeValue {
        let bound = try bind(
            arguments, ["value", "start", "end"], required: 1, of: method.rawValue)
        guard let sought = try optionalText(bound[0]) else {
            throw failure("\(method.rawValue) needs a string.")
        }
        var found: Range<Int>?
        if let range = try byteRange(bound[1], bound[2], of: text) {
            let part = TemplateText(bytes: text.bytes[..<range.upperBound])
            if method == .count {
                return .integer(try count(sought, in: part, from: range.lowerBound))
            }
            if method == .find || method == .index {
                found = try firstRange(of: sought, in: part, from: range.lowerBound)
            } else {
                found = try lastRange(of: sought, in: part, upTo: range.upperBound)
                if let start = found?.lowerBound, start < range.lowerBound { found = nil }
            }
        }
        if let found {
            return .integer(TemplateText(bytes: text.bytes[..<found.lowerBound]).scalarCount)
        }
        if method == .index || method == .rindex { throw failure("The substring is not found.") }
        return .integer(method == .count ? 0 : -1)
    }

    private func count(
        _ sought: TemplateText, in text: TemplateText, from start: Int
    ) throws(ChatTemplateError) -> Int {
        guard !sought.isEmpty else {
            return TemplateText(bytes: text.bytes[start...]).scalarCount + 1
        }
        var count = 0
        var position = start
        while let found = try firstRange(of: sought, in: text, from: position) {
            count += 1
            position = found.upperBound
        }
        return count
    }

    private func join(
        _ separator: TemplateText, _ iterable: RuntimeValue
    ) throws(ChatTemplateError) -> RuntimeValue {
        var bytes: [UInt8] = []
        for (position, item) in try items(of: iterable).enumerated() {
            guard case .text(let part) = item else {
                throw failure("Only strings can be joined, not a \(item.typeName).")
            }
            if position > 0 { bytes += separator.bytes }
            bytes += part.bytes
            try charge(part.bytes.count / ChatTemplateLimits.bytesPerStep)
            try charge(byteCount: separator.bytes.count)
            try checkSize(bytes.count)
        }
        return .text(TemplateText(bytes: bytes))
    }

    func checkSize(_ byteCount: Int) throws(ChatTemplateError) {
        guard byteCount > limits.maxOutputByteCount else { return }
        try charge(byteCount: byteCount)
    }

    private func replace(
        in text: TemplateText, _ arguments: ArgumentValues
    ) throws(ChatTemplateError) -> RuntimeValue {
        let bound = try bind(arguments, ["old", "new", "count"], required: 2, of: "replace")
        guard let old = try optionalText(bound[0]), let new = try optionalText(bound[1]) else {
            throw failure("replace needs two strings.")
        }
        let limit = try wholeNumber(bound[2] ?? .integer(-1), "replace")
        return .text(try replace(old, with: new, in: text, limit: limit))
    }
}

// MARK: - Padding

extension TemplateInterpreter {
    private func pad(
        _ text: TemplateText, _ method: TextMethod, _ arguments: ArgumentValues
    ) throws(ChatTemplateError) -> RuntimeValue {
        let names = method == .zfill ? ["width"] : ["width", "fillchar"]
        let bound = try bind(arguments, names, required: 1, of: method.rawValue)
        let width = try wholeNumber(bound[0] ?? .none, method.rawValue)
        let fill = method == .zfill ? "0" : try optionalText(bound[1]) ?? " "
        guard fill.scalarCount == 1 else { throw failure("Padding takes one character.") }
        let padding: Padding =
            switch method {
            case .ljust: .end
            case .center: .both
            default: .start
            }
        if method == .zfill, let sign = text.bytes.first, sign == 0x2B || sign == 0x2D {
            let rest = TemplateText(bytes: text.bytes.dropFirst())
            let padded = try pad(rest, to: max(width, 1) - 1, with: fill, padding)
            return .text(TemplateText(bytes: [sign] + padded.bytes))
        }
        return .text(try pad(text, to: width, with: fill, padding))
    }

    enum Padding { case start, end, both }

    func pad(
        _ text: TemplateText, to width: Int, with fill: TemplateText, _ padding: Padding
    ) throws(ChatTemplateError) -> TemplateText {
        let count = text.scalarCount
        guard width > count else { return text }
        let missing = width - count
        try charge(byteCount: min(missing, limits.maxOutputByteCount + 1) * fill.bytes.count)
        // Python puts the odd one on the left when both the rest and the width are odd.
        let before =
            switch padding {
            case .start: missing
            case .end: 0
            case .both: missing / 2 + (missing & width & 1)
            }
        var bytes: [UInt8] = []
        for _ in 0..<before { bytes += fill.bytes }
        bytes += text.bytes
        for _ in before..<missing { bytes += fill.bytes }
        return TemplateText(bytes: bytes)
    }

    private func expandTabs(
        _ text: TemplateText, _ arguments: ArgumentValues
    ) throws(ChatTemplateError) -> RuntimeValue {
        let bound = try bind(arguments, ["tabsize"], of: "expandtabs")
        let size = try wholeNumber(bound[0] ?? .integer(8), "expandtabs")
        var result: [UInt8] = []
        var column = 0
        for scalar in text.string.unicodeScalars {
            if scalar == "\t" {
                let width = size > 0 ? size - column % size : 0
                try charge(byteCount: width)
                try checkSize(result.count + width)
                result += Array(repeating: UInt8(ascii: " "), count: width)
                column += width
            } else {
                result += TemplateText([scalar]).bytes
                column = scalar == "\n" || scalar == "\r" ? 0 : column + 1
            }
        }
        return .text(TemplateText(bytes: result))
    }
}
