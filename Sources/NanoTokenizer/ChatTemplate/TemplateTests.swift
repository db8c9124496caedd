/// A test of a template, `value is name`.
enum TemplateTest: String {
    case boolean, callable, defined, divisibleby, eq, equalto, escaped, even, filter, float, ge
    case greaterthan, gt, integer, iterable, le, lessthan, lower, lt, mapping, ne, none, number
    case odd, sameas, sequence, string, test, undefined, upper
    case isFalse = "false"
    case isTrue = "true"
    case isIn = "in"
    case equalSign = "=="
    case notEqualSign = "!="
    case lessSign = "<"
    case lessOrEqualSign = "<="
    case greaterSign = ">"
    case greaterOrEqualSign = ">="

    /// The comparison that the test is another name for.
    fileprivate var comparison: TemplateOperator? {
        switch self {
        case .eq, .equalto, .equalSign: .equal
        case .ne, .notEqualSign: .notEqual
        case .lt, .lessthan, .lessSign: .less
        case .le, .lessOrEqualSign: .lessOrEqual
        case .gt, .greaterthan, .greaterSign: .greater
        case .ge, .greaterOrEqualSign: .greaterOrEqual
        case .isIn: .isIn
        default: nil
        }
    }
}

extension TemplateInterpreter {
    func test(
        _ name: String, _ value: RuntimeValue, _ arguments: ArgumentValues
    ) throws(ChatTemplateError) -> Bool {
        guard let test = TemplateTest(rawValue: name) else {
            throw failure("There is no test '\(name)'.")
        }
        if let comparison = test.comparison {
            let other = try bind(arguments, ["other"], required: 1, of: name)[0] ?? .none
            return try compare(value, comparison, other)
        }
        switch test {
        case .divisibleby:
            let divisor = try bind(arguments, ["num"], required: 1, of: name)[0] ?? .none
            return try isEqual(try compute(value, .remainder, divisor), .integer(0))
        case .sameas:
            return try isSame(value, try bind(arguments, ["other"], required: 1, of: name)[0])
        default: break
        }
        _ = try bind(arguments, [], of: name)
        switch test {
        case .odd: return try isEqual(try compute(value, .remainder, .integer(2)), .integer(1))
        case .even: return try isEqual(try compute(value, .remainder, .integer(2)), .integer(0))
        case .lower: return try text(of: value).isLowercase
        case .upper: return try text(of: value).isUppercase
        case .filter, .test:
            guard case .text(let text) = value else { return false }
            return test == .filter
                ? TemplateFilter(rawValue: text.string) != nil
                : TemplateTest(rawValue: text.string) != nil
        default: return hasType(test, value)
        }
    }

    private func isSame(
        _ value: RuntimeValue, _ other: RuntimeValue?
    ) throws(ChatTemplateError) -> Bool {
        switch (value, other ?? .none) {
        case (.list(let left), .list(let right)), (.tuple(let left), .tuple(let right)):
            return left === right
        case (.dictionary(let left), .dictionary(let right)): return left === right
        case (let left, let right):
            return left.typeName == right.typeName ? try isEqual(left, right) : false
        }
    }

    private func hasType(_ test: TemplateTest, _ value: RuntimeValue) -> Bool {
        switch (test, value) {
        case (.undefined, .undefined), (.none, .none), (.boolean, .boolean),
            (.isTrue, .boolean(true)), (.isFalse, .boolean(false)), (.integer, .integer),
            (.float, .number), (.string, .text), (.mapping, .dictionary):
            true
        case (.defined, _): !value.isUndefined
        case (.number, _): value.asNumber != nil
        case (.sequence, .undefined), (.sequence, .text), (.sequence, .list), (.sequence, .tuple),
            (.sequence, .dictionary), (.sequence, .range):
            true
        case (.iterable, .view), (.iterable, .generator), (.iterable, .loop): true
        case (.iterable, _): hasType(.sequence, value)
        case (.callable, .macro), (.callable, .function), (.callable, .method), (.callable, .loop),
            (.callable, .undefined):
            true
        default: false
        }
    }
}
