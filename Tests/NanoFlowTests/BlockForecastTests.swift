import Foundation
import NanoFlow
import NanoTestSupport
import Testing

@Suite struct BlockForecastTests {
    private typealias Growth = BlockForecast.Growth

    /// Lets all sequences grow, step by step.
    private func bruteForce(_ growths: [Growth], blockSize: Int) -> Int {
        let steps = growths.map { $0.endCount - $0.count }.max() ?? 0
        return (0...steps).map { step in
            growths.filter { $0.count + step <= $0.endCount }.reduce(0) {
                $0 + ($1.count + step + blockSize - 1) / blockSize - $1.sharedBlocks
            }
        }.max() ?? 0
    }

    @Test func theFastFormIsWhatStepByStepComesTo() {
        for seed in UInt64(0)..<2000 {
            var random = SeededGenerator(seed: seed)
            let blockSize = [1, 2, 3, 16, 64].randomElement(using: &random) ?? 1
            let longest = Int.random(in: 1...300, using: &random)
            var forecast = BlockForecast(blockSize: blockSize)
            var growths: [Growth] = []
            for _ in 0..<Int.random(in: 0...20, using: &random) {
                let count = Int.random(in: 1...longest, using: &random)
                let shared = Int.random(in: 0...(count + blockSize - 1) / blockSize, using: &random)
                let growth = Growth(
                    count: count, endCount: Int.random(in: count...longest, using: &random),
                    sharedBlocks: Bool.random(using: &random) ? shared : 0)
                growths.append(growth)
                forecast.add(growth)
            }
            #expect(
                forecast.peak() == bruteForce(growths, blockSize: blockSize),
                "seed \(seed), blocks of \(blockSize): \(growths)")
        }
    }

    @Test func thePeakStandsWhereASequenceEnds() {
        var forecast = BlockForecast(blockSize: 4)
        // 1 block now and 3 at its end, eight steps from now; the other ends at once with 2.
        forecast.add(Growth(count: 4, endCount: 12))
        #expect(forecast.peak() == 3)
        forecast.add(Growth(count: 8, endCount: 8))
        #expect(forecast.peak() == 3)
        // Three steps from now: 2 of the first and 3 of this one.
        forecast.add(Growth(count: 8, endCount: 11))
        #expect(forecast.peak() == 5)
    }
}

@Suite struct CompletionLengthsTests {
    @Test func quantilesAreOfThoseThatWereLonger() {
        var lengths = CompletionLengths()
        for length in 1...40 { lengths.add(length) }
        #expect(lengths.quantile(0, longerThan: 0) == 1)
        #expect(lengths.quantile(0.5, longerThan: 0) == 21)
        #expect(lengths.quantile(0.999, longerThan: 0) == 40)
        #expect(lengths.quantile(0.5, longerThan: 20) == 31)
        // Sixteen were longer than 24, and fifteen longer than 25.
        #expect(lengths.quantile(0, longerThan: 24) == 25)
        #expect(lengths.quantile(0, longerThan: 25) == nil)
    }

    @Test func onlyTheLastOnesCount() {
        var (lengths, random) = (CompletionLengths(), SeededGenerator(seed: 7))
        var all: [Int] = []
        for _ in 0..<3000 {
            all.append(Int.random(in: 1...500, using: &random))
            lengths.add(all[all.count - 1])
        }
        let last = all.suffix(CompletionLengths.capacity).sorted()
        for rank in [0.0, 0.1, 0.5, 0.9, 0.99] {
            for count in [0, 100, 400] {
                let longer = last.filter { $0 > count }
                #expect(
                    lengths.quantile(rank, longerThan: count)
                        == longer[Int(rank * Double(longer.count))])
            }
        }
    }

    /// For lengths as an exponential distribution has them the predicted sum lies above the true one
    /// in nearly all cases, and not far above it.
    @Test(arguments: [4, 16, 64, 256])
    func theSumOfThePredictedLengthsIsSeldomTooSmall(count: Int) {
        var random = SeededGenerator(seed: UInt64(count))
        func draw() -> Int {
            1 + Int(-200 * log(1 - Double.random(in: 0..<1, using: &random)))
        }
        var lengths = CompletionLengths()
        for _ in 0..<CompletionLengths.capacity { lengths.add(draw()) }
        var (tooSmall, ratio) = (0, 0.0)
        for round in 0..<400 {
            let predicted = (0..<count).reduce(0) {
                let rank = CompletionLengths.rank(of: round * count + $1, among: count)
                return $0 + (lengths.quantile(rank, longerThan: 0) ?? 0)
            }
            let actual = (0..<count).reduce(0) { sum, _ in sum + draw() }
            if predicted < actual { tooSmall += 1 }
            ratio += Double(predicted) / Double(actual) / 400
        }
        print("\(count): too small \(tooSmall) of 400 times, \(ratio) of the true sum on average")
        #expect(tooSmall < 400 / 10)
        #expect(ratio < 1 + 6 / Double(count).squareRoot())
    }
}
