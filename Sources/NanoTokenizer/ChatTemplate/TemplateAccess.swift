// Items, elements, attributes and slices of values.

extension TemplateInterpreter {
    /// What a loop over the value passes through.
    func items(of value: RuntimeValue) throws(ChatTemplateError) -> [RuntimeValue] {
        switch value {
        case .undefined: return []
        case .list(let list), .tuple(let list):
            try charge(list.items.count)
            return list.items
        case .text(let text):
            try charge(text.bytes.count)
            return text.characters.map { .text($0) }
        case .dictionary(let dictionary), .view(.keys, let dictionary):
            try charge(dictionary.count)
            return dictionary.keys
        case .view(.values, let dictionary):
            try charge(dictionary.count)
            return dictionary.values
        case .view(.items, let dictionary):
            var items: [RuntimeValue] = []
            for (key, value) in zip(dictionary.keys, dictionary.values) {
                items.append(try makeTuple([key, value]))
            }
            return items
        case .range(let range):
            try charge(range.count)
            return range.items
        case .generator(let generator): return generator.takeAll()
        default: throw failure("A \(value.typeName) has no items to pass through.")
        }
    }

    /// Python's `len`.
    func length(of value: RuntimeValue) throws(ChatTemplateError) -> Int {
        switch value {
        case .undefined: return 0
        case .text(let text):
            try charge(byteCount: text.bytes.count)
            return text.scalarCount
        case .list(let list), .tuple(let list): return list.items.count
        case .dictionary(let dictionary), .view(_, let dictionary): return dictionary.count
        case .range(let range): return range.count
        case .loop(let serial): return try length(of: try loopState(serial))
        default: throw failure("A \(value.typeName) has no length.")
        }
    }

    /// `value[key]`: the element, or else the attribute of that name, or else undefined.
    func element(
        _ key: RuntimeValue, of value: RuntimeValue
    ) throws(ChatTemplateError) -> RuntimeValue {
        if case .undefined(let undefined) = value { throw failure(undefined.message) }
        if case .dictionary(let dictionary) = value, isHashable(key) {
            if let found = dictionary[try self.key(of: key)] { return found }
        } else if let index = key.asInteger, let found = try item(index, of: value) {
            return found
        }
        guard case .text(let name) = key else {
            let shown = try text(of: key, quoted: true).string
            let reason = UndefinedValue(reason: .element, name: shown, owner: value.typeName)
            return .undefined(reason)
        }
        return try ownAttribute(name.string, of: value) ?? missing(name.string, of: value)
    }

    private func isHashable(_ key: RuntimeValue) -> Bool {
        switch key {
        case .list, .dictionary, .view, .range, .generator, .method: false
        default: true
        }
    }

    private func item(
        _ index: Int, of value: RuntimeValue
    ) throws(ChatTemplateError) -> RuntimeValue? {
        switch value {
        case .list(let list), .tuple(let list):
            return position(index, in: list.items.count).map { list.items[$0] }
        case .range(let range): return position(index, in: range.count).map(range.item)
        case .text(let text):
            try charge(byteCount: text.bytes.count)
            guard let position = position(index, in: text.scalarCount) else { return nil }
            let start = text.byteIndex(ofScalar: position)
            let rest = text.bytes[(start + 1)...]
            let end = rest.firstIndex { $0 & 0xC0 != 0x80 } ?? text.bytes.count
            return .text(TemplateText(bytes: text.bytes[start..<end]))
        default: return nil
        }
    }

    private func position(_ index: Int, in count: Int) -> Int? {
        let position = index < 0 ? index + count : index
        return position >= 0 && position < count ? position : nil
    }

    private func missing(_ name: String, of value: RuntimeValue) -> RuntimeValue {
        .undefined(.init(reason: .attribute, name: name, owner: value.typeName))
    }
}

// MARK: - Slices

extension TemplateInterpreter {
    /// `value[start:stop:step]`.
    func slice(
        _ value: RuntimeValue, _ start: Int?, _ stop: Int?, _ step: Int
    ) throws(ChatTemplateError) -> RuntimeValue {
        if case .undefined(let undefined) = value { throw failure(undefined.message) }
        guard step != 0 else { throw failure("The step of a slice is zero.") }
        switch value {
        case .text(let text):
            let count = try length(of: value)
            if step == 1 {
                let range = bounds(start, stop, 1, count)
                let first = text.byteIndex(ofScalar: range.first)
                let last = text.byteIndex(ofScalar: max(range.first, range.end))
                return .text(TemplateText(bytes: text.bytes[first..<last]))
            }
            try charge(text.bytes.count)
            let scalars = text.scalars
            return .text(TemplateText(indices(start, stop, step, count).map { scalars[$0] }))
        case .list(let list):
            let chosen = indices(start, stop, step, list.items.count)
            return try makeList(chosen.map { list.items[$0] })
        case .tuple(let list):
            let chosen = indices(start, stop, step, list.items.count)
            return try makeTuple(chosen.map { list.items[$0] })
        case .range(let range):
            return try makeList(indices(start, stop, step, range.count).map(range.item))
        default: throw failure("A \(value.typeName) cannot be sliced.")
        }
    }

    private func indices(_ start: Int?, _ stop: Int?, _ step: Int, _ count: Int) -> [Int] {
        let (first, end) = bounds(start, stop, step, count)
        // A step beyond the length takes one element, whatever it is.
        let step = max(-count - 1, min(count + 1, step))
        return Array(stride(from: first, to: end, by: step))
    }

    /// The first index and the one at which to stop, clipped to `0..<count` as Python does.
    private func bounds(
        _ start: Int?, _ stop: Int?, _ step: Int, _ count: Int
    ) -> (first: Int, end: Int) {
        let (low, high) = step > 0 ? (0, count) : (-1, count - 1)
        func clip(_ bound: Int) -> Int {
            let position = bound < 0 ? bound + count : bound
            return min(max(position, low), high)
        }
        let first = start.map(clip) ?? (step > 0 ? low : high)
        return (first, stop.map(clip) ?? (step > 0 ? high : low))
    }
}

// MARK: - Attributes

extension TemplateInterpreter {
    // What every Python object has; the sandbox hides it.
    private static let hidden: Set<String> = [
        "__class__", "__delattr__", "__dir__", "__doc__", "__eq__", "__format__", "__ge__",
        "__getattribute__", "__getstate__", "__gt__", "__hash__", "__init__",
        "__init_subclass__", "__le__", "__lt__", "__ne__", "__new__", "__reduce__",
        "__reduce_ex__", "__repr__", "__setattr__", "__sizeof__", "__str__",
        "__subclasshook__",
    ]
    private static let dictionaryMethods: Set<String> = ["items", "keys", "values", "get", "copy"]
    private static let dictionaryChanges: Set<String> = [
        "clear", "pop", "popitem", "setdefault", "update",
    ]
    private static let listMethods: Set<String> = ["count", "index", "copy"]
    private static let listChanges: Set<String> = [
        "append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove",
    ]

    /// `value.name`: the attribute, or else the element of that key, or else undefined.
    func attribute(
        _ name: TemplateText, of value: RuntimeValue
    ) throws(ChatTemplateError) -> RuntimeValue {
        let label = name.string
        if let own = try ownAttribute(label, of: value) { return own }
        switch value {
        case .dictionary(let dictionary):
            return dictionary[.text(name)] ?? missing(label, of: value)
        case .undefined(let undefined): throw failure(undefined.message)
        default: return missing(label, of: value)
        }
    }

    /// A method or a property; undefined for one that the sandbox forbids.
    private func ownAttribute(
        _ name: String, of value: RuntimeValue
    ) throws(ChatTemplateError) -> RuntimeValue? {
        let unsafe = UndefinedValue(reason: .unsafe, name: name, owner: value.typeName)
        if Self.hidden.contains(name) { return .undefined(unsafe) }
        switch value {
        case .text:
            return TextMethod(rawValue: name) == nil ? nil : try method(name, of: value)
        case .dictionary:
            if Self.dictionaryMethods.contains(name) { return try method(name, of: value) }
            return Self.dictionaryChanges.contains(name) ? .undefined(unsafe) : nil
        case .list(let list), .tuple(let list):
            if list.isGroup, name == "grouper" { return list.items.first }
            if list.isGroup, name == "list" { return list.items.last }
            var isTuple = false
            if case .tuple = value { isTuple = true }
            if isTuple && name == "copy" { return nil }
            if Self.listMethods.contains(name) { return try method(name, of: value) }
            return !isTuple && Self.listChanges.contains(name) ? .undefined(unsafe) : nil
        case .namespace(let index): return namespaces[index][.text(TemplateText(name))]
        case .loop(let serial): return try loopAttribute(name, try loopState(serial), value)
        case .macro(let index): return try macroAttribute(name, macros[index].macro)
        case .function(.dict): return name == "fromkeys" ? try method(name, of: value) : nil
        default: return nil
        }
    }

    private func method(
        _ name: String, of value: RuntimeValue
    ) throws(ChatTemplateError) -> RuntimeValue {
        try checkDepth(value.depth + 1)
        return .method(BoundMethod(value, name, depth: value.depth + 1))
    }

    private func macroAttribute(
        _ name: String, _ macro: TemplateMacro
    ) throws(ChatTemplateError) -> RuntimeValue? {
        switch name {
        case "name": macro.name.map { .text(program.names[$0]) } ?? RuntimeValue.none
        case "arguments": try makeTuple(macro.parameters.map { .text($0.label) })
        case "catch_kwargs": .boolean(macro.specialNames.contains("kwargs"))
        case "catch_varargs": .boolean(macro.specialNames.contains("varargs"))
        case "caller": .boolean(macro.specialNames.contains("caller"))
        default: nil
        }
    }

    private func loopAttribute(
        _ name: String, _ state: LoopState, _ value: RuntimeValue
    ) throws(ChatTemplateError) -> RuntimeValue? {
        switch name {
        case "index": return .integer(state.index + 1)
        case "index0": return .integer(state.index)
        case "first": return .boolean(state.index == 0)
        case "last": return .boolean(try peek(state) == nil)
        case "length": return .integer(try length(of: state))
        case "revindex": return .integer(try length(of: state) - state.index)
        case "revindex0": return .integer(try length(of: state) - state.index - 1)
        case "depth": return .integer(state.depth + 1)
        case "depth0": return .integer(state.depth)
        case "previtem": return state.previous ?? absent("There is no previous item.")
        case "nextitem": return try peek(state) ?? absent("There is no next item.")
        case "cycle", "changed": return try method(name, of: value)
        default: return nil
        }
    }

    func absent(_ message: String) -> RuntimeValue {
        .undefined(.init(reason: .other, name: message, owner: ""))
    }
}
