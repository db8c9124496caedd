import Glibc
import NanoDevice

/// Draws from what min-p, top-k and top-p leave of a row of logits.
///
/// No row is sorted: tokens are counted and weighed by classes of likelihood, and only of the class
/// in which top-k or top-p ends are the likeliest taken in order, from a heap. Nothing is allocated
/// after `init`.
struct TruncatedDraw {
    private let candidates: UnsafeMutableBufferPointer<Candidate>  // (vocabulary)
    private let edge: UnsafeMutableBufferPointer<Candidate>  // (vocabulary)
    private let classes: UnsafeMutableBufferPointer<LikelihoodClass>  // (classCount)

    private struct Candidate {
        var token: Int32
        /// (logit - largest logit) / temperature: 0 or less.
        var scaled: Float
        /// exp(scaled).
        var weight: Float

        /// The order of likelihood; among equals the smaller id comes first.
        static func isLikelier(_ a: Candidate, _ b: Candidate) -> Bool {
            a.scaled != b.scaled ? a.scaled > b.scaled : a.token < b.token
        }
    }

    private struct LikelihoodClass {
        var count = 0
        var mass = 0.0
    }

    // Class c holds scaled logits in (-(c + 1) / 16, -c / 16]; the last one all below.
    private static let classCount = 512
    private static let classesPerUnit: Float = 16

    static func byteCount(vocabularyCount: Int) -> Int {
        2 * MemoryArena.byteCount(Candidate.self, vocabularyCount)
            + MemoryArena.byteCount(LikelihoodClass.self, classCount)
    }

    init(vocabularyCount: Int, arena: MemoryArena) {
        candidates = arena.cut(Candidate.self, count: vocabularyCount)
        edge = arena.cut(Candidate.self, count: vocabularyCount)
        classes = arena.cut(LikelihoodClass.self, count: Self.classCount)
    }

    /// The token at `random`, in [0, 1), of the cumulative distribution of what is left, in the order
    /// of ids.
    ///
    /// `logits` has a finite largest one; `tiles` is made of the same, at the sampling's temperature,
    /// which is not 0. nil: no token is left, as with logits that are no numbers.
    func draw(
        _ sampling: SlotSampling, _ logits: UnsafePointer<Float>, _ tiles: LogitTiles,
        random: Double
    ) -> Int32? {
        let inverse = sampling.inverseTemperature
        let topK = sampling.topK == 0 ? tiles.vocabularyCount : sampling.topK
        let isCounted = topK < tiles.vocabularyCount
        let whole = tiles.mass(inverseTemperature: inverse)
        var count = 0
        for round in 0..<3 {
            let floor = Self.floor(
                sampling, isCounted: isCounted, round: round, whole, tiles.vocabularyCount)
            count = gather(logits, tiles, inverse, floor)
            // With min-p there is no short cut: top-p is then a share of all that it leaves.
            if sampling.minP > 0 { break }
            if isCounted ? count >= topK : mass(count, upTo: nil) >= sampling.topP * whole { break }
        }
        var last = isCounted ? lastKept(count, most: topK, mass: .infinity) : nil
        if sampling.topP < 1 {
            // Of what min-p and top-k leave; without them the tail that was not gathered counts too.
            let left = isCounted || sampling.minP > 0 ? mass(count, upTo: last) : whole
            last = lastKept(count, most: topK, mass: sampling.topP * left)
        }
        return draw(count, upTo: last, random)
    }

    /// The scaled logit from which on to gather: nearly always the likely ones are enough.
    private static func floor(
        _ sampling: SlotSampling, isCounted: Bool, round: Int, _ whole: Double,
        _ vocabularyCount: Int
    ) -> Float {
        if sampling.minP > 0 { return Float(log(sampling.minP)) }
        if round == 2 { return -.infinity }
        guard sampling.topP < 1, !isCounted else { return round == 0 ? -5 : -12 }
        // All tokens below it weigh less than 1 - top-p together; 0.01 is for rounding.
        let enough = Float(log((1 - sampling.topP) * whole / Double(vocabularyCount))) - 0.01
        return round == 0 ? max(-5, enough) : enough
    }

    /// Fills `candidates`, in the order of ids, with the tokens whose scaled logit is `floor` or more.
    private func gather(
        _ logits: UnsafePointer<Float>, _ tiles: LogitTiles, _ inverse: Float, _ floor: Float
    ) -> Int {
        let maximum = tiles.likeliest.maximum
        var count = 0
        for (index, tile) in tiles.tiles.enumerated()
        where (tile.maximum - maximum) * inverse >= floor {
            for token in LogitTiles.tokens(index, vocabularyCount: tiles.vocabularyCount) {
                let scaled = (logits[token] - maximum) * inverse
                guard scaled >= floor else { continue }
                candidates[count] = Candidate(
                    token: Int32(token), scaled: scaled, weight: exp(scaled))
                count += 1
            }
        }
        return count
    }

    private func isKept(_ candidate: Candidate, upTo last: Candidate?) -> Bool {
        last.map { !Candidate.isLikelier($0, candidate) } ?? true
    }

    private func mass(_ count: Int, upTo last: Candidate?) -> Double {
        candidates[..<count].reduce(0) {
            $0 + (isKept($1, upTo: last) ? Double($1.weight) : 0)
        }
    }

    private func draw(_ count: Int, upTo last: Candidate?, _ random: Double) -> Int32? {
        var rest = random * mass(count, upTo: last)
        var drawn: Int32?
        for candidate in candidates[..<count]
        where candidate.weight > 0 && isKept(candidate, upTo: last) {
            drawn = candidate.token
            rest -= Double(candidate.weight)
            if rest < 0 { break }
        }
        return drawn
    }

    /// The last of the candidates, in the order of likelihood, with which there are `most` of them or
    /// they weigh `mass`; nil if all together are fewer and lighter.
    private func lastKept(_ count: Int, most: Int, mass: Double) -> Candidate? {
        classes.update(repeating: LikelihoodClass())
        for candidate in candidates[..<count] {
            let index = Self.classIndex(candidate)
            classes[index].count += 1
            classes[index].mass += Double(candidate.weight)
        }
        var before = LikelihoodClass()
        for (index, own) in classes.enumerated() where own.count > 0 {
            if before.count + own.count >= most || before.mass + own.mass >= mass {
                return lastKept(count, inClass: index, most: most, mass: mass, before)
            }
            before.count += own.count
            before.mass += own.mass
        }
        return nil
    }

    private func lastKept(
        _ count: Int, inClass index: Int, most: Int, mass: Double, _ before: LikelihoodClass
    ) -> Candidate? {
        var size = 0
        for candidate in candidates[..<count] where Self.classIndex(candidate) == index {
            edge[size] = candidate
            size += 1
        }
        for root in stride(from: size / 2 - 1, through: 0, by: -1) { sink(root, in: size) }
        var sum = before
        while true {
            let likeliest = edge[0]
            sum.count += 1
            sum.mass += Double(likeliest.weight)
            size -= 1
            if sum.count >= most || sum.mass >= mass || size == 0 { return likeliest }
            edge[0] = edge[size]
            sink(0, in: size)
        }
    }

    /// Moves an entry of the heap of `size` entries in `edge` below all that are likelier.
    private func sink(_ start: Int, in size: Int) {
        var place = start
        while true {
            var likeliest = place
            for child in 2 * place + 1...2 * place + 2
            where child < size && Candidate.isLikelier(edge[child], edge[likeliest]) {
                likeliest = child
            }
            if likeliest == place { return }
            edge.swapAt(place, likeliest)
            place = likeliest
        }
    }

    private static func classIndex(_ candidate: Candidate) -> Int {
        Int(min(Float(classCount - 1), -candidate.scaled * classesPerUnit))
    }
}
