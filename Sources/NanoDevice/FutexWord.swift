import CNanoSystem
import Synchronization

/// A counter that threads can sleep on; it may wrap around.
package final class FutexWord: Sendable {
    private nonisolated(unsafe) let word: UnsafeMutablePointer<Atomic<UInt32>>
    private let sleepers = Atomic<Int>(0)

    package init() {
        word = .allocate(capacity: 1)
        word.initialize(to: Atomic(0))
    }

    deinit { word.deinitialize(count: 1).deallocate() }

    package func load() -> UInt32 { word.pointee.load(ordering: .acquiring) }

    /// Raises the counter to `value` unless a later value stands there already.
    package func advance(to value: UInt32) {
        var current = load()
        while Int32(bitPattern: current &- value) < 0 {
            let (exchanged, original) = word.pointee.compareExchange(
                expected: current, desired: value, ordering: .sequentiallyConsistent)
            if exchanged { break }
            current = original
        }
        if sleepers.load(ordering: .sequentiallyConsistent) > 0 { wake() }
    }

    package func sleep(while value: UInt32, unlessReached goal: UInt32) {
        sleepers.wrappingAdd(1, ordering: .sequentiallyConsistent)
        if Int32(bitPattern: load() &- goal) < 0 {
            // Nothing relies on the timeout; it bounds what a wake-up missed by a bug would cost.
            word.withMemoryRebound(to: UInt32.self, capacity: 1) {
                ns_futex_wait($0, value, 100_000)
            }
        }
        sleepers.wrappingSubtract(1, ordering: .sequentiallyConsistent)
    }

    private func wake() {
        word.withMemoryRebound(to: UInt32.self, capacity: 1) { ns_futex_wake_all($0) }
    }
}
