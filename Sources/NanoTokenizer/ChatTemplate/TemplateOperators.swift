#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

// Operators with Python's meaning. Whole numbers have 64 bits: beyond them is an error.

extension TemplateInterpreter {
    func isTrue(_ value: RuntimeValue) throws(ChatTemplateError) -> Bool {
        switch value {
        case .undefined, .none: false
        case .boolean(let value): value
        case .integer(let value): value != 0
        case .number(let value): value != 0
        case .text(let text): !text.isEmpty
        case .list(let list), .tuple(let list): !list.items.isEmpty
        case .dictionary(let dictionary), .view(_, let dictionary): dictionary.count > 0
        case .range(let range): range.count > 0
        case .loop(let serial): try length(of: try loopState(serial)) > 0
        case .generator, .namespace, .macro, .function, .method: true
        }
    }

    func negate(_ value: RuntimeValue) throws(ChatTemplateError) -> RuntimeValue {
        if case .number(let number) = value { return .number(-number) }
        return try compute(.integer(0), .subtract, value)
    }

    func affirm(_ value: RuntimeValue) throws(ChatTemplateError) -> RuntimeValue {
        if case .number = value { return value }
        return try compute(.integer(0), .add, value)
    }

    func compute(
        _ left: RuntimeValue, _ operation: TemplateOperator, _ right: RuntimeValue
    ) throws(ChatTemplateError) -> RuntimeValue {
        if case .undefined(let undefined) = left { throw failure(undefined.message) }
        if case .text(let format) = left, operation == .remainder {
            return .text(try percentFormat(format, right))
        }
        if case .undefined(let undefined) = right { throw failure(undefined.message) }
        if let left = left.asInteger, let right = right.asInteger {
            return try computeWhole(left, operation, right)
        }
        if let left = left.asNumber, let right = right.asNumber {
            return .number(try computeReal(left, operation, right))
        }
        switch operation {
        case .add: return try join(left, right)
        case .multiply:
            if let count = right.asInteger { return try repeated(left, count, right) }
            if let count = left.asInteger { return try repeated(right, count, left) }
        default: break
        }
        throw mismatch(left, right)
    }

    private func mismatch(_ left: RuntimeValue, _ right: RuntimeValue) -> ChatTemplateError {
        failure("A \(left.typeName) and a \(right.typeName) do not go together here.")
    }

    private func join(
        _ left: RuntimeValue, _ right: RuntimeValue
    ) throws(ChatTemplateError) -> RuntimeValue {
        switch (left, right) {
        case (.text(let left), .text(let right)):
            try charge(byteCount: left.bytes.count + right.bytes.count)
            return .text(TemplateText(bytes: left.bytes + right.bytes))
        case (.list(let left), .list(let right)):
            try charge(left.items.count + right.items.count)
            return try makeList(left.items + right.items)
        case (.tuple(let left), .tuple(let right)):
            try charge(left.items.count + right.items.count)
            return try makeTuple(left.items + right.items)
        default: throw mismatch(left, right)
        }
    }

    private func repeated(
        _ value: RuntimeValue, _ count: Int, _ counter: RuntimeValue
    ) throws(ChatTemplateError) -> RuntimeValue {
        let count = max(count, 0)
        func size(_ one: Int) -> Int {
            let (size, overflows) = one.multipliedReportingOverflow(by: count)
            return overflows ? .max : size
        }
        switch value {
        case .text(let text):
            try charge(byteCount: size(text.bytes.count))
            var bytes: [UInt8] = []
            if !text.isEmpty { for _ in 0..<count { bytes += text.bytes } }
            return .text(TemplateText(bytes: bytes))
        case .list(let list), .tuple(let list):
            let total = size(list.items.count)
            try charge(min(total, limits.maxSteps) + 1)
            var items: [RuntimeValue] = []
            if !list.items.isEmpty { for _ in 0..<count { items += list.items } }
            if case .list = value { return try makeList(items) }
            return try makeTuple(items)
        default: throw mismatch(value, counter)
        }
    }
}

// MARK: - Numbers

extension TemplateInterpreter {
    private func computeWhole(
        _ left: Int, _ operation: TemplateOperator, _ right: Int
    ) throws(ChatTemplateError) -> RuntimeValue {
        switch operation {
        case .add: return .integer(try checked(left.addingReportingOverflow(right)))
        case .subtract: return .integer(try checked(left.subtractingReportingOverflow(right)))
        case .multiply: return .integer(try checked(left.multipliedReportingOverflow(by: right)))
        case .power:
            if right < 0 { return .number(try computeReal(Double(left), .power, Double(right))) }
            return .integer(try power(left, right))
        case .divide, .floorDivide, .remainder:
            guard right != 0 else { throw failure("A number is divided by zero.") }
            if operation == .divide { return .number(Double(left) / Double(right)) }
            if operation == .remainder { return .integer(remainder(left, right)) }
            let quotient = try checked(left.dividedReportingOverflow(by: right))
            let isExact = left.remainderReportingOverflow(dividingBy: right).partialValue == 0
            return .integer((left < 0) != (right < 0) && !isExact ? quotient - 1 : quotient)
        default: preconditionFailure("A comparison is not computed.")
        }
    }

    private func checked(
        _ result: (partialValue: Int, overflow: Bool)
    ) throws(ChatTemplateError) -> Int {
        guard !result.overflow else { throw failure("A whole number does not fit 64 bits.") }
        return result.partialValue
    }

    // The result has the sign of the divisor.
    private func remainder(_ left: Int, _ right: Int) -> Int {
        let rest = left.remainderReportingOverflow(dividingBy: right).partialValue
        return rest != 0 && (rest < 0) != (right < 0) ? rest + right : rest
    }

    private func power(_ base: Int, _ exponent: Int) throws(ChatTemplateError) -> Int {
        if base == 0 || base == 1 { return exponent == 0 ? 1 : base }
        if base == -1 { return exponent.isMultiple(of: 2) ? 1 : -1 }
        var result = 1
        for _ in 0..<min(exponent, 64) {
            result = try checked(result.multipliedReportingOverflow(by: base))
        }
        return result
    }

    private func computeReal(
        _ left: Double, _ operation: TemplateOperator, _ right: Double
    ) throws(ChatTemplateError) -> Double {
        switch operation {
        case .add: return left + right
        case .subtract: return left - right
        case .multiply: return left * right
        case .power:
            guard left != 0 || right >= 0, left >= 0 || right == right.rounded() else {
                throw failure("This power is no real number.")
            }
            let result = pow(left, right)
            guard result.isFinite || !left.isFinite || !right.isFinite else {
                throw failure("A number is too large.")
            }
            return result
        case .divide, .floorDivide, .remainder:
            guard right != 0 else { throw failure("A number is divided by zero.") }
            if operation == .divide { return left / right }
            var rest = fmod(left, right)
            if rest != 0, (rest < 0) != (right < 0) { rest += right }
            return operation == .remainder ? rest : ((left - rest) / right).rounded()
        default: preconditionFailure("A comparison is not computed.")
        }
    }
}

// MARK: - Comparison

extension TemplateInterpreter {
    func compare(
        _ left: RuntimeValue, _ operation: TemplateOperator, _ right: RuntimeValue
    ) throws(ChatTemplateError) -> Bool {
        switch operation {
        case .equal: try isEqual(left, right)
        case .notEqual: !(try isEqual(left, right))
        case .less: try isLess(left, right)
        case .greater: try isLess(right, left)
        case .lessOrEqual: try isLess(left, right, orEqual: true)
        case .greaterOrEqual: try isLess(right, left, orEqual: true)
        case .isIn: try contains(right, left)
        case .isNotIn: !(try contains(right, left))
        default: preconditionFailure("Arithmetic is not compared.")
        }
    }

    func isEqual(
        _ left: RuntimeValue, _ right: RuntimeValue
    ) throws(ChatTemplateError) -> Bool {
        try enter()
        defer { leave() }
        switch (left, right) {
        case (.undefined, .undefined), (.none, .none): return true
        case (.text(let left), .text(let right)):
            try charge(byteCount: min(left.bytes.count, right.bytes.count))
            return left == right
        case (.list(let left), .list(let right)), (.tuple(let left), .tuple(let right)):
            return try areEqual(left.items, right.items)
        case (.dictionary(let left), .dictionary(let right)): return try areEqual(left, right)
        case (.range(let left), .range(let right)):
            return left.count == right.count && (left.count == 0 || left.start == right.start)
                && (left.count < 2 || left.step == right.step)
        case (.namespace(let left), .namespace(let right)): return left == right
        case (.macro(let left), .macro(let right)): return left == right
        case (.loop(let left), .loop(let right)): return left == right
        case (.function(let left), .function(let right)): return left == right
        case (.generator(let left), .generator(let right)): return left === right
        default:
            if let left = left.asInteger, let right = right.asInteger { return left == right }
            if let left = left.asNumber, let right = right.asNumber { return left == right }
            return false
        }
    }

    private func areEqual(
        _ left: [RuntimeValue], _ right: [RuntimeValue]
    ) throws(ChatTemplateError) -> Bool {
        guard left.count == right.count else { return false }
        for (left, right) in zip(left, right) {
            guard try isEqual(left, right) else { return false }
        }
        return true
    }

    private func areEqual(
        _ left: ValueDictionary, _ right: ValueDictionary
    ) throws(ChatTemplateError) -> Bool {
        guard left.count == right.count else { return false }
        for (key, value) in zip(left.keys, left.values) {
            guard let other = right[try self.key(of: key)], try isEqual(value, other) else {
                return false
            }
        }
        return true
    }

    func isLess(
        _ left: RuntimeValue, _ right: RuntimeValue, orEqual: Bool = false
    ) throws(ChatTemplateError) -> Bool {
        try enter()
        defer { leave() }
        switch (left, right) {
        case (.undefined(let undefined), _), (_, .undefined(let undefined)):
            throw failure(undefined.message)
        case (.text(let left), .text(let right)):
            try charge(byteCount: min(left.bytes.count, right.bytes.count))
            return orEqual ? left <= right : left < right
        case (.list(let left), .list(let right)), (.tuple(let left), .tuple(let right)):
            for (left, right) in zip(left.items, right.items) {
                if try isEqual(left, right) { continue }
                return try isLess(left, right, orEqual: orEqual)
            }
            let (first, second) = (left.items.count, right.items.count)
            return orEqual ? first <= second : first < second
        default:
            if let left = left.asInteger, let right = right.asInteger {
                return orEqual ? left <= right : left < right
            }
            guard let first = left.asNumber, let second = right.asNumber else {
                throw failure("A \(left.typeName) and a \(right.typeName) have no order.")
            }
            return orEqual ? first <= second : first < second
        }
    }

    func contains(
        _ container: RuntimeValue, _ value: RuntimeValue
    ) throws(ChatTemplateError) -> Bool {
        switch container {
        case .text(let text):
            guard case .text(let part) = value else {
                throw failure("A \(value.typeName) cannot be part of a string.")
            }
            return try firstRange(of: part, in: text, from: 0) != nil
        case .dictionary(let dictionary), .view(.keys, let dictionary):
            return dictionary[try key(of: value)] != nil
        default:
            for item in try items(of: container) {
                if try isEqual(item, value) { return true }
            }
            return false
        }
    }
}
