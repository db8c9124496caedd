import NanoDevice
import Testing

@Suite struct FutexWordTests {
    @Test func advancingNeverGoesBack() {
        let word = FutexWord()
        word.advance(to: 5)
        word.advance(to: 3)
        #expect(word.load() == 5)
        word.store(.max - 1)
        // Beyond the wrap is ahead.
        word.advance(to: 2)
        #expect(word.load() == 2)
        word.advance(to: .max)
        #expect(word.load() == 2)
    }

    @Test func aReachedGoalIsNotSleptOn() {
        let word = FutexWord()
        word.store(7)
        let clock = ContinuousClock()
        let duration = clock.measure { word.sleep(while: 7, unlessReached: 7) }
        #expect(duration < .milliseconds(90))
    }

    /// Two threads hand a counter back and forth; each sleeps until it is its turn.
    ///
    /// Each lost wake-up would cost 100 ms, the sleep's time limit.
    @Test func noWakeUpIsLost() {
        let there = FutexWord()
        let back = FutexWord()
        let rounds = UInt32(1000)
        let clock = ContinuousClock()
        let duration = clock.measure {
            let thread = ServiceThread(name: "futex-test") {
                for round in 1...rounds {
                    while there.load() < round {
                        there.sleep(while: there.load(), unlessReached: round)
                    }
                    back.store(round)
                }
            }
            for round in 1...rounds {
                there.store(round)
                while back.load() < round {
                    back.sleep(while: back.load(), unlessReached: round)
                }
            }
            thread.join()
        }
        #expect(duration < .seconds(5))
    }
}
