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
    private let clock: Clock
    private let arrivals = Atomic<Int>(0)
    private let rounds: Locked<[Round]>

    private struct Round {
        var start: UInt64?
        /// The sum of what each thread did a second.
        var rate = 0.0
    }

    /// What a second is to a rate.
    enum Clock {
        case wall
        /// The time that a thread had its CPU: what other threads take away does not count.
        case processor
    }

    private init(threadCount: Int, roundCount: Int, clock: Clock) {
        precondition(threadCount > 0, "A measurement takes at least one thread.")
        self.threadCount = threadCount
        self.clock = clock
        rounds = Locked(Array(repeating: Round(), count: roundCount))
    }

    /// Amount of work a second in the best of the rounds, all threads together.
    ///
    /// Threads are pinned in turn to `cpus` where there are as many; `duration` is in seconds.
    static func bestRate(
        threads: Int, cpus: [Int], roundCount: Int, duration: Double, work: @escaping Work
    ) -> Double {
        rates(
            threads: threads, cpus: cpus, roundCount: roundCount, works: [work],
            duration: duration, clock: .wall
        )[0].max() ?? 0
    }

    /// Amounts of work a second (work, round) of several kinds of work that take turns: first a
    /// round of each, then the second of each.
    static func rates(
        threads: Int, cpus: [Int], roundCount: Int, works: [Work], duration: Double, clock: Clock
    ) -> [[Double]] {
        let state = SimultaneousRounds(
            threadCount: threads, roundCount: roundCount * works.count, clock: clock)
        runOnce(threads: threads, cpus: cpus) { thread in
            var chunks = Array(repeating: 0, count: works.count)
            for round in 0..<roundCount * works.count {
                let index = round % works.count
                state.run(round: round, nanoseconds: UInt64(duration * 1e9)) {
                    defer { chunks[index] += 1 }
                    return works[index](thread, chunks[index])
                }
            }
        }
        let rates = state.rounds.withLock { $0.map(\.rate) }
        return works.indices.map { index in
            stride(from: index, to: rates.count, by: works.count).map { rates[$0] }
        }
    }

    /// Calls `body` once on each of the threads and returns when all have returned.
    static func runOnce(
        threads: Int, cpus: [Int], _ body: @escaping @Sendable (_ thread: Int) -> Void
    ) {
        let map = ExecutionUnitMap(unitCount: threads, cpus: cpus)
        let running = (0..<threads).map { thread in
            // As an execution unit's: kernels that are compiled without optimisation use a lot.
            ServiceThread(name: "nano-peak-\(thread)", stackByteCount: 4 << 20) {
                if let cpu = map.cpu(ofUnit: thread) { _ = ns_pin_to_cpu(Int32(cpu)) }
                body(thread)
            }
        }
        running.forEach { $0.join() }
    }

    private func run(round: Int, nanoseconds: UInt64, _ chunk: () -> UInt64) {
        awaitAll(round: round)
        let start = rounds.withLock { rounds in
            let start = rounds[round].start ?? monotonicNanoseconds()
            rounds[round].start = start
            return start
        }
        let processorStart = processorNanoseconds()
        var amount: UInt64 = 0
        var end: UInt64
        repeat {
            amount += chunk()
            end = monotonicNanoseconds()
        } while end < start + nanoseconds
        let elapsed =
            switch clock {
            case .wall: end - start
            case .processor: max(1, processorNanoseconds() - processorStart)
            }
        rounds.withLock { $0[round].rate += Double(amount) / (Double(elapsed) / 1e9) }
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

/// How long the calling thread has had a CPU.
private func processorNanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}
