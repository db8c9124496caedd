// Expressions of a template. The recursive functions are kept small, since their frames are
// what a deep template piles up.

extension TemplateInterpreter {
    func evaluate(
        _ expression: TemplateExpression, in scope: TemplateScope
    ) throws(ChatTemplateError) -> RuntimeValue {
        try enter()
        defer { leave() }
        switch expression {
        case .none: return .none
        case .boolean(let value): return .boolean(value)
        case .integer(let value): return .integer(value)
        case .number(let value): return .number(value)
        case .text(let text): return .text(text)
        case .name(let name): return lookUp(name, in: scope)
        case .postfix(let base, let suffixes):
            return try apply(suffixes[...], to: try evaluate(base, in: scope), in: scope)
        case .list, .tuple, .dictionary: return try evaluateCollection(expression, in: scope)
        case .negative, .positive, .not: return try evaluateSign(expression, in: scope)
        case .and, .or, .concatenation: return try evaluateChain(expression, in: scope)
        case .arithmetic, .comparison, .conditional:
            return try evaluateOperations(expression, in: scope)
        }
    }

    private func evaluateCollection(
        _ expression: TemplateExpression, in scope: TemplateScope
    ) throws(ChatTemplateError) -> RuntimeValue {
        switch expression {
        case .list(let parts): try makeList(try evaluateAll(parts, in: scope))
        case .tuple(let parts): try makeTuple(try evaluateAll(parts, in: scope))
        case .dictionary(let pairs): try evaluateDictionary(pairs, in: scope)
        default: preconditionFailure("Only collections are evaluated here.")
        }
    }

    private func evaluateSign(
        _ expression: TemplateExpression, in scope: TemplateScope
    ) throws(ChatTemplateError) -> RuntimeValue {
        switch expression {
        case .negative(let operand): try negate(try evaluate(operand, in: scope))
        case .positive(let operand): try affirm(try evaluate(operand, in: scope))
        case .not(let operand): .boolean(!(try isTrue(try evaluate(operand, in: scope))))
        default: preconditionFailure("Only signs are evaluated here.")
        }
    }

    private func evaluateChain(
        _ expression: TemplateExpression, in scope: TemplateScope
    ) throws(ChatTemplateError) -> RuntimeValue {
        switch expression {
        case .and(let operands): try evaluateLogic(operands, until: false, in: scope)
        case .or(let operands): try evaluateLogic(operands, until: true, in: scope)
        case .concatenation(let parts): try concatenate(parts, in: scope)
        default: preconditionFailure("Only chains are evaluated here.")
        }
    }

    private func evaluateOperations(
        _ expression: TemplateExpression, in scope: TemplateScope
    ) throws(ChatTemplateError) -> RuntimeValue {
        switch expression {
        case .arithmetic(let first, let operations):
            try evaluateArithmetic(first, operations, in: scope)
        case .comparison(let first, let operations):
            try evaluateComparison(first, operations, in: scope)
        case .conditional(let value, let conditions, let otherwise):
            try evaluateConditional(value, conditions, otherwise, in: scope)
        default: preconditionFailure("Only operations are evaluated here.")
        }
    }

    func evaluateAll(
        _ expressions: [TemplateExpression], in scope: TemplateScope
    ) throws(ChatTemplateError) -> [RuntimeValue] {
        var values: [RuntimeValue] = []
        values.reserveCapacity(expressions.count)
        for expression in expressions { values.append(try evaluate(expression, in: scope)) }
        return values
    }

    private func evaluateDictionary(
        _ pairs: [TemplatePair], in scope: TemplateScope
    ) throws(ChatTemplateError) -> RuntimeValue {
        var values: [(RuntimeValue, RuntimeValue)] = []
        for pair in pairs {
            let key = try evaluate(pair.key, in: scope)
            values.append((key, try evaluate(pair.value, in: scope)))
        }
        return try makeDictionary(values)
    }

    // The result is the operand that decides, not its truth.
    private func evaluateLogic(
        _ operands: [TemplateExpression], until decisive: Bool, in scope: TemplateScope
    ) throws(ChatTemplateError) -> RuntimeValue {
        var value = RuntimeValue.none
        for operand in operands {
            value = try evaluate(operand, in: scope)
            if try isTrue(value) == decisive { break }
        }
        return value
    }

    private func concatenate(
        _ parts: [TemplateExpression], in scope: TemplateScope
    ) throws(ChatTemplateError) -> RuntimeValue {
        var bytes: [UInt8] = []
        for part in parts {
            let text = try self.text(of: try evaluate(part, in: scope))
            try charge(byteCount: bytes.count + text.bytes.count)
            bytes += text.bytes
        }
        return .text(TemplateText(bytes: bytes))
    }

    private func evaluateArithmetic(
        _ first: TemplateExpression, _ operations: [TemplateOperation], in scope: TemplateScope
    ) throws(ChatTemplateError) -> RuntimeValue {
        var value = try evaluate(first, in: scope)
        for step in operations {
            let operand = try evaluate(step.operand, in: scope)
            value = try compute(value, step.operation, operand)
        }
        return value
    }

    private func evaluateComparison(
        _ first: TemplateExpression, _ operations: [TemplateOperation], in scope: TemplateScope
    ) throws(ChatTemplateError) -> RuntimeValue {
        var left = try evaluate(first, in: scope)
        for step in operations {
            let right = try evaluate(step.operand, in: scope)
            guard try compare(left, step.operation, right) else { return .boolean(false) }
            left = right
        }
        return .boolean(true)
    }

    private func evaluateConditional(
        _ value: TemplateExpression, _ conditions: [TemplateExpression],
        _ otherwise: TemplateExpression?, in scope: TemplateScope
    ) throws(ChatTemplateError) -> RuntimeValue {
        for (position, condition) in conditions.enumerated().reversed() {
            if try isTrue(try evaluate(condition, in: scope)) { continue }
            if position == conditions.count - 1, let otherwise {
                return try evaluate(otherwise, in: scope)
            }
            let message = "The condition of an if without else is false."
            return .undefined(.init(reason: .other, name: message, owner: ""))
        }
        return try evaluate(value, in: scope)
    }
}

// MARK: - Suffixes

extension TemplateInterpreter {
    func apply(
        _ suffixes: ArraySlice<TemplateSuffix>, to base: RuntimeValue, in scope: TemplateScope
    ) throws(ChatTemplateError) -> RuntimeValue {
        var value = base
        for suffix in suffixes {
            try charge()
            value = try apply(suffix, to: value, in: scope)
        }
        return value
    }

    private func apply(
        _ suffix: TemplateSuffix, to value: RuntimeValue, in scope: TemplateScope
    ) throws(ChatTemplateError) -> RuntimeValue {
        switch suffix {
        case .attribute(let name): return try attribute(name, of: value)
        case .subscripted(let key): return try element(try evaluate(key, in: scope), of: value)
        case .slice(let start, let stop, let step):
            return try evaluateSlice(of: value, start, stop, step, in: scope)
        case .call(let arguments): return try call(value, try evaluate(arguments, in: scope))
        case .filter(let name, let arguments):
            return try filter(name, value, try evaluate(arguments, in: scope))
        case .test(let name, let arguments, let isNegated):
            let holds = try test(name, value, try evaluate(arguments, in: scope))
            return .boolean(holds != isNegated)
        }
    }

    private func evaluateSlice(
        of value: RuntimeValue, _ start: TemplateExpression?, _ stop: TemplateExpression?,
        _ step: TemplateExpression?, in scope: TemplateScope
    ) throws(ChatTemplateError) -> RuntimeValue {
        let start = try evaluateBound(start, in: scope)
        let stop = try evaluateBound(stop, in: scope)
        let step = try evaluateBound(step, in: scope)
        return try slice(value, start, stop, step ?? 1)
    }

    private func evaluateBound(
        _ expression: TemplateExpression?, in scope: TemplateScope
    ) throws(ChatTemplateError) -> Int? {
        guard let expression else { return nil }
        let value = try evaluate(expression, in: scope)
        if value.isNone { return nil }
        guard let bound = value.asInteger else {
            throw failure("A slice needs whole numbers, not a \(value.typeName).")
        }
        return bound
    }
}

// MARK: - Calls

/// The arguments of a call, evaluated.
struct ArgumentValues {
    var positional: [RuntimeValue] = []
    var keyword: [(name: String, value: RuntimeValue)] = []

    mutating func add(
        _ name: String, _ value: RuntimeValue, _ interpreter: TemplateInterpreter
    ) throws(ChatTemplateError) {
        guard !keyword.contains(where: { $0.name == name }) else {
            throw interpreter.failure("The argument '\(name)' is given twice.")
        }
        keyword.append((name, value))
    }

    mutating func removeKeyword(_ name: String) -> RuntimeValue? {
        guard let position = keyword.firstIndex(where: { $0.name == name }) else { return nil }
        return keyword.remove(at: position).value
    }
}

extension TemplateInterpreter {
    func evaluate(
        _ arguments: TemplateArguments, in scope: TemplateScope
    ) throws(ChatTemplateError) -> ArgumentValues {
        var values = ArgumentValues()
        values.positional = try evaluateAll(arguments.positional, in: scope)
        for argument in arguments.keyword {
            values.keyword.append((argument.name, try evaluate(argument.value, in: scope)))
        }
        if let spread = arguments.spread {
            values.positional += try items(of: try evaluate(spread, in: scope))
        }
        if let spread = arguments.keywordSpread {
            guard case .dictionary(let dictionary) = try evaluate(spread, in: scope) else {
                throw failure("Only a dictionary can be spread with '**'.")
            }
            for (key, value) in zip(dictionary.keys, dictionary.values) {
                guard case .text(let name) = key else {
                    throw failure("The names of arguments must be strings.")
                }
                try charge(values.keyword.count)
                try values.add(name.string, value, self)
            }
        }
        return values
    }

    func call(
        _ callee: RuntimeValue, _ arguments: ArgumentValues
    ) throws(ChatTemplateError) -> RuntimeValue {
        try enter()
        defer { leave() }
        switch callee {
        case .macro(let index): return try invoke(macros[index], arguments)
        case .function(let function): return try callGlobal(function, arguments)
        case .method(let method): return try callMethod(method, arguments)
        case .loop(let serial): return try recurse(try loopState(serial), arguments)
        case .undefined(let undefined): throw failure(undefined.message)
        default: throw failure("A \(callee.typeName) cannot be called.")
        }
    }

    private func recurse(
        _ state: LoopState, _ arguments: ArgumentValues
    ) throws(ChatTemplateError) -> RuntimeValue {
        guard state.loop.isRecursive else {
            throw failure("Only a loop that is marked recursive can be called.")
        }
        let iterable = try bind(arguments, ["iterable"], required: 1, of: "loop")[0]
        let start = output.count
        _ = try run(
            state.loop, over: try items(of: iterable ?? .none), in: state.scope,
            depth: state.depth + 1)
        let text = TemplateText(bytes: output[start...])
        output.removeSubrange(start...)
        return .text(text)
    }

    /// Sorts arguments into the parameters of a built-in function; nil where none is given.
    func bind(
        _ arguments: ArgumentValues, _ parameters: [String], required: Int = 0, of callee: String
    ) throws(ChatTemplateError) -> [RuntimeValue?] {
        guard arguments.positional.count <= parameters.count else {
            throw failure("\(callee) takes at most \(parameters.count) arguments.")
        }
        var bound: [RuntimeValue?] = arguments.positional
        bound += Array(repeating: nil, count: parameters.count - bound.count)
        for (name, value) in arguments.keyword {
            guard let position = parameters.firstIndex(of: name), bound[position] == nil else {
                throw failure("\(callee) has no argument '\(name)', or has it already.")
            }
            bound[position] = value
        }
        for position in 0..<required where bound[position] == nil {
            throw failure("\(callee) needs the argument '\(parameters[position])'.")
        }
        return bound
    }
}
