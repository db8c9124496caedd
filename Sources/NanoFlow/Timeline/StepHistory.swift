import NanoDevice

/// The steps launched of late, so that what the ``Timeline`` holds can be told apart.
///
/// The engine's thread adds; any thread reads.
package final class StepHistory: Sendable {
    /// One step.
    package struct Entry: Sendable {
        /// As the execution units count programs.
        package let program: UInt32
        package let arranged: ArrangedPlan
        /// By nano-operation.
        package let tileCounts: [Int]
    }

    package let workModel: WorkModel
    private let entries = Locked<[Entry]>([])
    private static let capacity = 64

    package init(_ workModel: WorkModel) { self.workModel = workModel }

    func add(_ program: UInt32, _ tileCounts: [Int], _ arranged: ArrangedPlan) {
        let entry = Entry(program: program, arranged: arranged, tileCounts: tileCounts)
        entries.withLock { entries in
            if entries.count == Self.capacity { entries.removeFirst(Self.capacity / 4) }
            entries.append(entry)
        }
    }

    /// From the oldest to the newest.
    package var steps: [Entry] { entries.withLock { $0 } }
}
