/// What a dictionary compares of a key: equal numbers of different types are one key.
enum ValueKey: Hashable {
    case undefined
    case none
    case integer(Int)
    case number(UInt64)
    case text(TemplateText)
    case tuple([ValueKey])
    case object(type: String, Int)
}

/// A dictionary that keeps the order in which its keys first came.
final class ValueDictionary {
    private(set) var keys: [RuntimeValue] = []
    private(set) var values: [RuntimeValue] = []
    private(set) var depth = 1
    private var identities: [ValueKey] = []
    // Only large dictionaries are worth a hash table.
    private var positions: [ValueKey: Int] = [:]
    private static let linearCount = 8

    var count: Int { keys.count }

    func position(of key: ValueKey) -> Int? {
        count <= Self.linearCount ? identities.firstIndex(of: key) : positions[key]
    }

    subscript(key: ValueKey) -> RuntimeValue? { position(of: key).map { values[$0] } }

    /// Sets a key while the dictionary is built; the last value of a key counts.
    func set(_ identity: ValueKey, _ key: RuntimeValue, to value: RuntimeValue) {
        depth = max(depth, 1 + max(key.depth, value.depth))
        if let position = position(of: identity) {
            values[position] = value
            return
        }
        identities.append(identity)
        keys.append(key)
        values.append(value)
        if count == Self.linearCount + 1 {
            for (position, identity) in identities.enumerated() { positions[identity] = position }
        } else if count > Self.linearCount {
            positions[identity] = count - 1
        }
    }
}
