/// Splits a template into tokens and applies the white-space rules of `trim_blocks` (a line end
/// right after a block or comment goes) and `lstrip_blocks` (the indentation before one goes).
struct TemplateLexer {
    private let source: [UInt8]
    private var position = 0
    private var line = 1
    private var tokens: [TemplateToken] = []
    // The closing marks that are still owed inside a tag.
    private var owed: [UInt8] = []

    private enum Tag { case variable, block, comment, raw }

    /// Prepares to read `source`: every line end becomes one newline, and a last one goes.
    init(_ source: String) {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(source.utf8.count)
        var follows = false
        for byte in source.utf8 {
            if byte == UInt8(ascii: "\n"), follows {
                follows = false
                continue
            }
            follows = byte == UInt8(ascii: "\r")
            bytes.append(follows ? UInt8(ascii: "\n") : byte)
        }
        if bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
        self.source = bytes
    }

    /// Returns all tokens, the last one of kind `end`.
    mutating func tokenize() throws(ChatTemplateError) -> [TemplateToken] {
        while position < source.count {
            guard let opening = nextOpening() else {
                emit(.data(TemplateText(bytes: source[position...])))
                advance(to: source.count)
                break
            }
            let tag = readOpening(at: opening)
            switch tag {
            case .comment: try skipComment()
            case .raw: try readRaw()
            case .variable, .block: try readTag(tag)
            }
        }
        emit(.end)
        return tokens
    }

    private mutating func emit(_ kind: TemplateToken.Kind) {
        tokens.append(TemplateToken(kind: kind, line: line))
    }

    private mutating func advance(to end: Int) {
        for byte in source[position..<end] where byte == UInt8(ascii: "\n") { line += 1 }
        position = end
    }

    private func byte(at index: Int) -> UInt8? { index < source.count ? source[index] : nil }

    private func matches(_ text: StaticString, at index: Int) -> Bool {
        let count = text.utf8CodeUnitCount
        guard index + count <= source.count else { return false }
        return text.withUTF8Buffer { source[index..<index + count].elementsEqual($0) }
    }

    private func failure(_ message: String) -> ChatTemplateError {
        ChatTemplateError(.syntax, line: line, message)
    }
}

// MARK: - Text between tags

extension TemplateLexer {
    private func nextOpening() -> Int? {
        var index = position
        while index + 1 < source.count {
            if source[index] == UInt8(ascii: "{") {
                let next = source[index + 1]
                let opens: [UInt8] = [UInt8(ascii: "{"), UInt8(ascii: "%"), UInt8(ascii: "#")]
                if opens.contains(next) { return index }
            }
            index += 1
        }
        return nil
    }

    /// Emits the text before the opening, trimmed as its sign says, and stops inside the tag.
    private mutating func readOpening(at opening: Int) -> Tag {
        var tag: Tag = .block
        if matches("{{", at: opening) { tag = .variable }
        if matches("{#", at: opening) { tag = .comment }
        let rawEnd = tag == .block ? endOfRawOpening(at: opening) : nil

        let sign = byte(at: opening + 2)
        let isSigned = sign == UInt8(ascii: "-") || sign == UInt8(ascii: "+")
        let end = endOfText(upTo: opening, sign: sign, indentationGoes: tag != .variable)
        if end > position { emit(.data(TemplateText(bytes: source[position..<end]))) }
        advance(to: opening)
        if let rawEnd {
            advance(to: rawEnd)
            return .raw
        }
        switch tag {
        case .variable: emit(.variableBegin)
        case .block: emit(.blockBegin)
        case .comment, .raw: break
        }
        advance(to: opening + (isSigned ? 3 : 2))
        return tag
    }

    private func endOfText(upTo opening: Int, sign: UInt8?, indentationGoes: Bool) -> Int {
        if sign == UInt8(ascii: "-") {
            return source.trimmingSpace(from: position, upTo: opening)
        }
        guard indentationGoes, sign != UInt8(ascii: "+") else { return opening }
        let newline = source[position..<opening].lastIndex(of: UInt8(ascii: "\n"))
        let startsLine = position == 0 || source[position - 1] == UInt8(ascii: "\n")
        guard newline != nil || startsLine else { return opening }
        let lineStart = newline.map { $0 + 1 } ?? position
        return source.trimmingSpace(from: lineStart, upTo: opening) == lineStart
            ? lineStart : opening
    }

    // {%- raw -%}
    private func endOfRawOpening(at opening: Int) -> Int? {
        guard let after = endOfWord("raw", inTagAt: opening) else { return nil }
        if matches("-%}", at: after) { return source.skippingSpace(from: after + 3) }
        return matches("%}", at: after) ? after + 2 : nil
    }

    private func endOfWord(_ word: StaticString, inTagAt opening: Int) -> Int? {
        var index = opening + 2
        if byte(at: index) == UInt8(ascii: "-") || byte(at: index) == UInt8(ascii: "+") {
            index += 1
        }
        index = source.skippingSpace(from: index)
        guard matches(word, at: index) else { return nil }
        return source.skippingSpace(from: index + word.utf8CodeUnitCount)
    }

    private mutating func skipComment() throws(ChatTemplateError) {
        var index = position
        while index < source.count, !matches("#}", at: index) { index += 1 }
        guard index < source.count else { throw failure("A comment has no end '#}'.") }
        let sign = index > position ? source[index - 1] : 0
        advance(to: endOfClosing(at: index, sign: sign))
    }

    private mutating func readRaw() throws(ChatTemplateError) {
        var opening = position
        while opening < source.count {
            if matches("{%", at: opening), let after = endOfWord("endraw", inTagAt: opening) {
                let sign = byte(at: after) ?? 0
                let isSigned = sign == UInt8(ascii: "-") || sign == UInt8(ascii: "+")
                let closing = isSigned ? after + 1 : after
                if matches("%}", at: closing) {
                    let end = endOfText(
                        upTo: opening, sign: byte(at: opening + 2), indentationGoes: true)
                    if end > position { emit(.data(TemplateText(bytes: source[position..<end]))) }
                    advance(to: endOfClosing(at: closing, sign: isSigned ? sign : 0))
                    return
                }
            }
            opening += 1
        }
        throw failure("A raw block has no end '{% endraw %}'.")
    }

    /// Where the text goes on after a two-byte closing mark: `-` eats white space, no sign one
    /// newline, `+` nothing.
    private func endOfClosing(at closing: Int, sign: UInt8) -> Int {
        let after = closing + 2
        if sign == UInt8(ascii: "-") { return source.skippingSpace(from: after) }
        if sign != UInt8(ascii: "+"), byte(at: after) == UInt8(ascii: "\n") { return after + 1 }
        return after
    }
}

// MARK: - Inside a tag

extension TemplateLexer {
    private mutating func readTag(_ tag: Tag) throws(ChatTemplateError) {
        owed = []
        while position < source.count {
            if owed.isEmpty, readClosing(of: tag) { return }
            let afterSpace = source.skippingSpace(from: position)
            if afterSpace > position {
                advance(to: afterSpace)
                continue
            }
            let first = source[position]
            switch first {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): try readNumber()
            case UInt8(ascii: "'"), UInt8(ascii: "\""): try readString(quote: first)
            case UInt8(ascii: "_"), UInt8(ascii: "a")...UInt8(ascii: "z"),
                UInt8(ascii: "A")...UInt8(ascii: "Z"), 0x80...:
                try readName()
            default: try readSymbol()
            }
        }
    }

    private mutating func readClosing(of tag: Tag) -> Bool {
        let sign = source[position]
        let isMinus = sign == UInt8(ascii: "-")
        if tag == .variable {
            let closing = isMinus ? position + 1 : position
            guard matches("}}", at: closing) else { return false }
            emit(.variableEnd)
            advance(to: isMinus ? source.skippingSpace(from: closing + 2) : closing + 2)
            return true
        }
        let isSigned = isMinus || sign == UInt8(ascii: "+")
        let closing = isSigned ? position + 1 : position
        guard matches("%}", at: closing) else { return false }
        emit(.blockEnd)
        advance(to: endOfClosing(at: closing, sign: isSigned ? sign : 0))
        return true
    }

    private mutating func readName() throws(ChatTemplateError) {
        let text = String(decoding: source[position...].prefix(256), as: UTF8.self)
        var name = ""
        for scalar in text.unicodeScalars {
            let isPart =
                scalar.isASCII
                ? scalar.isPythonWord : scalar.properties.isXIDContinue && scalar != "\u{FFFD}"
            guard isPart else { break }
            name.unicodeScalars.append(scalar)
        }
        guard let first = name.unicodeScalars.first,
            first == "_" || first.properties.isXIDStart
        else { throw failure("A character is not allowed in a name.") }
        emit(.name(name))
        advance(to: position + name.utf8.count)
    }

    private mutating func readSymbol() throws(ChatTemplateError) {
        for length in [2, 1] where position + length <= source.count {
            let text = String(decoding: source[position..<position + length], as: UTF8.self)
            guard let symbol = TemplateSymbol(rawValue: text) else { continue }
            try balance(symbol)
            emit(.symbol(symbol))
            position += length
            return
        }
        let shown = String(decoding: source[position...].prefix(1), as: UTF8.self)
        throw failure("The character '\(shown)' is not allowed in a tag.")
    }

    private mutating func balance(_ symbol: TemplateSymbol) throws(ChatTemplateError) {
        switch symbol {
        case .leftParenthesis: owed.append(UInt8(ascii: ")"))
        case .leftBracket: owed.append(UInt8(ascii: "]"))
        case .leftBrace: owed.append(UInt8(ascii: "}"))
        case .rightParenthesis, .rightBracket, .rightBrace:
            guard owed.popLast() == source[position] else {
                throw failure("'\(symbol.rawValue)' closes nothing that is open.")
            }
        default: break
        }
    }

    private mutating func readNumber() throws(ChatTemplateError) {
        // In `x.0.1` the digits after a dot are an index each.
        let isIndex = source[position - 1] == UInt8(ascii: ".")
        let (kind, length) = try TemplateNumberLiteral.read(
            source[position...], isIndex: isIndex, line: line)
        emit(kind)
        position += length
    }

    private mutating func readString(quote: UInt8) throws(ChatTemplateError) {
        var end = position + 1
        while end < source.count, source[end] != quote {
            end += source[end] == UInt8(ascii: "\\") ? 2 : 1
        }
        guard end < source.count else { throw failure("A string has no closing quotation mark.") }
        let body = source[(position + 1)..<end]
        guard let text = TemplateText(unescaping: body) else {
            throw failure("A string has an escape sequence that means no character.")
        }
        emit(.text(text))
        advance(to: end + 1)
    }
}
