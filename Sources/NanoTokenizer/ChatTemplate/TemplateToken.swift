/// A token of a template and the line where it starts, counted from one.
struct TemplateToken: Sendable {
    enum Kind: Sendable, Hashable {
        case data(TemplateText)
        case variableBegin
        case variableEnd
        case blockBegin
        case blockEnd
        case name(String)
        case text(TemplateText)
        case integer(Int)
        case number(Double)
        case symbol(TemplateSymbol)
        case end
    }

    let kind: Kind
    let line: Int
}

/// An operator or a mark of punctuation inside a tag.
enum TemplateSymbol: String, Sendable, Hashable {
    case add = "+"
    case subtract = "-"
    case multiply = "*"
    case divide = "/"
    case floorDivide = "//"
    case remainder = "%"
    case power = "**"
    case tilde = "~"
    case equal = "=="
    case notEqual = "!="
    case greater = ">"
    case greaterOrEqual = ">="
    case less = "<"
    case lessOrEqual = "<="
    case assign = "="
    case dot = "."
    case colon = ":"
    case pipe = "|"
    case comma = ","
    case semicolon = ";"
    case leftParenthesis = "("
    case rightParenthesis = ")"
    case leftBracket = "["
    case rightBracket = "]"
    case leftBrace = "{"
    case rightBrace = "}"
}

extension TemplateToken.Kind: CustomStringConvertible {
    var description: String {
        switch self {
        case .data: "text"
        case .variableBegin: "'{{'"
        case .variableEnd: "'}}'"
        case .blockBegin: "'{%'"
        case .blockEnd: "'%}'"
        case .name(let name): "'\(name)'"
        case .text: "a string"
        case .integer: "a whole number"
        case .number: "a number"
        case .symbol(let symbol): "'\(symbol.rawValue)'"
        case .end: "the end of the template"
        }
    }
}
