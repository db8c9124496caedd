/// Builds the syntax tree out of tokens: the cursor, names and statements.
struct TemplateParser {
    private let tokens: [TemplateToken]
    private let maxDepth: Int
    private var index = 0
    private var depth = 0
    private var names: [String] = []
    private var nameIndices: [String: Int] = [:]
    // A break must not cross the border of a macro; a loop inside one starts anew.
    private var breakableLoopCount = 0
    private var openLoopCount = 0
    // Special names read so far by each open macro.
    private var specialNames: [Set<String>] = []
    // Below an if, an unknown filter or test fails only when it is reached.
    var toleratesUnknownNames = false

    init(tokens: [TemplateToken], maxDepth: Int) {
        self.tokens = tokens
        self.maxDepth = maxDepth
    }

    mutating func parseProgram() throws(ChatTemplateError) -> TemplateProgram {
        let body = try parseBody(until: [])
        return TemplateProgram(body: body, names: names)
    }
}

// MARK: - Cursor

extension TemplateParser {
    var current: TemplateToken { tokens[index] }
    var lookahead: TemplateToken { tokens[min(index + 1, tokens.count - 1)] }

    @discardableResult
    mutating func next() -> TemplateToken {
        let token = tokens[index]
        if index + 1 < tokens.count { index += 1 }
        return token
    }

    func isName(_ name: String) -> Bool { current.kind == .name(name) }
    func isSymbol(_ symbol: TemplateSymbol) -> Bool { current.kind == .symbol(symbol) }

    mutating func skipName(_ name: String) -> Bool {
        guard isName(name) else { return false }
        next()
        return true
    }

    mutating func skipSymbol(_ symbol: TemplateSymbol) -> Bool {
        guard isSymbol(symbol) else { return false }
        next()
        return true
    }

    mutating func expect(_ kind: TemplateToken.Kind) throws(ChatTemplateError) {
        guard current.kind == kind else {
            throw failure("Expected \(kind), found \(current.kind).")
        }
        next()
    }

    mutating func expectName() throws(ChatTemplateError) -> String {
        guard case .name(let name) = current.kind else {
            throw failure("Expected a name, found \(current.kind).")
        }
        next()
        return name
    }

    func failure(_ message: String) -> ChatTemplateError {
        ChatTemplateError(.syntax, line: current.line, message)
    }

    /// Counts one level of nesting; each call is paired with `leave`.
    mutating func enter() throws(ChatTemplateError) {
        depth += 1
        guard depth <= maxDepth else {
            throw ChatTemplateError(
                .limit, line: current.line, "The template is nested more than \(maxDepth) deep.")
        }
    }

    mutating func leave() { depth -= 1 }
}

// MARK: - Names

extension TemplateParser {
    mutating func intern(_ name: String) -> Int {
        if let known = nameIndices[name] { return known }
        names.append(name)
        nameIndices[name] = names.count - 1
        return names.count - 1
    }

    mutating func readName(_ name: String) -> TemplateExpression {
        if ["caller", "kwargs", "varargs"].contains(name) {
            for open in specialNames.indices { specialNames[open].insert(name) }
        }
        return .name(intern(name))
    }

    private mutating func storeName(_ name: String) throws(ChatTemplateError) -> Int {
        guard name != "loop" || openLoopCount == 0 else {
            throw failure("A loop must not assign to the name 'loop'.")
        }
        guard !["true", "false", "none", "True", "False", "None"].contains(name) else {
            throw failure("'\(name)' cannot be assigned to.")
        }
        return intern(name)
    }

    private mutating func parseTarget(
        allowsMember: Bool
    ) throws(ChatTemplateError) -> TemplateTarget {
        try enter()
        defer { leave() }
        var parts: [TemplateTarget] = []
        var isTuple = false
        while true {
            if isSymbol(.leftParenthesis) {
                next()
                parts.append(try parseTarget(allowsMember: allowsMember))
                try expect(.symbol(.rightParenthesis))
            } else {
                let name = try expectName()
                if allowsMember, skipSymbol(.dot) {
                    parts.append(.member(intern(name), attribute: try expectName()))
                } else {
                    parts.append(.name(try storeName(name)))
                }
            }
            guard skipSymbol(.comma) else { break }
            isTuple = true
            if case .name(let name) = current.kind, name != "in" { continue }
            if !isSymbol(.leftParenthesis) { break }
        }
        return isTuple ? .tuple(parts) : parts[0]
    }
}

// MARK: - Statements

extension TemplateParser {
    /// Parses up to a block tag with one of the names `ends`, and stops at that name.
    private mutating func parseBody(
        until ends: [String]
    ) throws(ChatTemplateError) -> [TemplateStatement] {
        try enter()
        defer { leave() }
        var body: [TemplateStatement] = []
        while true {
            let token = next()
            switch token.kind {
            case .data(let text): body.append(.text(text))
            case .variableBegin:
                body.append(.output(try parseTuple(), line: token.line))
                try expect(.variableEnd)
            case .blockBegin:
                if case .name(let name) = current.kind, ends.contains(name) { return body }
                body.append(contentsOf: try parseStatement())
                try expect(.blockEnd)
            default:
                guard ends.isEmpty else {
                    throw failure("The template ends before '\(ends.joined(separator: "' or '"))'.")
                }
                return body
            }
        }
    }

    /// Parses the rest of a tag and what follows up to one of `ends`, whose name it returns.
    private mutating func parseBlock(
        until ends: [String]
    ) throws(ChatTemplateError) -> (body: [TemplateStatement], end: String) {
        _ = skipSymbol(.colon)
        try expect(.blockEnd)
        let body = try parseBody(until: ends)
        return (body, try expectName())
    }

    private mutating func parseStatement() throws(ChatTemplateError) -> [TemplateStatement] {
        try enter()
        defer { leave() }
        let line = current.line
        let keyword = try expectName()
        switch keyword {
        case "if": return [try parseIf()]
        case "for": return [try parseFor(line)]
        case "set": return [try parseSet(line)]
        case "macro": return [try parseMacro(line)]
        case "call": return [try parseCallBlock(line)]
        case "filter": return [try parseFilterBlock(line)]
        case "with": return [try parseWith(line)]
        case "print": return try parsePrint(line)
        case "generation":
            return [.scoped(try parseIsolated(until: "endgeneration").body)]
        case "block": return [try parseNamedBlock()]
        case "break", "continue":
            guard breakableLoopCount > 0 else { throw failure("'\(keyword)' is outside a loop.") }
            return [keyword == "break" ? .breakLoop : .continueLoop]
        case "include", "import", "from", "extends", "autoescape":
            throw failure("A chat template cannot use '\(keyword)'.")
        default: throw failure("'\(keyword)' is no tag that is open or known.")
        }
    }

    private mutating func parseIf() throws(ChatTemplateError) -> TemplateStatement {
        let outer = toleratesUnknownNames
        toleratesUnknownNames = true
        defer { toleratesUnknownNames = outer }
        var branches: [TemplateBranch] = []
        var keyword = "elif"
        while keyword == "elif" {
            let line = current.line
            let condition = try parseTuple(allowsConditional: false)
            let (body, end) = try parseBlock(until: ["elif", "else", "endif"])
            branches.append(TemplateBranch(condition: condition, body: body, line: line))
            keyword = end
        }
        let otherwise = keyword == "else" ? try parseBlock(until: ["endif"]).body : []
        return .branches(branches, otherwise: otherwise)
    }

    private mutating func parseFor(_ line: Int) throws(ChatTemplateError) -> TemplateStatement {
        openLoopCount += 1
        defer { openLoopCount -= 1 }
        let target = try parseTarget(allowsMember: false)
        try expect(.name("in"))
        let iterable = try parseTuple(allowsConditional: false, end: "recursive")
        let outer = toleratesUnknownNames
        toleratesUnknownNames = false
        defer { toleratesUnknownNames = outer }
        let condition = skipName("if") ? try parseExpression() : nil
        let isRecursive = skipName("recursive")
        breakableLoopCount += 1
        let (body, end) = try parseBlock(until: ["endfor", "else"])
        breakableLoopCount -= 1
        let otherwise = end == "else" ? try parseBlock(until: ["endfor"]).body : []
        return .loop(
            TemplateLoop(
                target: target, iterable: iterable, condition: condition,
                isRecursive: isRecursive, body: body, otherwise: otherwise, line: line))
    }

    private mutating func parseSet(_ line: Int) throws(ChatTemplateError) -> TemplateStatement {
        let target = try parseTarget(allowsMember: true)
        if skipSymbol(.assign) { return .assign(target, try parseTuple(), line: line) }
        let filters = try parseFilters()
        let body = try parseBlock(until: ["endset"]).body
        return .assignBlock(target, filters: filters, body, line: line)
    }

    private mutating func parseFilters() throws(ChatTemplateError) -> [TemplateSuffix] {
        var filters: [TemplateSuffix] = []
        while skipSymbol(.pipe) { filters.append(try parseFilter()) }
        return filters
    }

    private mutating func parseFilterBlock(
        _ line: Int
    ) throws(ChatTemplateError) -> TemplateStatement {
        let filters = [try parseFilter()] + (try parseFilters())
        return .filterBlock(filters, try parseBlock(until: ["endfilter"]).body, line: line)
    }

    private mutating func parseWith(_ line: Int) throws(ChatTemplateError) -> TemplateStatement {
        var bindings: [TemplateBinding] = []
        while current.kind != .blockEnd {
            if !bindings.isEmpty { try expect(.symbol(.comma)) }
            let target = try parseTarget(allowsMember: false)
            try expect(.symbol(.assign))
            bindings.append(TemplateBinding(target: target, value: try parseExpression()))
        }
        return .with(bindings, try parseBlock(until: ["endwith"]).body, line: line)
    }

    private mutating func parsePrint(
        _ line: Int
    ) throws(ChatTemplateError) -> [TemplateStatement] {
        var statements: [TemplateStatement] = []
        while current.kind != .blockEnd {
            if !statements.isEmpty { try expect(.symbol(.comma)) }
            statements.append(.output(try parseExpression(), line: line))
        }
        return statements
    }

    private mutating func parseNamedBlock() throws(ChatTemplateError) -> TemplateStatement {
        let name = try expectName()
        let isScoped = skipName("scoped")
        let body = try parseIsolated(until: "endblock").body
        _ = skipName(name)
        return isScoped ? .scoped(body) : .topLevel(body)
    }
}

// MARK: - Macros

extension TemplateParser {
    /// Parses a body that becomes a function: no break leaves it, and it notes special names.
    private mutating func parseIsolated(
        until end: String
    ) throws(ChatTemplateError) -> (body: [TemplateStatement], specialNames: Set<String>) {
        let (outerLoops, outerTolerance) = (breakableLoopCount, toleratesUnknownNames)
        breakableLoopCount = 0
        toleratesUnknownNames = false
        specialNames.append([])
        defer {
            breakableLoopCount = outerLoops
            toleratesUnknownNames = outerTolerance
        }
        let body = try parseBlock(until: [end]).body
        return (body, specialNames.removeLast())
    }

    private mutating func parseParameters() throws(ChatTemplateError) -> [TemplateParameter] {
        try expect(.symbol(.leftParenthesis))
        var parameters: [TemplateParameter] = []
        while !isSymbol(.rightParenthesis) {
            if !parameters.isEmpty { try expect(.symbol(.comma)) }
            let label = try expectName()
            let fallback = skipSymbol(.assign) ? try parseExpression() : nil
            guard fallback != nil || parameters.last?.fallback == nil else {
                throw failure("The parameter '\(label)' needs a default, as the one before has.")
            }
            guard !parameters.contains(where: { $0.label == label }) else {
                throw failure("The parameter '\(label)' appears twice.")
            }
            parameters.append(
                TemplateParameter(name: intern(label), label: label, fallback: fallback))
        }
        next()
        return parameters
    }

    private mutating func parseMacro(_ line: Int) throws(ChatTemplateError) -> TemplateStatement {
        let name = try storeName(try expectName())
        let parameters = try parseParameters()
        let (body, special) = try parseIsolated(until: "endmacro")
        return .macro(
            TemplateMacro(
                name: name, parameters: parameters, body: body, specialNames: special, line: line))
    }

    private mutating func parseCallBlock(
        _ line: Int
    ) throws(ChatTemplateError) -> TemplateStatement {
        let parameters = isSymbol(.leftParenthesis) ? try parseParameters() : []
        guard case .postfix(let base, var suffixes) = try parseExpression(),
            case .call(let arguments)? = suffixes.popLast()
        else { throw failure("A call block needs the call of a macro.") }
        let (body, special) = try parseIsolated(until: "endcall")
        let caller = TemplateMacro(
            name: nil, parameters: parameters, body: body, specialNames: special, line: line)
        return .callBlock(caller, callee: .postfix(base, suffixes), arguments)
    }
}
