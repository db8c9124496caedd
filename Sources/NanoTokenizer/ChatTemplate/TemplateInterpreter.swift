/// One rendering of a template: its names, its output and what is left of its limits.
final class TemplateInterpreter {
    let program: TemplateProgram
    let limits: ChatTemplateLimits
    let clock: () -> TemplateDate
    /// The text rendered so far; what a macro or a block captures is taken off the end again.
    var output: [UInt8] = []
    /// The line of the statement at work, for errors.
    var line = 1
    var namespaces: [ValueDictionary] = []
    var macros: [MacroClosure] = []
    /// The loops that are running, innermost last.
    var loops: [LoopState] = []
    var loopCount = 0
    let topScope = TemplateScope(parent: nil)
    // Variables and functions by index of their name; nil where neither has the name.
    private var context: [RuntimeValue?] = []
    let loopName: Int?
    private var remainingSteps: Int
    private var depth = 0

    init(
        _ program: TemplateProgram, limits: ChatTemplateLimits,
        clock: @escaping () -> TemplateDate
    ) {
        self.program = program
        self.limits = limits
        self.clock = clock
        self.remainingSteps = limits.maxSteps
        self.loopName = program.names.firstIndex(of: "loop")
    }

    func render(_ variables: [String: TemplateValue]) throws(ChatTemplateError) -> String {
        for name in program.names {
            if let variable = variables[name] {
                context.append(try runtimeValue(of: variable))
            } else {
                context.append(GlobalFunction(rawValue: name).map { .function($0) })
            }
        }
        // A break or continue cannot get here: the parser allows them inside loops only.
        _ = try execute(program.body, in: topScope)
        return String(decoding: output, as: UTF8.self)
    }

    private func runtimeValue(
        of value: TemplateValue
    ) throws(ChatTemplateError) -> RuntimeValue {
        try enter()
        defer { leave() }
        switch value {
        case .none: return .none
        case .undefined: return .undefined(.init(reason: .other, name: "undefined", owner: ""))
        case .boolean(let value): return .boolean(value)
        case .integer(let value): return .integer(value)
        case .number(let value): return .number(value)
        case .string(let value): return .text(value)
        case .list(let values):
            var items: [RuntimeValue] = []
            for value in values { items.append(try runtimeValue(of: value)) }
            return try makeList(items)
        case .dictionary(let entries):
            let result = ValueDictionary()
            for entry in entries {
                let key = TemplateText(entry.key)
                result.set(.text(key), .text(key), to: try runtimeValue(of: entry.value))
            }
            return try finish(result)
        }
    }

    /// The value of a name, which is undefined when no scope, variable or function has it.
    func lookUp(_ name: Int, in scope: TemplateScope) -> RuntimeValue {
        if let value = scope.lookUp(name) ?? context[name] { return value }
        return .undefined(.init(reason: .name, name: program.names[name], owner: ""))
    }
}

// MARK: - Limits

extension TemplateInterpreter {
    /// Pays for some steps.
    func charge(_ steps: Int = 1) throws(ChatTemplateError) {
        remainingSteps -= steps
        guard remainingSteps >= 0 else {
            throw ChatTemplateError(
                .limit, line: line,
                "The template needs more than \(limits.maxSteps) steps to render.")
        }
    }

    /// Pays for building or scanning a text, before it is done.
    func charge(byteCount: Int) throws(ChatTemplateError) {
        guard byteCount <= limits.maxOutputByteCount else {
            throw ChatTemplateError(
                .limit, line: line,
                "The template makes a text of more than \(limits.maxOutputByteCount) bytes.")
        }
        try charge(1 + byteCount / ChatTemplateLimits.bytesPerStep)
    }

    /// Counts one level of nesting; each call is paired with `leave`.
    func enter() throws(ChatTemplateError) {
        depth += 1
        try charge()
        guard depth <= limits.maxDepth else {
            throw ChatTemplateError(
                .limit, line: line,
                "The template nests calls and expressions more than \(limits.maxDepth) deep.")
        }
    }

    func leave() { depth -= 1 }

    /// An error in what the template does, at the current line.
    func failure(_ message: String) -> ChatTemplateError {
        ChatTemplateError(.evaluation, line: line, message)
    }

    func checkDepth(_ depth: Int) throws(ChatTemplateError) {
        guard depth <= limits.maxValueDepth else {
            throw ChatTemplateError(
                .limit, line: line,
                "A value nests lists and dictionaries more than \(limits.maxValueDepth) deep.")
        }
    }

    func write(_ bytes: [UInt8]) throws(ChatTemplateError) {
        try charge(byteCount: output.count + bytes.count, newByteCount: bytes.count)
        output.append(contentsOf: bytes)
    }

    private func charge(byteCount: Int, newByteCount: Int) throws(ChatTemplateError) {
        guard byteCount <= limits.maxOutputByteCount else {
            throw ChatTemplateError(
                .limit, line: line,
                "The rendered text has more than \(limits.maxOutputByteCount) bytes.")
        }
        try charge(1 + newByteCount / ChatTemplateLimits.bytesPerStep)
    }
}

// MARK: - Making values

extension TemplateInterpreter {
    private func depth(of items: [RuntimeValue]) throws(ChatTemplateError) -> Int {
        try charge(1 + items.count)
        var depth = 1
        for item in items { depth = max(depth, 1 + item.depth) }
        try checkDepth(depth)
        return depth
    }

    func makeList(_ items: [RuntimeValue]) throws(ChatTemplateError) -> RuntimeValue {
        .list(ValueList(items, depth: try depth(of: items)))
    }

    func makeTuple(
        _ items: [RuntimeValue], isGroup: Bool = false
    ) throws(ChatTemplateError) -> RuntimeValue {
        .tuple(ValueList(items, depth: try depth(of: items), isGroup: isGroup))
    }

    func makeGenerator(_ items: [RuntimeValue]) throws(ChatTemplateError) -> RuntimeValue {
        .generator(ValueGenerator(items, depth: try depth(of: items)))
    }

    func makeTexts(_ texts: [TemplateText]) throws(ChatTemplateError) -> RuntimeValue {
        try makeList(texts.map { .text($0) })
    }

    func makeDictionary(
        _ pairs: [(RuntimeValue, RuntimeValue)]
    ) throws(ChatTemplateError) -> RuntimeValue {
        let result = ValueDictionary()
        for (key, value) in pairs { result.set(try self.key(of: key), key, to: value) }
        return try finish(result)
    }

    func finish(_ dictionary: ValueDictionary) throws(ChatTemplateError) -> RuntimeValue {
        try charge(1 + dictionary.count)
        try checkDepth(dictionary.depth)
        return .dictionary(dictionary)
    }

    /// What identifies a value as the key of a dictionary; lists and dictionaries cannot be one.
    func key(of value: RuntimeValue) throws(ChatTemplateError) -> ValueKey {
        try charge()
        switch value {
        case .undefined: return .undefined
        case .none: return .none
        case .boolean(let value): return .integer(value ? 1 : 0)
        case .integer(let value): return .integer(value)
        case .number(let value):
            if let whole = Int(exactly: value) { return .integer(whole) }
            return .number(value.bitPattern)
        case .text(let text):
            try charge(text.bytes.count / ChatTemplateLimits.bytesPerStep)
            return .text(text)
        case .tuple(let tuple):
            try enter()
            defer { leave() }
            var parts: [ValueKey] = []
            for item in tuple.items { parts.append(try key(of: item)) }
            return .tuple(parts)
        case .namespace(let index), .macro(let index), .loop(let index):
            return .object(type: value.typeName, index)
        case .function(let function): return .object(type: function.rawValue, 0)
        case .list, .dictionary, .view, .range, .generator, .method:
            throw failure("A \(value.typeName) cannot be the key of a dictionary.")
        }
    }
}
