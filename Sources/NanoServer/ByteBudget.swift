import Synchronization

/// Bytes that are shared by those who need some for a while.
final class ByteBudget: Sendable {
    let limit: Int
    private let taken = Atomic<Int>(0)

    init(limit: Int) { self.limit = limit }

    /// What one of them has taken, which is given back when it goes.
    final class Share: Sendable {
        private let budget: ByteBudget
        private let count = Atomic<Int>(0)

        init(_ budget: ByteBudget) { self.budget = budget }

        /// Takes more; false: all together have more than that now.
        func take(_ bytes: Int, upTo limit: Int) -> Bool {
            let (_, sum) = budget.taken.wrappingAdd(bytes, ordering: .relaxed)
            count.wrappingAdd(bytes, ordering: .relaxed)
            return sum <= limit
        }

        deinit {
            budget.taken.wrappingSubtract(count.load(ordering: .relaxed), ordering: .relaxed)
        }
    }
}
