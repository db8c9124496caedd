// Expressions, by precedence from loose to tight: if-else, or, and, not, comparison, + -, ~,
// * / // %, **, sign, suffix. Recursion happens at brackets only; see TemplateSyntax.

private enum Precedence: Int, Comparable {
    case or, and, comparison, sum, concatenation, product, power

    static func < (left: Precedence, right: Precedence) -> Bool { left.rawValue < right.rawValue }
}

extension TemplateParser {
    mutating func parseExpression(
        allowsConditional: Bool = true
    ) throws(ChatTemplateError) -> TemplateExpression {
        try enter()
        defer { leave() }
        let value = try parseOperators()
        guard allowsConditional, isName("if") else { return value }
        let outer = toleratesUnknownNames
        toleratesUnknownNames = true
        defer { toleratesUnknownNames = outer }
        var conditions: [TemplateExpression] = []
        while skipName("if") {
            conditions.append(try parseOperators())
            if skipName("else") {
                let otherwise = try parseExpression()
                return .conditional(value, conditions: conditions, otherwise: otherwise)
            }
        }
        return .conditional(value, conditions: conditions, otherwise: nil)
    }

    /// One expression, or a tuple when a comma follows.
    mutating func parseTuple(
        allowsConditional: Bool = true, isParenthesized: Bool = false, end: String? = nil
    ) throws(ChatTemplateError) -> TemplateExpression {
        var items: [TemplateExpression] = []
        var isTuple = false
        while !isTupleEnd(end) {
            items.append(try parseExpression(allowsConditional: allowsConditional))
            guard skipSymbol(.comma) else { break }
            isTuple = true
        }
        if isTuple { return .tuple(items) }
        if let only = items.first { return only }
        guard isParenthesized else {
            throw failure("Expected an expression, found \(current.kind).")
        }
        return .tuple([])
    }

    private func isTupleEnd(_ end: String?) -> Bool {
        switch current.kind {
        case .variableEnd, .blockEnd, .symbol(.rightParenthesis): true
        case .name(let name): name == end
        default: false
        }
    }

    private func binaryOperator() -> (Precedence, TemplateOperator?)? {
        switch current.kind {
        case .symbol(.add): (.sum, .add)
        case .symbol(.subtract): (.sum, .subtract)
        case .symbol(.multiply): (.product, .multiply)
        case .symbol(.divide): (.product, .divide)
        case .symbol(.floorDivide): (.product, .floorDivide)
        case .symbol(.remainder): (.product, .remainder)
        case .symbol(.power): (.power, .power)
        case .symbol(.tilde): (.concatenation, nil)
        case .symbol(.equal): (.comparison, .equal)
        case .symbol(.notEqual): (.comparison, .notEqual)
        case .symbol(.less): (.comparison, .less)
        case .symbol(.lessOrEqual): (.comparison, .lessOrEqual)
        case .symbol(.greater): (.comparison, .greater)
        case .symbol(.greaterOrEqual): (.comparison, .greaterOrEqual)
        case .name("or"): (.or, nil)
        case .name("and"): (.and, nil)
        case .name("in"): (.comparison, .isIn)
        case .name("not") where lookahead.kind == .name("in"): (.comparison, .isNotIn)
        default: nil
        }
    }

    private mutating func parseOperators(
        above least: Precedence = .or
    ) throws(ChatTemplateError) -> TemplateExpression {
        var left: TemplateExpression
        if least <= .comparison, isName("not"), lookahead.kind != .name("in") {
            next()
            try enter()
            defer { leave() }
            // Not binds looser than a comparison, so its operand takes the comparison whole.
            left = .not(try parseNotOperand())
        } else {
            left = try parseUnary(withFilters: true)
        }
        while let (precedence, _) = binaryOperator(), precedence >= least {
            left = try parseChain(of: precedence, after: left)
        }
        return left
    }

    private mutating func parseNotOperand() throws(ChatTemplateError) -> TemplateExpression {
        try parseOperators(above: .comparison)
    }

    /// Parses `first op x op y ...` for all operators of one precedence.
    private mutating func parseChain(
        of precedence: Precedence, after first: TemplateExpression
    ) throws(ChatTemplateError) -> TemplateExpression {
        let tighter = Precedence(rawValue: precedence.rawValue + 1)
        var operations: [TemplateOperation] = []
        var operands = [first]
        while let (found, operation) = binaryOperator(), found == precedence {
            if operation == .isNotIn { next() }
            next()
            try enter()
            defer { leave() }
            let operand =
                if let tighter { try parseOperators(above: tighter) } else {
                    try parseUnary(withFilters: true)
                }
            operands.append(operand)
            if let operation {
                operations.append(TemplateOperation(operation: operation, operand: operand))
            }
        }
        return switch precedence {
        case .or: .or(operands)
        case .and: .and(operands)
        case .concatenation: .concatenation(operands)
        case .comparison: .comparison(first, operations)
        case .sum, .product, .power: .arithmetic(first, operations)
        }
    }

    private mutating func parseUnary(
        withFilters: Bool
    ) throws(ChatTemplateError) -> TemplateExpression {
        try enter()
        defer { leave() }
        var base: TemplateExpression
        if skipSymbol(.subtract) {
            base = .negative(try parseUnary(withFilters: false))
        } else if skipSymbol(.add) {
            base = .positive(try parseUnary(withFilters: false))
        } else {
            base = try parsePrimary()
        }
        let suffixes = try parseSuffixes(withFilters: withFilters)
        return suffixes.isEmpty ? base : .postfix(base, suffixes)
    }
}

// MARK: - Primaries

extension TemplateParser {
    private mutating func parsePrimary() throws(ChatTemplateError) -> TemplateExpression {
        let token = current
        switch token.kind {
        case .name(let name):
            next()
            return switch name {
            case "true", "True": .boolean(true)
            case "false", "False": .boolean(false)
            case "none", "None": .none
            default: readName(name)
            }
        case .text(var text):
            next()
            while case .text(let more) = current.kind {
                text.bytes += more.bytes
                next()
            }
            return .text(text)
        case .integer(let value):
            next()
            return .integer(value)
        case .number(let value):
            next()
            return .number(value)
        case .symbol(.leftParenthesis):
            next()
            let inside = try parseTuple(isParenthesized: true)
            try expect(.symbol(.rightParenthesis))
            return inside
        case .symbol(.leftBracket): return try parseList()
        case .symbol(.leftBrace): return try parseDictionary()
        default: throw failure("Expected an expression, found \(token.kind).")
        }
    }

    private mutating func parseList() throws(ChatTemplateError) -> TemplateExpression {
        next()
        var items: [TemplateExpression] = []
        while !isSymbol(.rightBracket) {
            items.append(try parseExpression())
            guard skipSymbol(.comma) else { break }
        }
        try expect(.symbol(.rightBracket))
        return .list(items)
    }

    private mutating func parseDictionary() throws(ChatTemplateError) -> TemplateExpression {
        next()
        var pairs: [TemplatePair] = []
        while !isSymbol(.rightBrace) {
            let key = try parseExpression()
            try expect(.symbol(.colon))
            pairs.append(TemplatePair(key: key, value: try parseExpression()))
            guard skipSymbol(.comma) else { break }
        }
        try expect(.symbol(.rightBrace))
        return .dictionary(pairs)
    }
}

// MARK: - Suffixes

extension TemplateParser {
    /// Attributes, subscripts and calls; with filters, those and tests too, after which only
    /// calls may follow.
    private mutating func parseSuffixes(
        withFilters: Bool
    ) throws(ChatTemplateError) -> [TemplateSuffix] {
        var suffixes: [TemplateSuffix] = []
        var isFiltered = false
        while true {
            switch current.kind {
            case .symbol(.dot) where !isFiltered:
                next()
                suffixes.append(try parseMember())
            case .symbol(.leftBracket) where !isFiltered:
                next()
                suffixes.append(try parseSubscript())
            case .symbol(.leftParenthesis): suffixes.append(.call(try parseArguments()))
            case .symbol(.pipe) where withFilters:
                next()
                suffixes.append(try parseFilter())
                isFiltered = true
            case .name("is") where withFilters:
                next()
                suffixes.append(try parseTest())
                isFiltered = true
            default: return suffixes
            }
        }
    }

    private mutating func parseMember() throws(ChatTemplateError) -> TemplateSuffix {
        switch next().kind {
        case .name(let name): return .attribute(TemplateText(name))
        case .integer(let index): return .subscripted(.integer(index))
        default: throw failure("Expected a name after '.', found \(current.kind).")
        }
    }

    private mutating func parseSubscript() throws(ChatTemplateError) -> TemplateSuffix {
        var parts: [TemplateExpression?] = []
        var colonCount = 0
        var isExpected = true
        while colonCount <= 2, !isSymbol(.rightBracket), !isSymbol(.comma) {
            if skipSymbol(.colon) {
                if isExpected { parts.append(nil) }
                colonCount += 1
                isExpected = true
            } else {
                guard isExpected else { break }
                parts.append(try parseExpression())
                isExpected = false
            }
        }
        if colonCount == 0, isSymbol(.comma), let first = parts.first ?? nil {
            return .subscripted(.tuple(try parseSubscriptTuple(after: first)))
        }
        try expect(.symbol(.rightBracket))
        guard colonCount > 0 else {
            guard let only = parts.first ?? nil else { return .subscripted(.tuple([])) }
            return .subscripted(only)
        }
        guard colonCount <= 2 else { throw failure("A slice has at most two ':'.") }
        while parts.count < 3 { parts.append(nil) }
        return .slice(parts[0], parts[1], parts[2])
    }

    private mutating func parseSubscriptTuple(
        after first: TemplateExpression
    ) throws(ChatTemplateError) -> [TemplateExpression] {
        var items = [first]
        while skipSymbol(.comma) { items.append(try parseExpression()) }
        try expect(.symbol(.rightBracket))
        return items
    }

    /// Parses a filter from its name on.
    mutating func parseFilter() throws(ChatTemplateError) -> TemplateSuffix {
        let name = try expectName()
        guard toleratesUnknownNames || TemplateFilter(rawValue: name) != nil else {
            throw failure("There is no filter '\(name)'.")
        }
        let arguments =
            isSymbol(.leftParenthesis) ? try parseArguments() : TemplateArguments()
        return .filter(name, arguments)
    }

    private mutating func parseTest() throws(ChatTemplateError) -> TemplateSuffix {
        let isNegated = skipName("not")
        let name = try expectName()
        guard toleratesUnknownNames || TemplateTest(rawValue: name) != nil else {
            throw failure("There is no test '\(name)'.")
        }
        var arguments = TemplateArguments()
        switch current.kind {
        case .symbol(.leftParenthesis): arguments = try parseArguments()
        case .name("else"), .name("or"), .name("and"): break
        case .name("is"): throw failure("Tests cannot be chained with 'is'.")
        case .name, .text, .integer, .number, .symbol(.leftBracket), .symbol(.leftBrace):
            try enter()
            defer { leave() }
            let base = try parsePrimary()
            let suffixes = try parseSuffixes(withFilters: false)
            arguments.positional = [suffixes.isEmpty ? base : .postfix(base, suffixes)]
        default: break
        }
        return .test(name, arguments, isNegated: isNegated)
    }

    private mutating func parseArguments() throws(ChatTemplateError) -> TemplateArguments {
        try enter()
        defer { leave() }
        next()
        var arguments = TemplateArguments()
        while !isSymbol(.rightParenthesis) {
            if skipSymbol(.multiply) {
                guard arguments.spread == nil, arguments.keywordSpread == nil else {
                    throw failure("A call has two '*' arguments or one after '**'.")
                }
                arguments.spread = try parseExpression()
            } else if skipSymbol(.power) {
                guard arguments.keywordSpread == nil else {
                    throw failure("A call has two '**' arguments.")
                }
                arguments.keywordSpread = try parseExpression()
            } else if case .name(let name) = current.kind, lookahead.kind == .symbol(.assign) {
                next()
                next()
                guard !arguments.keyword.contains(where: { $0.name == name }) else {
                    throw failure("The argument '\(name)' is given twice.")
                }
                arguments.keyword.append(TemplateKeyword(name: name, value: try parseExpression()))
            } else {
                guard arguments.keyword.isEmpty, arguments.spread == nil,
                    arguments.keywordSpread == nil
                else { throw failure("An argument without a name follows one with a name.") }
                arguments.positional.append(try parseExpression())
            }
            guard skipSymbol(.comma) else { break }
        }
        try expect(.symbol(.rightParenthesis))
        return arguments
    }
}
