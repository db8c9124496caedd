/// A filter of a template, `value | name`.
enum TemplateFilter: String {
    case abs, attr, batch, capitalize, center, count, d, `default`, dictsort, e, escape, first
    case float, forceescape, format, groupby, indent, int, items, join, last, length, list, lower
    case map, max, min, reject, rejectattr, replace, reverse, round, safe, select, selectattr
    case slice, sort, string, sum, title, tojson, trim, truncate, unique, upper, wordcount
}

extension TemplateInterpreter {
    func filter(
        _ name: String, _ value: RuntimeValue, _ arguments: ArgumentValues
    ) throws(ChatTemplateError) -> RuntimeValue {
        guard let filter = TemplateFilter(rawValue: name) else {
            throw failure("There is no filter '\(name)'.")
        }
        try enter()
        defer { leave() }
        switch filter {
        case .capitalize, .center, .e, .escape, .forceescape, .format, .indent, .join, .lower,
            .replace, .safe, .string, .title, .trim, .truncate, .upper, .wordcount:
            return try filterText(filter, value, arguments)
        case .abs, .float, .int, .round: return try filterNumber(filter, value, arguments)
        case .batch, .slice, .list, .reverse, .items, .first, .last:
            return try filterSequence(filter, value, arguments)
        case .map, .select, .reject, .selectattr, .rejectattr:
            return try filterItems(filter, value, arguments)
        case .dictsort, .groupby, .max, .min, .sort, .sum, .unique:
            return try filterOrdered(filter, value, arguments)
        case .count, .length:
            _ = try bind(arguments, [], of: name)
            return .integer(try length(of: value))
        case .attr:
            let bound = try bind(arguments, ["name"], required: 1, of: name)
            return try attributeOnly(bound[0], of: value)
        case .tojson: return try json(value, arguments)
        case .d, .default:
            let bound = try bind(arguments, ["default_value", "boolean"], of: name)
            var replaces = value.isUndefined
            if !replaces, let isStrict = bound[1], try isTrue(isStrict) {
                replaces = !(try isTrue(value))
            }
            return replaces ? bound[0] ?? .text("") : value
        }
    }

    private func attributeOnly(
        _ name: RuntimeValue?, of value: RuntimeValue
    ) throws(ChatTemplateError) -> RuntimeValue {
        guard let name = try optionalText(name) else { throw failure("attr needs a name.") }
        if case .dictionary = value {
            // The filter sees methods, but no keys.
            let empty = RuntimeValue.dictionary(ValueDictionary())
            let found = try attribute(name, of: empty)
            if case .method = found { return try attribute(name, of: value) }
            return found
        }
        return try attribute(name, of: value)
    }
}

// MARK: - Attributes of items

/// How a filter takes a sort key or a value out of each item: a path such as `a.b.0`.
struct ItemPath {
    let steps: [RuntimeValue]
    var ignoresCase = false
    var fallback: RuntimeValue?
}

extension TemplateInterpreter {
    func itemPath(
        _ attribute: RuntimeValue?, ignoresCase: Bool = false, fallback: RuntimeValue? = nil
    ) throws(ChatTemplateError) -> ItemPath {
        var steps: [RuntimeValue] = []
        switch attribute {
        case nil, .some(.none): break
        case .text(let path)?:
            for part in try split(path, at: ".", limit: -1) {
                let index = part.bytes.allSatisfy { 0x30...0x39 ~= $0 } ? Int(part.string) : nil
                steps.append(index.map { .integer($0) } ?? .text(part))
            }
        case let other?: steps = [other]
        }
        let fallback = fallback.flatMap { $0.isNone ? nil : $0 }
        return ItemPath(steps: steps, ignoresCase: ignoresCase, fallback: fallback)
    }

    func value(
        at path: ItemPath, of item: RuntimeValue
    ) throws(ChatTemplateError) -> RuntimeValue {
        var value = item
        for step in path.steps {
            try charge()
            value = try element(step, of: value)
            if value.isUndefined, let fallback = path.fallback { value = fallback }
        }
        if path.ignoresCase, case .text(let text) = value {
            try charge(byteCount: text.bytes.count)
            return .text(text.lowercased)
        }
        return value
    }
}
