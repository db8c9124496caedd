/// A value while a template is rendered.
///
/// Nothing is changed in place: the sandbox forbids it, and so lists and dictionaries can be
/// shared. What can change (namespaces) or refer to itself (macros, loops) is an index into
/// tables of the interpreter, so that values form no cycles and freeing them is shallow.
enum RuntimeValue {
    indirect case undefined(UndefinedValue)
    case none
    case boolean(Bool)
    case integer(Int)
    case number(Double)
    case text(TemplateText)
    case list(ValueList)
    case tuple(ValueList)
    case dictionary(ValueDictionary)
    case view(DictionaryView, ValueDictionary)
    indirect case range(ValueRange)
    case generator(ValueGenerator)
    case namespace(Int)
    case macro(Int)
    case loop(Int)
    case function(GlobalFunction)
    case method(BoundMethod)

    static func text(_ string: String) -> RuntimeValue { .text(TemplateText(string)) }
}

/// Why a value is undefined, which using it reports.
struct UndefinedValue {
    enum Reason { case name, attribute, element, unsafe, other }
    let reason: Reason
    /// The name or key that was looked for, or the whole message for `other`.
    let name: String
    /// The type in which it was looked for.
    let owner: String

    var message: String {
        switch reason {
        case .name: "'\(name)' is undefined."
        case .attribute: "'\(owner)' has no attribute '\(name)'."
        case .element: "'\(owner)' has no element \(name)."
        case .unsafe: "The attribute '\(name)' of '\(owner)' is out of bounds for a template."
        case .other: name
        }
    }
}

enum DictionaryView: String { case keys, values, items }

final class ValueList {
    let items: [RuntimeValue]
    /// How deep lists and dictionaries nest in this one, itself included.
    let depth: Int
    /// Whether this is a group of the `groupby` filter, which has names for its two items.
    let isGroup: Bool

    init(_ items: [RuntimeValue], depth: Int, isGroup: Bool = false) {
        self.items = items
        self.depth = depth
        self.isGroup = isGroup
    }
}

/// The result of a lazy filter: it can be walked through once.
final class ValueGenerator {
    private var remaining: ArraySlice<RuntimeValue>
    let depth: Int

    init(_ items: [RuntimeValue], depth: Int) {
        self.remaining = items[...]
        self.depth = depth
    }

    func takeAll() -> [RuntimeValue] {
        defer { remaining = [] }
        return Array(remaining)
    }

    func takeFirst() -> RuntimeValue? { remaining.popFirst() }
}

final class BoundMethod {
    let receiver: RuntimeValue
    let name: String
    let depth: Int

    init(_ receiver: RuntimeValue, _ name: String, depth: Int) {
        self.receiver = receiver
        self.name = name
        self.depth = depth
    }
}

/// Python's `range`: `count` numbers from `start` in steps of `step`.
struct ValueRange {
    let start: Int
    let stop: Int
    let step: Int
    let count: Int

    func item(_ index: Int) -> RuntimeValue { .integer(start + index * step) }
    var items: [RuntimeValue] { (0..<count).map(item) }
}

enum GlobalFunction: String, CaseIterable {
    case range, dict, namespace
    case raiseException = "raise_exception"
    case strftimeNow = "strftime_now"
}

extension RuntimeValue {
    /// How deep lists and dictionaries nest in this value.
    var depth: Int {
        switch self {
        case .list(let list), .tuple(let list): list.depth
        case .dictionary(let dictionary), .view(_, let dictionary): dictionary.depth
        case .generator(let generator): generator.depth
        case .method(let method): method.depth
        default: 0
        }
    }

    /// The name of the Python type, for messages.
    var typeName: String {
        switch self {
        case .undefined: "Undefined"
        case .none: "NoneType"
        case .boolean: "bool"
        case .integer: "int"
        case .number: "float"
        case .text: "str"
        case .list: "list"
        case .tuple: "tuple"
        case .dictionary: "dict"
        case .view(let kind, _): "dict_\(kind.rawValue)"
        case .range: "range"
        case .generator: "generator"
        case .namespace: "Namespace"
        case .macro: "Macro"
        case .loop: "LoopContext"
        case .function, .method: "function"
        }
    }

    /// A whole number, or a truth value taken as one; nil for anything else.
    var asInteger: Int? {
        switch self {
        case .integer(let value): value
        case .boolean(let value): value ? 1 : 0
        default: nil
        }
    }

    /// Any number as floating point; nil for anything else.
    var asNumber: Double? {
        if case .number(let value) = self { return value }
        return asInteger.map { Double($0) }
    }

    var isUndefined: Bool { if case .undefined = self { true } else { false } }
    var isNone: Bool { if case .none = self { true } else { false } }
}
