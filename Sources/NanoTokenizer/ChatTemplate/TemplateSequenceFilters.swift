// Filters over lists, dictionaries and other sequences.

extension TemplateInterpreter {
    func filterSequence(
        _ filter: TemplateFilter, _ value: RuntimeValue, _ arguments: ArgumentValues
    ) throws(ChatTemplateError) -> RuntimeValue {
        let name = filter.rawValue
        if filter == .batch || filter == .slice {
            let parameters = filter == .batch ? "linecount" : "slices"
            let bound = try bind(arguments, [parameters, "fill_with"], required: 1, of: name)
            let size = try wholeNumber(bound[0] ?? .none, name)
            let fill = bound[1].flatMap { $0.isNone ? nil : $0 }
            let items = try self.items(of: value)
            return filter == .batch
                ? try batches(items, of: size, fill) : try slices(items, size, fill)
        }
        _ = try bind(arguments, [], of: name)
        switch filter {
        case .list: return try makeList(try items(of: value))
        case .items:
            if value.isUndefined { return try makeGenerator([]) }
            guard case .dictionary(let dictionary) = value else {
                throw failure("Only a dictionary has items, not a \(value.typeName).")
            }
            return try makeGenerator(try items(of: .view(.items, dictionary)))
        case .reverse:
            if case .text(let text) = value { return .text(TemplateText(text.scalars.reversed())) }
            // What can be walked through once only is turned into a list first.
            let items = Array(try items(of: value).reversed())
            if case .generator = value { return try makeList(items) }
            return try makeGenerator(items)
        case .first:
            if case .generator(let generator) = value {
                return generator.takeFirst() ?? absent("The sequence has no first item.")
            }
            return try items(of: value).first ?? absent("The sequence has no first item.")
        default:
            if case .generator = value { throw failure("A generator has no last item.") }
            return try items(of: value).last ?? absent("The sequence has no last item.")
        }
    }

    private func batches(
        _ items: [RuntimeValue], of size: Int, _ fill: RuntimeValue?
    ) throws(ChatTemplateError) -> RuntimeValue {
        var batches: [RuntimeValue] = []
        var batch: [RuntimeValue] = []
        for item in items {
            if batch.count == size {
                batches.append(try makeList(batch))
                batch = []
            }
            batch.append(item)
        }
        if !batch.isEmpty {
            if let fill, batch.count < size {
                try charge(min(size, limits.maxSteps) + 1)
                batch += Array(repeating: fill, count: size - batch.count)
            }
            batches.append(try makeList(batch))
        }
        return try makeGenerator(batches)
    }

    private func slices(
        _ items: [RuntimeValue], _ count: Int, _ fill: RuntimeValue?
    ) throws(ChatTemplateError) -> RuntimeValue {
        guard count != 0 else { throw failure("A sequence cannot be cut into no slices.") }
        try charge(min(max(count, 0), limits.maxSteps) + 1)
        var slices: [RuntimeValue] = []
        var start = 0
        for index in 0..<max(count, 0) {
            let isLong = index < items.count % count
            let end = start + items.count / count + (isLong ? 1 : 0)
            var part = Array(items[start..<end])
            if let fill, !isLong { part.append(fill) }
            slices.append(try makeList(part))
            start = end
        }
        return try makeGenerator(slices)
    }
}

// MARK: - Item by item

extension TemplateInterpreter {
    func filterItems(
        _ filter: TemplateFilter, _ value: RuntimeValue, _ arguments: ArgumentValues
    ) throws(ChatTemplateError) -> RuntimeValue {
        guard try isTrue(value) else { return try makeGenerator([]) }
        let items = try self.items(of: value)
        return try makeGenerator(
            filter == .map
                ? try map(items, arguments) : try choose(filter, items, arguments))
    }

    private func map(
        _ items: [RuntimeValue], _ arguments: ArgumentValues
    ) throws(ChatTemplateError) -> [RuntimeValue] {
        var arguments = arguments
        var mapped: [RuntimeValue] = []
        if arguments.positional.isEmpty, let attribute = arguments.removeKeyword("attribute") {
            let fallback = arguments.removeKeyword("default")
            if let unknown = arguments.keyword.first {
                throw failure("map has no argument '\(unknown.name)'.")
            }
            let path = try itemPath(attribute, fallback: fallback)
            for item in items { mapped.append(try self.value(at: path, of: item)) }
            return mapped
        }
        guard case .text(let name)? = arguments.positional.first else {
            throw failure("map needs the name of a filter.")
        }
        arguments.positional.removeFirst()
        for item in items { mapped.append(try self.filter(name.string, item, arguments)) }
        return mapped
    }

    private func choose(
        _ filter: TemplateFilter, _ items: [RuntimeValue], _ arguments: ArgumentValues
    ) throws(ChatTemplateError) -> [RuntimeValue] {
        var arguments = arguments
        var path = ItemPath(steps: [])
        if filter == .selectattr || filter == .rejectattr {
            guard let attribute = arguments.positional.first else {
                throw failure("\(filter.rawValue) needs the name of an attribute.")
            }
            arguments.positional.removeFirst()
            path = try itemPath(attribute)
        }
        var name: TemplateText?
        if !arguments.positional.isEmpty {
            name = try optionalText(arguments.positional.removeFirst())
        }
        let wanted = filter == .select || filter == .selectattr
        var chosen: [RuntimeValue] = []
        for item in items {
            try charge()
            let value = try self.value(at: path, of: item)
            let holds =
                if let name { try test(name.string, value, arguments) } else { try isTrue(value) }
            if holds == wanted { chosen.append(item) }
        }
        return chosen
    }
}

// MARK: - By order

extension TemplateInterpreter {
    func filterOrdered(
        _ filter: TemplateFilter, _ value: RuntimeValue, _ arguments: ArgumentValues
    ) throws(ChatTemplateError) -> RuntimeValue {
        let name = filter.rawValue
        switch filter {
        case .sum:
            let bound = try bind(arguments, ["attribute", "start"], of: name)
            let path = try itemPath(bound[0])
            var total = bound[1] ?? .integer(0)
            if case .text = total { throw failure("Strings cannot be summed.") }
            for item in try items(of: value) {
                total = try compute(total, .add, try self.value(at: path, of: item))
            }
            return total
        case .sort:
            let bound = try bind(
                arguments, ["reverse", "case_sensitive", "attribute"], of: name)
            let keys = try sortKeys(of: value, bound[2], isCaseSensitive: bound[1])
            let isReversed = try isTrue(bound[0] ?? .none)
            let order = try sortedIndices(of: keys.keys, isReversed: isReversed)
            return try makeList(order.map { keys.items[$0] })
        case .dictsort: return try sortDictionary(value, arguments)
        case .groupby: return try group(value, arguments)
        default:
            let bound = try bind(arguments, ["case_sensitive", "attribute"], of: name)
            let ignoresCase = !(try isTrue(bound[0] ?? .none))
            let path = try itemPath(bound[1], ignoresCase: ignoresCase)
            let items = try self.items(of: value)
            if filter == .unique { return try unique(items, path) }
            return try extreme(items, path, isGreatest: filter == .max)
        }
    }

    /// Items and the keys to sort them by; a comma separates several attributes.
    private func sortKeys(
        of value: RuntimeValue, _ attribute: RuntimeValue?, isCaseSensitive: RuntimeValue?
    ) throws(ChatTemplateError) -> (items: [RuntimeValue], keys: [RuntimeValue]) {
        let ignoresCase = !(try isTrue(isCaseSensitive ?? .none))
        var paths: [ItemPath] = []
        if case .text(let names)? = attribute {
            for name in try split(names, at: ",", limit: -1) {
                paths.append(try itemPath(.text(name), ignoresCase: ignoresCase))
            }
        } else {
            paths.append(try itemPath(attribute, ignoresCase: ignoresCase))
        }
        let items = try self.items(of: value)
        var keys: [RuntimeValue] = []
        for item in items {
            var parts: [RuntimeValue] = []
            for path in paths { parts.append(try self.value(at: path, of: item)) }
            keys.append(try makeList(parts))
        }
        return (items, keys)
    }

    private func sortDictionary(
        _ value: RuntimeValue, _ arguments: ArgumentValues
    ) throws(ChatTemplateError) -> RuntimeValue {
        let bound = try bind(arguments, ["case_sensitive", "by", "reverse"], of: "dictsort")
        guard case .dictionary(let dictionary) = value else {
            throw failure("dictsort needs a dictionary, not a \(value.typeName).")
        }
        let by = try optionalText(bound[1]) ?? "key"
        guard by == "key" || by == "value" else {
            throw failure("dictsort sorts by 'key' or by 'value'.")
        }
        let path = ItemPath(steps: [], ignoresCase: !(try isTrue(bound[0] ?? .none)))
        var keys: [RuntimeValue] = []
        for key in by == "key" ? dictionary.keys : dictionary.values {
            keys.append(try self.value(at: path, of: key))
        }
        let isReversed = try isTrue(bound[2] ?? .none)
        var pairs: [RuntimeValue] = []
        for index in try sortedIndices(of: keys, isReversed: isReversed) {
            pairs.append(try makeTuple([dictionary.keys[index], dictionary.values[index]]))
        }
        return try makeList(pairs)
    }

    private func group(
        _ value: RuntimeValue, _ arguments: ArgumentValues
    ) throws(ChatTemplateError) -> RuntimeValue {
        let bound = try bind(
            arguments, ["attribute", "default", "case_sensitive"], required: 1, of: "groupby")
        let ignoresCase = !(try isTrue(bound[2] ?? .none))
        let path = try itemPath(bound[0], ignoresCase: ignoresCase, fallback: bound[1])
        let label = try itemPath(bound[0], fallback: bound[1])
        let items = try self.items(of: value)
        var keys: [RuntimeValue] = []
        for item in items { keys.append(try self.value(at: path, of: item)) }
        var groups: [(key: RuntimeValue, members: [RuntimeValue])] = []
        for index in try sortedIndices(of: keys, isReversed: false) {
            if let last = groups.last, try isEqual(last.key, keys[index]) {
                groups[groups.count - 1].members.append(items[index])
            } else {
                groups.append((keys[index], [items[index]]))
            }
        }
        var result: [RuntimeValue] = []
        for group in groups {
            let name = try self.value(at: label, of: group.members[0])
            result.append(try makeTuple([name, try makeList(group.members)], isGroup: true))
        }
        return try makeList(result)
    }

    private func unique(
        _ items: [RuntimeValue], _ path: ItemPath
    ) throws(ChatTemplateError) -> RuntimeValue {
        var seen: Set<ValueKey> = []
        var kept: [RuntimeValue] = []
        for item in items where seen.insert(try key(of: try value(at: path, of: item))).inserted {
            kept.append(item)
        }
        return try makeGenerator(kept)
    }

    private func extreme(
        _ items: [RuntimeValue], _ path: ItemPath, isGreatest: Bool
    ) throws(ChatTemplateError) -> RuntimeValue {
        guard var best = items.first else { return absent("The sequence is empty.") }
        var bestKey = try value(at: path, of: best)
        for item in items.dropFirst() {
            let key = try value(at: path, of: item)
            if isGreatest ? try isLess(bestKey, key) : try isLess(key, bestKey) {
                (best, bestKey) = (item, key)
            }
        }
        return best
    }
}
