import NanoFlow
import Testing

@Suite struct StepForecastTests {
    @Test func promptsGetTheirShareOfTheDecodesTime() {
        var times = StepForecast()
        #expect(times.prefillBudget(share: 1, decodes: 16, waiting: 0) == nil)
        // A millisecond a prompt token, 40 ms for sixteen decodes.
        times.add(seconds: 0.5, decodes: 0, prefillTokens: 500)
        for _ in 0..<50 { times.add(seconds: 0.04, decodes: 16, prefillTokens: 0) }
        #expect(times.prefillBudget(share: 1, decodes: 16, waiting: 0) == 40)
        #expect(times.prefillBudget(share: 2, decodes: 16, waiting: 0) == 80)
        // Twice as many decodes, but for what a step costs anyway.
        #expect(times.prefillBudget(share: 1, decodes: 32, waiting: 0) == 60)
        #expect(times.prefillBudget(share: 1, decodes: 0, waiting: 0) == nil)
        // Those who wait count as those who run.
        #expect(times.prefillBudget(share: 1, decodes: 16, waiting: 48) == 160)
        #expect(times.prefillBudget(share: nil, decodes: 16, waiting: 0) == nil)
        // Never so little that a prompt does not get on.
        #expect(times.prefillBudget(share: 0.01, decodes: 16, waiting: 0) == 4)
    }

    @Test func aPromptTokensTimeIsLearntBesideDecodes() throws {
        var times = StepForecast()
        for _ in 0..<50 { times.add(seconds: 0.04, decodes: 16, prefillTokens: 0) }
        for _ in 0..<50 { times.add(seconds: 0.14, decodes: 16, prefillTokens: 50) }
        let budget = try #require(times.prefillBudget(share: 1, decodes: 16, waiting: 0))
        #expect((19...20).contains(budget))
        // 2 ms a prompt token, 2.5 ms a token of the completion.
        let seconds = try #require(
            times.seconds(promptTokens: 100, completionTokens: 100, among: 16))
        #expect(abs(seconds - 0.45) < 0.001)
    }

    @Test func aStreamOfPromptsHidesNoDecodes() throws {
        var times = StepForecast()
        // One decode of 10 ms is known, then sixteen of 48 ms run, and there is always a prompt beside
        // them, of 1 ms a token.
        times.add(seconds: 0.5, decodes: 0, prefillTokens: 500)
        for _ in 0..<50 { times.add(seconds: 0.01, decodes: 1, prefillTokens: 0) }
        var empty = 0
        for _ in 0..<1000 {
            let budget = try #require(
                times.prefillBudget(share: 0.8, decodes: 16, waiting: 0))
            empty += budget == 0 ? 1 : 0
            times.add(seconds: 0.048 + 0.001 * Double(budget), decodes: 16, prefillTokens: budget)
        }
        let budget = try #require(times.prefillBudget(share: 0.8, decodes: 16, waiting: 0))
        #expect((36...40).contains(budget))
        // Now and then the decodes are seen alone.
        #expect((10...25).contains(empty))
    }

    @Test func histogramsCountUpToTheirBounds() {
        var histogram = Histogram([1, 2, 5])
        for value in [0.5, 1, 1.5, 5, 7] { histogram.add(value) }
        #expect(histogram.counts == [2, 1, 1])
        #expect(histogram.count == 5)
        #expect(histogram.sum == 15)
    }

    @Test func theWindowForgets() {
        var window = LoadWindow()
        var load = StepLoad()
        load.tokens = 7
        let second: UInt64 = 1_000_000_000
        window.add(load, now: 100 * second)
        window.add(load, now: 105 * second)
        #expect(window.sum(now: 106 * second).tokens == 14)
        #expect(window.sum(now: 111 * second).tokens == 7)
        #expect(window.sum(now: 200 * second).tokens == 0)
        // A slot is used again ten seconds later.
        window.add(load, now: 110 * second)
        #expect(window.sum(now: 110 * second).tokens == 14)
    }
}
