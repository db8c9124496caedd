import NanoDevice
import Synchronization
import Testing

@Suite struct FutexWordTests {
    @Test func advancingNeverGoesBack() {
        let word = FutexWord()
        word.advance(to: 5)
        word.advance(to: 3)
        #expect(word.load() == 5)
        // In two hops: a word only goes forward, by less than half its range.
        word.advance(to: .max / 2)
        word.advance(to: .max - 1)
        // Beyond the wrap is ahead.
        word.advance(to: 2)
        #expect(word.load() == 2)
        word.advance(to: .max)
        #expect(word.load() == 2)
    }

    @Test func aReachedGoalIsNotSleptOn() {
        let word = FutexWord()
        word.advance(to: 7)
        let clock = ContinuousClock()
        let duration = clock.measure { word.sleep(while: 7, unlessReached: 7) }
        #expect(duration < .milliseconds(90))
    }

    /// Two threads hand a counter back and forth; each sleeps until it is its turn.
    ///
    /// A lost wake-up shows as a sleep that only its time limit of 100 ms has ended.
    @Test func noWakeUpIsLost() {
        let there = FutexWord()
        let back = FutexWord()
        let rounds = UInt32(300)
        let sleeps = SleepCounter()
        let thread = ServiceThread(name: "futex-test") {
            for round in 1...rounds {
                sleeps.await(round, on: there)
                back.advance(to: round)
            }
        }
        for round in 1...rounds {
            there.advance(to: round)
            sleeps.await(round, on: back)
        }
        thread.join()
        // The system may be slow now and then; a word that loses wake-ups loses many.
        #expect(sleeps.longCount < 15)
    }
}

/// Waits for rounds, and counts the sleeps that nobody but the time limit has ended.
private final class SleepCounter: Sendable {
    private let count = Atomic<Int>(0)

    var longCount: Int { count.load(ordering: .relaxed) }

    func await(_ round: UInt32, on word: FutexWord) {
        let clock = ContinuousClock()
        while word.load() < round {
            let value = word.load()
            let duration = clock.measure { word.sleep(while: value, unlessReached: round) }
            if duration > .milliseconds(95) { count.wrappingAdd(1, ordering: .relaxed) }
        }
    }
}
