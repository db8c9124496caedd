import CNanoSystem
import Glibc
import Synchronization

/// Work that several pinned threads do at the same time, round by round, against the clock.
///
/// All threads begin a round together and work in small chunks until it is over; a thread that the
/// system puts aside does less of the work and does not prolong it.
final class SimultaneousRounds: Sendable {
    /// Does a chunk of work and returns its amount; chunks of a thread count up from 0.
    typealias Work = @Sendable (_ thread: Int, _ chunk: Int) -> UInt64

    private let threadCount: Int
    private let nanoseconds: UInt64
    private let arrivals = Atomic<Int>(0)
    private let rounds: Locked<[Round]>

    private struct Round {
        var start: UInt64?
        /// The sum of what each thread did a second.
        var rate = 0.0
    }

    private init(threadCount: Int, roundCount: Int, duration: Double) {
        precondition(threadCount > 0, "A measurement takes at least one thread.")
        self.threadCount = threadCount
        nanoseconds = UInt64(duration * 1e9)
        rounds = Locked(Array(repeating: Round(), count: roundCount))
    }

    /// Amount of work a second in the best of the rounds, all threads together.
    ///
    /// Threads are pinned in turn to `cpus` where there are as many; `duration` is in seconds.
    static func bestRate(
        threads: Int, cpus: [Int], roundCount: Int, duration: Double, work: @escaping Work
    ) -> Double {
        let state = SimultaneousRounds(
            threadCount: threads, roundCount: roundCount, duration: duration)
        runOnce(threads: threads, cpus: cpus) { thread in
            var chunk = 0
            for round in 0..<roundCount {
                state.run(round: round) {
                    defer { chunk += 1 }
                    return work(thread, chunk)
                }
            }
        }
        return state.rounds.withLock { $0.map(\.rate).max() ?? 0 }
    }

    /// Calls `body` once on each of the threads and returns when all have returned.
    static func runOnce(
        threads: Int, cpus: [Int], _ body: @escaping @Sendable (_ thread: Int) -> Void
    ) {
        let map = ExecutionUnitMap(unitCount: threads, cpus: cpus)
        let running = (0..<threads).map { thread in
            ServiceThread(name: "nano-peak-\(thread)") {
                if let cpu = map.cpu(ofUnit: thread) { _ = ns_pin_to_cpu(Int32(cpu)) }
                body(thread)
            }
        }
        running.forEach { $0.join() }
    }

    private func run(round: Int, _ chunk: () -> UInt64) {
        awaitAll(round: round)
        let start = rounds.withLock { rounds in
            let start = rounds[round].start ?? monotonicNanoseconds()
            rounds[round].start = start
            return start
        }
        var amount: UInt64 = 0
        var end: UInt64
        repeat {
            amount += chunk()
            end = monotonicNanoseconds()
        } while end < start + nanoseconds
        rounds.withLock { rounds in
            rounds[round].rate += Double(amount) / (Double(end - start) / 1e9)
        }
    }

    private func awaitAll(round: Int) {
        arrivals.wrappingAdd(1, ordering: .acquiringAndReleasing)
        let expected = threadCount * (round + 1)
        var patience = 1000
        while arrivals.load(ordering: .acquiring) < expected {
            if patience > 0 {
                patience -= 1
                ns_pause()
            } else {
                sched_yield()
            }
        }
    }
}
