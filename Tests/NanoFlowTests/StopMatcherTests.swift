import NanoFlow
import NanoTestSupport
import Testing

@Suite struct StopMatcherTests {
    @Test func withoutStopsAllBytesAreCertainAtOnce() {
        var matcher = StopMatcher([])
        let result = matcher.append([1, 2, 3])
        #expect(result.certain == [1, 2, 3])
        #expect(result.stop == nil)
        #expect(matcher.finish().isEmpty)
    }

    @Test func aPossibleBeginningIsHeldAndReleased() {
        var matcher = StopMatcher(["END"])
        #expect(matcher.append(Array("aE".utf8)).certain == Array("a".utf8))
        #expect(matcher.append(Array("N".utf8)).certain.isEmpty)
        #expect(matcher.append(Array("Ex".utf8)).certain == Array("ENEx".utf8))
        #expect(matcher.append(Array("EN".utf8)).certain.isEmpty)
        #expect(matcher.finish() == Array("EN".utf8))
        #expect(matcher.finish().isEmpty)
    }

    @Test func theTextBeforeAMatchIsCertainAndNothingElse() {
        var matcher = StopMatcher(["\n\n"])
        #expect(matcher.append(Array("one\n".utf8)).certain == Array("one".utf8))
        let result = matcher.append(Array("\ntwo".utf8))
        #expect((result.stop != nil))
        #expect(result.certain.isEmpty)
        #expect(matcher.finish().isEmpty)
    }

    @Test func aStopMayCutACharacterThatSpansTokens() {
        let bytes = Array("aé→b".utf8)
        var matcher = StopMatcher(["→"])
        var certain: [UInt8] = []
        var isMatched = false
        for byte in bytes where !isMatched {
            let result = matcher.append([byte])
            certain += result.certain
            isMatched = (result.stop != nil)
        }
        #expect(isMatched)
        #expect(certain == Array("aé".utf8))
    }

    /// What is certain never shrinks, and what is held could still become a stop string.
    @Test(arguments: 0..<400)
    func agreesWithASearchOfTheWholeText(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let letters = seed % 2 == 0 ? ["a", "b"] : ["a", "é", "è", "→", "🙂", "🙃"]
        let text = { (count: Int, random: inout SeededGenerator) in
            (0..<count).map { _ in letters.randomElement(using: &random) ?? "a" }.joined()
        }
        let stops = (0..<Int.random(in: 1...4, using: &random)).map { _ in
            text(Int.random(in: 1...6, using: &random), &random)
        }
        let whole = Array(text(Int.random(in: 0...60, using: &random), &random).utf8)
        var matcher = StopMatcher(stops)
        var given: [UInt8] = []
        var certain: [UInt8] = []
        var isMatched = false
        while given.count < whole.count, !isMatched {
            let count = Int.random(in: 0...min(5, whole.count - given.count), using: &random)
            let piece = Array(whole[given.count..<given.count + count])
            given += piece
            let result = matcher.append(piece)
            certain += result.certain
            isMatched = (result.stop != nil)
            let expected = Self.split(given, stops.map { Array($0.utf8) })
            #expect(certain == expected.certain, "seed \(seed), \(stops), after \(given.count)")
            #expect(isMatched == expected.isMatched, "seed \(seed), \(stops)")
        }
        if !isMatched { certain += matcher.finish() }
        #expect(isMatched || certain == given, "seed \(seed): bytes were lost")
    }

    @Test func hostileStopsCostNoMoreThanOthers() {
        // Searched naively, every byte compares a thousand beginnings with a thousand bytes.
        let stops = (0..<16).map { String(repeating: "a", count: 1000 + $0) + "b" }
        var matcher = StopMatcher(stops)
        var certain = 0
        for _ in 0..<20_000 { certain += matcher.append(Array("aaaa".utf8)).certain.count }
        #expect(certain == 80_000 - 1015)
        #expect(matcher.append(Array("b".utf8)).stop != nil)
    }

    /// The text before the stop that ends first (the longest such); without one, the text less its
    /// longest ending that begins a stop.
    private static func split(
        _ text: [UInt8], _ stops: [[UInt8]]
    ) -> (certain: [UInt8], isMatched: Bool) {
        for end in 0...text.count {
            let found = stops.filter { Array(text[..<end].suffix($0.count)) == $0 }
            if let longest = found.map(\.count).max() {
                return (Array(text[..<(end - longest)]), true)
            }
        }
        for start in text.indices {
            let rest = Array(text[start...])
            for stop in stops where Array(stop.prefix(rest.count)) == rest {
                return (Array(text[..<start]), false)
            }
        }
        return (text, false)
    }
}
