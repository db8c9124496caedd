// Global functions, and methods of everything but strings.

extension TemplateInterpreter {
    // Python's sandbox has the same bound.
    private static let maxRangeCount = 100_000

    func callGlobal(
        _ function: GlobalFunction, _ arguments: ArgumentValues
    ) throws(ChatTemplateError) -> RuntimeValue {
        switch function {
        case .range: return try makeRange(arguments)
        case .dict: return .dictionary(try dictionary(from: arguments))
        case .namespace:
            let names = try dictionary(from: arguments)
            for case .text(let name) in names.keys { try checkNamespaceKey(name.string) }
            try charge(Self.objectCost)
            namespaces.append(try copy(names))
            return .namespace(namespaces.count - 1)
        case .raiseException:
            let message = try bind(arguments, ["message"], required: 1, of: "raise_exception")[0]
            let text = try text(of: message ?? .none)
            throw ChatTemplateError(.raised, line: line, text.string)
        case .strftimeNow:
            let format = try bind(arguments, ["format"], required: 1, of: "strftime_now")[0]
            guard case .text(let format) = format else {
                throw failure("strftime_now needs a string.")
            }
            try charge(byteCount: format.bytes.count * 16)
            return .text(clock().formatted(format.string))
        }
    }

    private func makeRange(_ arguments: ArgumentValues) throws(ChatTemplateError) -> RuntimeValue {
        guard arguments.keyword.isEmpty, 1...3 ~= arguments.positional.count else {
            throw failure("range takes one to three whole numbers.")
        }
        var numbers: [Int] = []
        for argument in arguments.positional { numbers.append(try wholeNumber(argument, "range")) }
        let start = numbers.count == 1 ? 0 : numbers[0]
        let stop = numbers.count == 1 ? numbers[0] : numbers[1]
        let step = numbers.count == 3 ? numbers[2] : 1
        guard step != 0 else { throw failure("The step of a range is zero.") }
        let (distance, overflows) = stop.subtractingReportingOverflow(start)
        let isEmpty = step > 0 ? stop <= start : stop >= start
        let count: UInt =
            isEmpty ? 0 : overflows ? .max : (distance.magnitude - 1) / step.magnitude + 1
        guard count <= Self.maxRangeCount else {
            throw failure("A range has more than \(Self.maxRangeCount) numbers.")
        }
        return .range(ValueRange(start: start, stop: stop, step: step, count: Int(count)))
    }

    func wholeNumber(
        _ value: RuntimeValue, _ callee: String
    ) throws(ChatTemplateError) -> Int {
        if case .undefined(let undefined) = value { throw failure(undefined.message) }
        guard let number = value.asInteger else {
            throw failure("\(callee) needs a whole number, not a \(value.typeName).")
        }
        return number
    }

    /// The dictionary that `dict(...)` makes of a mapping or pairs, and of named arguments.
    private func dictionary(
        from arguments: ArgumentValues
    ) throws(ChatTemplateError) -> ValueDictionary {
        guard arguments.positional.count <= 1 else {
            throw failure("A dictionary is made of one argument at most.")
        }
        let result = ValueDictionary()
        switch arguments.positional.first {
        case .dictionary(let source)?:
            for (key, value) in zip(source.keys, source.values) {
                result.set(try self.key(of: key), key, to: value)
            }
        case .undefined(let undefined)?: throw failure(undefined.message)
        case let source?:
            for pair in try items(of: source) {
                let parts = try items(of: pair)
                guard parts.count == 2 else {
                    throw failure("A dictionary is made of pairs, not of \(parts.count) values.")
                }
                result.set(try key(of: parts[0]), parts[0], to: parts[1])
            }
        case nil: break
        }
        for (name, value) in arguments.keyword {
            let key = TemplateText(name)
            result.set(.text(key), .text(key), to: value)
        }
        _ = try finish(result)
        return result
    }

    private func copy(_ source: ValueDictionary) throws(ChatTemplateError) -> ValueDictionary {
        let result = ValueDictionary()
        for (key, value) in zip(source.keys, source.values) {
            result.set(try self.key(of: key), key, to: value)
        }
        return result
    }
}

// MARK: - Methods

extension TemplateInterpreter {
    func callMethod(
        _ method: BoundMethod, _ arguments: ArgumentValues
    ) throws(ChatTemplateError) -> RuntimeValue {
        switch method.receiver {
        case .text(let text):
            guard let name = TextMethod(rawValue: method.name) else { break }
            return try callTextMethod(name, text, arguments)
        case .dictionary(let dictionary):
            return try callDictionaryMethod(method.name, dictionary, arguments)
        case .list(let list), .tuple(let list):
            return try callListMethod(method, list.items, arguments)
        case .loop(let serial):
            return try callLoopMethod(method.name, try loopState(serial), arguments)
        case .function: return try makeFromKeys(arguments)
        default: break
        }
        preconditionFailure("A method was bound to a value that has none.")
    }

    private func callDictionaryMethod(
        _ name: String, _ dictionary: ValueDictionary, _ arguments: ArgumentValues
    ) throws(ChatTemplateError) -> RuntimeValue {
        if name == "get" {
            guard arguments.keyword.isEmpty else { throw failure("get takes no named argument.") }
            let bound = try bind(arguments, ["key", "default"], required: 1, of: "get")
            return dictionary[try key(of: bound[0] ?? .none)] ?? bound[1] ?? .none
        }
        _ = try bind(arguments, [], of: name)
        if let view = DictionaryView(rawValue: name) { return .view(view, dictionary) }
        return .dictionary(dictionary)
    }

    private func callListMethod(
        _ method: BoundMethod, _ items: [RuntimeValue], _ arguments: ArgumentValues
    ) throws(ChatTemplateError) -> RuntimeValue {
        if method.name == "copy" {
            _ = try bind(arguments, [], of: "copy")
            return method.receiver
        }
        let sought = try bind(arguments, ["value"], required: 1, of: method.name)[0] ?? .none
        var count = 0
        for (position, item) in items.enumerated() where try isEqual(item, sought) {
            if method.name == "index" { return .integer(position) }
            count += 1
        }
        guard method.name == "count" else { throw failure("The value is not in the list.") }
        return .integer(count)
    }

    private func callLoopMethod(
        _ name: String, _ state: LoopState, _ arguments: ArgumentValues
    ) throws(ChatTemplateError) -> RuntimeValue {
        guard arguments.keyword.isEmpty else { throw failure("\(name) takes no named argument.") }
        let values = arguments.positional
        if name == "cycle" {
            guard !values.isEmpty else { throw failure("There are no values to cycle through.") }
            return values[max(state.index, 0) % values.count]
        }
        var isChanged = true
        if let last = state.lastChanged {
            let before = try makeTuple(last)
            isChanged = !(try isEqual(before, try makeTuple(values)))
        }
        state.lastChanged = values
        return .boolean(isChanged)
    }

    private func makeFromKeys(_ arguments: ArgumentValues) throws(ChatTemplateError) -> RuntimeValue
    {
        let bound = try bind(arguments, ["iterable", "value"], required: 1, of: "fromkeys")
        let result = ValueDictionary()
        for key in try items(of: bound[0] ?? .none) {
            result.set(try self.key(of: key), key, to: bound[1] ?? .none)
        }
        return try finish(result)
    }
}
