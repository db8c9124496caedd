// Statements of a template.

/// How a statement ended.
enum TemplateFlow { case next, breakLoop, continueLoop }

extension TemplateInterpreter {
    func execute(
        _ body: [TemplateStatement], in scope: TemplateScope
    ) throws(ChatTemplateError) -> TemplateFlow {
        try enter()
        defer { leave() }
        for statement in body {
            let flow = try execute(statement, in: scope)
            if flow != .next { return flow }
        }
        return .next
    }

    private func execute(
        _ statement: TemplateStatement, in scope: TemplateScope
    ) throws(ChatTemplateError) -> TemplateFlow {
        switch statement {
        case .text(let text): try write(text.bytes)
        case .output(let expression, let line):
            self.line = line
            try writeValue(of: expression, in: scope)
        case .assign(let target, let expression, let line):
            self.line = line
            try assign(try evaluate(expression, in: scope), to: target, in: scope)
        case .branches(let branches, let otherwise):
            return try executeBranches(branches, otherwise, in: scope)
        case .loop(let loop): return try execute(loop, in: scope)
        case .macro(let macro): try define(macro, in: scope)
        case .callBlock(let caller, let callee, let arguments):
            try executeCall(caller, callee, arguments, in: scope)
        case .assignBlock, .filterBlock, .with, .scoped, .topLevel:
            return try executeBlock(statement, in: scope)
        case .breakLoop: return .breakLoop
        case .continueLoop: return .continueLoop
        }
        return .next
    }

    private func writeValue(
        of expression: TemplateExpression, in scope: TemplateScope
    ) throws(ChatTemplateError) {
        try write(try text(of: try evaluate(expression, in: scope)).bytes)
    }

    private func executeBranches(
        _ branches: [TemplateBranch], _ otherwise: [TemplateStatement], in scope: TemplateScope
    ) throws(ChatTemplateError) -> TemplateFlow {
        for branch in branches {
            line = branch.line
            if try isTrue(try evaluate(branch.condition, in: scope)) {
                return try execute(branch.body, in: scope)
            }
        }
        return try execute(otherwise, in: scope)
    }

    private func executeBlock(
        _ statement: TemplateStatement, in scope: TemplateScope
    ) throws(ChatTemplateError) -> TemplateFlow {
        let inner = TemplateScope(parent: scope)
        switch statement {
        case .assignBlock(let target, let filters, let body, let line):
            let (text, flow) = try capture(body, in: inner)
            guard flow == .next else { return flow }
            self.line = line
            let value = try apply(filters[...], to: .text(text), in: inner)
            try assign(value, to: target, in: scope)
        case .filterBlock(let filters, let body, let line):
            let (text, flow) = try capture(body, in: inner)
            guard flow == .next else { return flow }
            self.line = line
            let value = try apply(filters[...], to: .text(text), in: inner)
            try write(try self.text(of: value).bytes)
        case .with(let bindings, let body, let line):
            self.line = line
            for binding in bindings {
                try assign(try evaluate(binding.value, in: scope), to: binding.target, in: inner)
            }
            return try execute(body, in: inner)
        case .scoped(let body): return try execute(body, in: inner)
        case .topLevel(let body):
            return try execute(body, in: TemplateScope(parent: topScope))
        default: preconditionFailure("Only blocks are executed as blocks.")
        }
        return .next
    }

    /// Renders a body aside and returns its text.
    func capture(
        _ body: [TemplateStatement], in scope: TemplateScope
    ) throws(ChatTemplateError) -> (TemplateText, TemplateFlow) {
        let start = output.count
        let flow = try execute(body, in: scope)
        let text = TemplateText(bytes: output[start...])
        output.removeSubrange(start...)
        try charge(text.bytes.count / ChatTemplateLimits.bytesPerStep)
        return (text, flow)
    }

    func assign(
        _ value: RuntimeValue, to target: TemplateTarget, in scope: TemplateScope
    ) throws(ChatTemplateError) {
        switch target {
        case .name(let name): scope.assign(name, value)
        case .member(let name, let attribute):
            guard case .namespace(let index) = lookUp(name, in: scope) else {
                throw failure("Only a namespace has attributes that can be assigned.")
            }
            try checkNamespaceKey(attribute)
            let key = TemplateText(attribute)
            namespaces[index].set(.text(key), .text(key), to: value)
        case .tuple(let targets):
            let items = try self.items(of: value)
            guard items.count == targets.count else {
                throw failure("\(items.count) values cannot fill \(targets.count) names.")
            }
            for (target, item) in zip(targets, items) { try assign(item, to: target, in: scope) }
        }
    }

    func checkNamespaceKey(_ name: String) throws(ChatTemplateError) {
        guard !name.hasPrefix("_") else {
            throw failure("A namespace cannot hold the name '\(name)' with its underscore.")
        }
    }
}

// MARK: - Loops

extension TemplateInterpreter {
    private func execute(
        _ loop: TemplateLoop, in scope: TemplateScope
    ) throws(ChatTemplateError) -> TemplateFlow {
        line = loop.line
        let items = try self.items(of: try evaluate(loop.iterable, in: scope))
        return try run(loop, over: items, in: scope, depth: 0)
    }

    /// Runs a loop; the flow returned is that of its else part.
    func run(
        _ loop: TemplateLoop, over items: [RuntimeValue], in scope: TemplateScope, depth: Int
    ) throws(ChatTemplateError) -> TemplateFlow {
        loopCount += 1
        let state = LoopState(loop, serial: loopCount, items: items, scope: scope, depth: depth)
        loops.append(state)
        // In jinja2 the else part runs unless some pass came to the end of the body, so that it
        // runs after an early break too.
        var isElseDue = true
        var flow = TemplateFlow.next
        while flow != .breakLoop, let item = try advance(state) {
            try charge()
            let inner = TemplateScope(parent: scope)
            if let loopName { inner.assign(loopName, .loop(state.serial)) }
            try assign(item, to: loop.target, in: inner)
            flow = try execute(loop.body, in: inner)
            if flow == .next { isElseDue = false }
        }
        loops.removeLast()
        guard isElseDue else { return .next }
        return try execute(loop.otherwise, in: TemplateScope(parent: scope))
    }

    private func advance(_ state: LoopState) throws(ChatTemplateError) -> RuntimeValue? {
        guard let item = try peek(state) else { return nil }
        state.peeked = nil
        state.index += 1
        state.previous = state.current
        state.current = item
        return item
    }

    func peek(_ state: LoopState) throws(ChatTemplateError) -> RuntimeValue? {
        if state.peeked == nil { state.peeked = try nextPending(state) }
        return state.peeked
    }

    // The condition is tried item by item, as late as can be: the body may change its outcome.
    private func nextPending(_ state: LoopState) throws(ChatTemplateError) -> RuntimeValue? {
        while let item = state.pending.popFirst() {
            guard state.isFiltered, let condition = state.loop.condition else { return item }
            let scope = TemplateScope(parent: state.scope)
            try assign(item, to: state.loop.target, in: scope)
            if try isTrue(try evaluate(condition, in: scope)) { return item }
        }
        return nil
    }

    /// How many passes the loop makes, which decides its condition for all items left.
    func length(of state: LoopState) throws(ChatTemplateError) -> Int {
        if let known = state.length { return known }
        var rest: [RuntimeValue] = []
        while let item = try nextPending(state) { rest.append(item) }
        state.pending = rest[...]
        state.isFiltered = false
        let length = rest.count + state.index + 1 + (state.peeked == nil ? 0 : 1)
        state.length = length
        return length
    }

    func loopState(_ serial: Int) throws(ChatTemplateError) -> LoopState {
        guard let state = loops.last(where: { $0.serial == serial }) else {
            throw failure("The variable of a loop is used after the loop's end.")
        }
        return state
    }
}

// MARK: - Macros

extension TemplateInterpreter {
    private func define(
        _ macro: TemplateMacro, in scope: TemplateScope
    ) throws(ChatTemplateError) {
        guard let name = macro.name else { return }
        scope.assign(name, try close(macro, over: scope))
    }

    // A closure stays until the end of the rendering, so that it is charged for its memory.
    private func close(
        _ macro: TemplateMacro, over scope: TemplateScope
    ) throws(ChatTemplateError) -> RuntimeValue {
        try charge(Self.objectCost)
        macros.append(MacroClosure(macro: macro, scope: scope))
        return .macro(macros.count - 1)
    }

    static var objectCost: Int { 16 }

    private func executeCall(
        _ caller: TemplateMacro, _ callee: TemplateExpression, _ arguments: TemplateArguments,
        in scope: TemplateScope
    ) throws(ChatTemplateError) {
        line = caller.line
        let function = try evaluate(callee, in: scope)
        var values = try evaluate(arguments, in: scope)
        try values.add("caller", try close(caller, over: scope), self)
        try write(try text(of: try call(function, values)).bytes)
    }

    func invoke(
        _ closure: MacroClosure, _ given: ArgumentValues
    ) throws(ChatTemplateError) -> RuntimeValue {
        let macro = closure.macro
        var arguments = given
        let scope = TemplateScope(parent: closure.scope)
        for (position, parameter) in macro.parameters.enumerated() {
            let value =
                position < given.positional.count
                ? given.positional[position] : arguments.removeKeyword(parameter.label)
            if let value {
                scope.assign(parameter.name, value)
            } else if let fallback = parameter.fallback {
                scope.assign(parameter.name, try evaluate(fallback, in: scope))
            } else {
                let message = "The parameter '\(parameter.label)' was not provided."
                scope.assign(
                    parameter.name,
                    .undefined(.init(reason: .other, name: message, owner: "")))
            }
        }
        try bindSpecialNames(of: macro, &arguments, in: scope)
        let line = self.line
        defer { self.line = line }
        return .text(try capture(macro.body, in: scope).0)
    }

    private func bindSpecialNames(
        of macro: TemplateMacro, _ arguments: inout ArgumentValues, in scope: TemplateScope
    ) throws(ChatTemplateError) {
        func bind(_ name: String, _ value: RuntimeValue) {
            guard let index = program.names.firstIndex(of: name) else { return }
            scope.assign(index, value)
        }
        let own = Set(macro.parameters.map(\.label))
        if macro.specialNames.contains("caller"), !own.contains("caller") {
            let missing = UndefinedValue(reason: .other, name: "No caller is defined.", owner: "")
            bind("caller", arguments.removeKeyword("caller") ?? .undefined(missing))
        }
        if macro.specialNames.contains("kwargs"), !own.contains("kwargs") {
            let pairs = arguments.keyword.map { (RuntimeValue.text($0.name), $0.value) }
            bind("kwargs", try makeDictionary(pairs))
        } else if let unknown = arguments.keyword.first {
            throw failure("A macro takes no argument '\(unknown.name)'.")
        }
        let rest = Array(arguments.positional.dropFirst(macro.parameters.count))
        if macro.specialNames.contains("varargs"), !own.contains("varargs") {
            bind("varargs", try makeTuple(rest))
        } else if !rest.isEmpty {
            throw failure("A macro takes at most \(macro.parameters.count) arguments.")
        }
    }
}
