/// Numbers from the one that was added first to the one added last; any can be removed.
struct RecencyList: Sendable {
    private static let none: Int32 = -1
    private var before: [Int32]
    private var behind: [Int32]
    private var oldest = none
    private var newest = none
    private(set) var count = 0

    /// - Parameter count: Numbers are from 0 up to this one.
    init(count: Int) {
        before = Array(repeating: Self.none, count: count)
        behind = before
    }

    mutating func append(_ number: Int32) {
        before[Int(number)] = newest
        behind[Int(number)] = Self.none
        if newest == Self.none { oldest = number } else { behind[Int(newest)] = number }
        newest = number
        count += 1
    }

    mutating func remove(_ number: Int32) {
        let (earlier, later) = (before[Int(number)], behind[Int(number)])
        if earlier == Self.none { oldest = later } else { behind[Int(earlier)] = later }
        if later == Self.none { newest = earlier } else { before[Int(later)] = earlier }
        count -= 1
    }

    mutating func removeOldest() -> Int32? {
        guard oldest != Self.none else { return nil }
        let number = oldest
        remove(number)
        return number
    }

    /// For checks.
    var numbers: [Int32] {
        var list: [Int32] = []
        var next = oldest
        while next != Self.none {
            list.append(next)
            next = behind[Int(next)]
        }
        return list
    }
}
