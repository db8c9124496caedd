package import NanoDevice

/// Where the execution units' time went, by kind of operation.
package struct OperationTimes: Sendable, Hashable {
    /// One kind of operation, all layers together.
    package struct Entry: Sendable, Hashable {
        package let kind: Operation.Kind
        package let seconds: Double
    }

    package let unitCount: Int
    private var runningNanoseconds: [Operation.Kind: UInt64] = [:]
    private var waitingNanoseconds: UInt64 = 0

    /// Sums up what the units have done so far; their categories are the kinds of operations.
    package init(_ times: UnitTimes) {
        unitCount = times.unitCount
        for (kind, running) in zip(Operation.Kind.allCases, times.running()) {
            runningNanoseconds[kind] = running
        }
        waitingNanoseconds = times.waiting()
    }

    /// The time of the kinds that ran, longest first: seconds a unit on average.
    ///
    /// With the time waited and the time between steps they add up to the time of a run.
    package var entries: [Entry] {
        runningNanoseconds.filter { $0.value > 0 }
            .map { Entry(kind: $0.key, seconds: seconds($0.value)) }
            .sorted { ($0.seconds, $1.kind.rawValue) > ($1.seconds, $0.kind.rawValue) }
    }

    /// Seconds a unit on average in which it waited for others to finish an operation.
    package var waitingSeconds: Double { seconds(waitingNanoseconds) }

    /// What was added between two readings.
    package static func - (later: OperationTimes, earlier: OperationTimes) -> OperationTimes {
        var result = later
        result.runningNanoseconds.merge(earlier.runningNanoseconds, uniquingKeysWith: &-)
        result.waitingNanoseconds &-= earlier.waitingNanoseconds
        return result
    }

    private func seconds(_ nanoseconds: UInt64) -> Double {
        Double(nanoseconds) / 1e9 / Double(unitCount)
    }
}
