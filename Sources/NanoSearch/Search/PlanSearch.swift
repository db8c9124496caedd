package import NanoFlow

/// A plan with the time that is predicted for it.
package struct PlanCandidate: Sendable, Hashable {
    package let plan: PipelinePlan
    /// nil: the sequential plan.
    package let numbers: PlanNumbers?
    package let seconds: Double
}

/// Looks for the fastest plan of one batch.
///
/// For each number of nano-batches in turn, as long as it helps: all orders, shares and sharings
/// together where they are few enough; otherwise as many orders as that, evenly spread, with equal
/// shares, and from the best of them on one thing after the other, until nothing gets better.
package struct PlanSearch {
    package struct Result: Sendable {
        /// The fastest first; the sequential plan is among them.
        package let ranked: [PlanCandidate]
        package let sequential: PlanCandidate
        package let evaluatedCount: Int
        /// Whether every plan of the space has been tried for every number of nano-batches that was
        /// looked at.
        package let isExhaustive: Bool
        /// No plan of any kind is faster: the resource with most to do, without a wait.
        package let lowerBound: Double

        package var best: PlanCandidate { ranked[0] }
        /// How many times as fast as the sequential plan a plan of any kind can be.
        package var potential: Double { sequential.seconds / lowerBound }
        /// What the best plan may have missed at most, as a part of its time.
        package var gap: Double { max(0, 1 - lowerBound / best.seconds) }
    }

    /// Plans that may be tried in whole.
    package static let exhaustiveCount = 1000
    /// Sharings that every order is tried with, orders that are tried again with other shares, and
    /// plans that are bettered step by step.
    private static let firstSharings = 4
    private static let promisingOrders = 48
    private static let starts = 4

    private let space: SearchSpace
    private let graph: OperationGraph
    private let segmentCount: Int
    private var predictor: StepPredictor
    private var found: [PlanNumbers: Double] = [:]
    private var evaluatedCount = 0

    /// - Parameters:
    ///   - space: The plans to choose from.
    ///   - graph: The model's operations.
    ///   - predictor: Of the batch.
    ///   - bestMemoryFactor: What co-issue makes of reading at best.
    /// - Returns: All plans that were tried, with their times.
    package static func run(
        _ space: SearchSpace, _ graph: OperationGraph, _ predictor: StepPredictor,
        bestMemoryFactor: Double = 1
    ) -> Result {
        var search = PlanSearch(space, graph, predictor)
        return search.run(bestMemoryFactor)
    }

    private init(_ space: SearchSpace, _ graph: OperationGraph, _ predictor: StepPredictor) {
        (self.space, self.graph, self.predictor) = (space, graph, predictor)
        segmentCount = PipelinePlan.segments(of: graph).count
    }

    private mutating func run(_ bestMemoryFactor: Double) -> Result {
        let plan = PipelinePlan.sequential(graph)
        guard let time = predictor.seconds(plan) else {
            preconditionFailure("The model's own order must respect all dependencies.")
        }
        let sequential = PlanCandidate(plan: plan, numbers: nil, seconds: time)
        var isExhaustive = true
        var best = Double.infinity
        for count in space.nanoBatchCounts {
            isExhaustive = searchAll(nanoBatchCount: count) && isExhaustive
            let fastest = found.values.min() ?? .infinity
            guard fastest < best else { break }
            best = fastest
        }
        var ranked = found.filter { $0.value.isFinite }.map { numbers, seconds in
            PlanCandidate(
                plan: .overlapped(graph, numbers), numbers: numbers, seconds: seconds)
        }
        ranked.append(sequential)
        ranked.sort { a, b in
            a.seconds != b.seconds ? a.seconds < b.seconds : a.key < b.key
        }
        return Result(
            ranked: ranked, sequential: sequential, evaluatedCount: evaluatedCount + 1,
            isExhaustive: isExhaustive,
            lowerBound: predictor.lowerBound(bestMemoryFactor: bestMemoryFactor))
    }

    /// Returns whether every plan was tried.
    private mutating func searchAll(nanoBatchCount count: Int) -> Bool {
        let orders = SearchSpace.orders(nanoBatchCount: count, segmentCount: segmentCount)
        let shares = space.shares(nanoBatchCount: count)
        if orders.count * shares.count * space.sharings.count <= Self.exhaustiveCount {
            _ = best(orders, shares, space.sharings)
            return true
        }
        let tried = orders.strided(to: Self.exhaustiveCount)
        let sharings = space.sharings.strided(
            to: min(Self.firstSharings, Self.exhaustiveCount / tried.count))
        let equal = [Double](repeating: 1 / Double(count), count: count)
        let ranked = best(tried, [equal], sharings)
        let promising = ranked.prefix(Self.promisingOrders).compactMap(\.order)
        for start in ranked.prefix(Self.starts) { climb(from: start, promising, shares) }
        return false
    }

    /// Varies sharing, shares and order, one after the other, until nothing gets better.
    private mutating func climb(
        from start: PlanNumbers, _ orders: [[PipelinePlan.Turn]], _ shares: [[Double]]
    ) {
        var current = start
        while true {
            let before = found[current] ?? .infinity
            for step in 0..<3 {
                let order = [current.order ?? []]
                let better =
                    switch step {
                    case 0: best(order, [current.shares], space.sharings)
                    case 1: best(order, shares, [current.sharing])
                    default: best(orders, [current.shares], [current.sharing])
                    }
                current = better.first ?? current
            }
            guard found[current] ?? .infinity < before else { return }
        }
    }

    /// Tries all combinations; returns those that run, one for each order, the fastest first.
    private mutating func best(
        _ orders: [[PipelinePlan.Turn]], _ shares: [[Double]], _ sharings: [SearchSpace.Sharing]
    ) -> [PlanNumbers] {
        var results: [(numbers: PlanNumbers, seconds: Double)] = []
        for order in orders {
            var fastest: (numbers: PlanNumbers, seconds: Double)?
            for shares in shares {
                for sharing in sharings {
                    let numbers = PlanNumbers(shares, order, sharing)
                    let seconds = evaluate(numbers)
                    if seconds < fastest?.seconds ?? .infinity { fastest = (numbers, seconds) }
                }
            }
            if let fastest { results.append(fastest) }
        }
        return results.sorted { $0.seconds < $1.seconds }.map(\.numbers)
    }

    private mutating func evaluate(_ numbers: PlanNumbers) -> Double {
        if let known = found[numbers] { return known }
        evaluatedCount += 1
        let seconds = predictor.seconds(.overlapped(graph, numbers)) ?? .infinity
        found[numbers] = seconds
        return seconds
    }
}

extension PlanCandidate {
    /// Tells plans of one time apart, so that the search ends with the same one each time.
    fileprivate var key: String {
        guard let numbers else { return "" }
        let turns = (numbers.order ?? []).map { "\($0.nanoBatch) \($0.segment) \($0.layerOffset)" }
        return "\(numbers.shares) \(numbers.prefetchRate) \(numbers.memoryShare) "
            + "\(numbers.networkShare) \(turns)"
    }
}

extension PlanNumbers {
    package init(_ shares: [Double], _ order: [PipelinePlan.Turn], _ sharing: SearchSpace.Sharing) {
        self.init()
        self.shares = shares
        self.order = order
        prefetchRate = sharing.prefetchRate
        memoryShare = sharing.memoryShare
        networkShare = sharing.networkShare
    }

    package var sharing: SearchSpace.Sharing {
        SearchSpace.Sharing(
            prefetchRate: prefetchRate, memoryShare: memoryShare, networkShare: networkShare)
    }
}

extension Array {
    /// At most `count` elements, evenly spread.
    fileprivate func strided(to count: Int) -> [Element] {
        guard self.count > count else { return self }
        return (0..<count).map { self[$0 * self.count / count + self.count / count / 2] }
    }
}
