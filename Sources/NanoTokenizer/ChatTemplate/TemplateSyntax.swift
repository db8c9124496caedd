// The syntax tree. Chains of operators and suffixes are arrays, so that the tree is never deeper
// than the parser was, and neither evaluating nor freeing it can run out of stack.

/// A parsed template.
struct TemplateProgram: Sendable {
    let body: [TemplateStatement]
    /// Each name that is read or assigned, by its index in the tree.
    let names: [String]
}

indirect enum TemplateExpression: Sendable {
    case none
    case boolean(Bool)
    case integer(Int)
    case number(Double)
    case text(TemplateText)
    case name(Int)
    case list([TemplateExpression])
    case tuple([TemplateExpression])
    case dictionary([TemplatePair])
    case negative(TemplateExpression)
    case positive(TemplateExpression)
    case not(TemplateExpression)
    case and([TemplateExpression])
    case or([TemplateExpression])
    case concatenation([TemplateExpression])
    /// Operators of one precedence, from left to right.
    case arithmetic(TemplateExpression, [TemplateOperation])
    /// `a < b < c`.
    case comparison(TemplateExpression, [TemplateOperation])
    /// `value if c1 if c2 else otherwise`; the last condition counts first.
    case conditional(
        TemplateExpression, conditions: [TemplateExpression], otherwise: TemplateExpression?)
    case postfix(TemplateExpression, [TemplateSuffix])
}

struct TemplatePair: Sendable {
    let key: TemplateExpression
    let value: TemplateExpression
}

struct TemplateOperation: Sendable {
    let operation: TemplateOperator
    let operand: TemplateExpression
}

enum TemplateOperator: Sendable {
    case add, subtract, multiply, divide, floorDivide, remainder, power
    case equal, notEqual, less, lessOrEqual, greater, greaterOrEqual, isIn, isNotIn
}

/// What follows a primary expression.
enum TemplateSuffix: Sendable {
    case attribute(TemplateText)
    case subscripted(TemplateExpression)
    case slice(TemplateExpression?, TemplateExpression?, TemplateExpression?)
    case call(TemplateArguments)
    case filter(String, TemplateArguments)
    case test(String, TemplateArguments, isNegated: Bool)
}

struct TemplateArguments: Sendable {
    var positional: [TemplateExpression] = []
    var keyword: [TemplateKeyword] = []
    /// The list in `*x`.
    var spread: TemplateExpression?
    /// The dictionary in `**x`.
    var keywordSpread: TemplateExpression?
}

struct TemplateKeyword: Sendable {
    let name: String
    let value: TemplateExpression
}

/// What an assignment or a loop writes to.
indirect enum TemplateTarget: Sendable {
    case name(Int)
    case member(Int, attribute: String)
    case tuple([TemplateTarget])
}

struct TemplateParameter: Sendable {
    let name: Int
    let label: String
    let fallback: TemplateExpression?
}

indirect enum TemplateStatement: Sendable {
    case text(TemplateText)
    case output(TemplateExpression, line: Int)
    case assign(TemplateTarget, TemplateExpression, line: Int)
    case assignBlock(TemplateTarget, filters: [TemplateSuffix], [TemplateStatement], line: Int)
    case branches([TemplateBranch], otherwise: [TemplateStatement])
    case loop(TemplateLoop)
    case macro(TemplateMacro)
    case callBlock(TemplateMacro, callee: TemplateExpression, TemplateArguments)
    case filterBlock([TemplateSuffix], [TemplateStatement], line: Int)
    case with([TemplateBinding], [TemplateStatement], line: Int)
    /// A `generation` block: a scope of its own inside the current one.
    case scoped([TemplateStatement])
    /// A `block`: it sees the names of the top level only, unless it says `scoped`.
    case topLevel([TemplateStatement])
    case breakLoop
    case continueLoop
}

struct TemplateBranch: Sendable {
    let condition: TemplateExpression
    let body: [TemplateStatement]
    let line: Int
}

struct TemplateBinding: Sendable {
    let target: TemplateTarget
    let value: TemplateExpression
}

final class TemplateLoop: Sendable {
    let target: TemplateTarget
    let iterable: TemplateExpression
    let condition: TemplateExpression?
    let isRecursive: Bool
    let body: [TemplateStatement]
    let otherwise: [TemplateStatement]
    let line: Int

    init(
        target: TemplateTarget, iterable: TemplateExpression, condition: TemplateExpression?,
        isRecursive: Bool, body: [TemplateStatement], otherwise: [TemplateStatement], line: Int
    ) {
        self.target = target
        self.iterable = iterable
        self.condition = condition
        self.isRecursive = isRecursive
        self.body = body
        self.otherwise = otherwise
        self.line = line
    }
}

/// A macro, or the body of a `call` block, which is one without a name.
final class TemplateMacro: Sendable {
    let name: Int?
    let parameters: [TemplateParameter]
    let body: [TemplateStatement]
    /// Which of `caller`, `kwargs` and `varargs` the body reads.
    let specialNames: Set<String>
    let line: Int

    init(
        name: Int?, parameters: [TemplateParameter], body: [TemplateStatement],
        specialNames: Set<String>, line: Int
    ) {
        self.name = name
        self.parameters = parameters
        self.body = body
        self.specialNames = specialNames
        self.line = line
    }
}
