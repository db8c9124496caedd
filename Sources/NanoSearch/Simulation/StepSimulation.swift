package import NanoFlow

/// A step on a virtual clock: which nano-operation ran when.
package struct SimulatedStep: Sendable, Hashable {
    /// A nano-operation by its index in the graph, from its first to its last moment at work.
    package struct Event: Sendable, Hashable {
        package let operation: Int
        package let lane: Int
        package let start: Double
        package let end: Double
    }

    package let seconds: Double
    /// In the order of their ends.
    package let events: [Event]
}

/// Runs an arranged plan as the execution units do, but with durations from a ``DeviceModel``.
///
/// Work flows: between two moments at which an operation begins or ends every operation at work has
/// one speed. As in the executor a lane runs its operations in their order, each when what it depends
/// on has ended, and units take the first of their lanes that has something ready.
package struct StepSimulation: ~Copyable {
    private let arranged: ArrangedPlan
    private let device: any DeviceModel
    private let groups: [Group]
    /// Solo seconds of the second lane for each of the first lane's products.
    private let memoryPerProduct: Double

    private var now = 0.0
    private var positions: [Int]
    private var remaining: [Double]
    private var begins: [Double?]
    private var ends: [Double?]
    private var events: [SimulatedStep.Event] = []

    /// Units of one role.
    private struct Group {
        let share: Double
        let lanes: [Int]
        let prefetchRate: Double
    }

    /// The step's time on the device.
    package static func run(_ arranged: ArrangedPlan, on device: any DeviceModel) -> SimulatedStep {
        run(arranged, durations: durations(arranged.graph, on: device), on: device)
    }

    /// The seconds of each nano-operation alone; looked up once for each kind and nano-batch, since
    /// layers are alike.
    static func durations(_ graph: NanoGraph, on device: any DeviceModel) -> [Double] {
        var known: [DurationKey: Double] = [:]
        return graph.operations.map { operation in
            let key = DurationKey(kind: operation.kind, nanoBatch: operation.nanoBatch)
            if let seconds = known[key] { return seconds }
            let seconds = device.seconds(of: operation, in: graph.layout)
            known[key] = seconds
            return seconds
        }
    }

    /// The step's time where the nano-operations' times alone are known.
    static func run(
        _ arranged: ArrangedPlan, durations: [Double], on device: any DeviceModel
    ) -> SimulatedStep {
        var simulation = StepSimulation(arranged, durations, device)
        while simulation.advance() {}
        return SimulatedStep(seconds: simulation.now, events: simulation.events)
    }

    private init(_ arranged: ArrangedPlan, _ durations: [Double], _ device: any DeviceModel) {
        (self.arranged, self.device) = (arranged, device)
        let plan = arranged.plan
        groups = plan.units.map { unit in
            let named = unit.lanes.compactMap { name in
                plan.lanes.firstIndex { $0.name == name }
            }
            let others = plan.lanes.indices.filter { !named.contains($0) }
            return Group(
                share: unit.share, lanes: named + others, prefetchRate: unit.prefetchRate)
        }
        let operations = arranged.graph.operations
        remaining = durations
        positions = arranged.lanes.map { _ in 0 }
        begins = operations.map { _ in nil }
        ends = begins
        var (memory, products) = (0.0, 0.0)
        for (operation, seconds) in zip(operations, remaining) {
            if operation.kind.resource == .memory { memory += seconds }
            if operation.kind.isProduct { products += seconds }
        }
        memoryPerProduct = products > 0 ? memory / products : 0
    }

    private struct DurationKey: Hashable {
        let kind: NanoFlow.Operation.Kind
        let nanoBatch: Int
    }

    /// Goes on to the next moment at which something begins or ends; false: all has ended.
    private mutating func advance() -> Bool {
        let heads = arranged.lanes.indices.map { head(of: $0) }
        guard heads.contains(where: { $0 != nil }) else { return false }
        let ready = heads.map { $0.flatMap { readyTime(of: $0) } }
        let speeds = speeds(heads, isReady: ready.map { $0.map { $0 <= now } ?? false })
        var step = Double.infinity
        for lane in heads.indices {
            if let time = ready[lane], time > now { step = min(step, time - now) }
            if let operation = heads[lane], speeds[lane] > 0 {
                begins[operation] = begins[operation] ?? now
                step = min(step, remaining[operation] / speeds[lane])
            }
        }
        precondition(step.isFinite, "An arranged plan comes to its end.")
        now += step
        for lane in heads.indices {
            guard let operation = heads[lane], speeds[lane] > 0 else { continue }
            remaining[operation] -= speeds[lane] * step
            // What is left by rounding alone would be a step of its own.
            if remaining[operation] <= 1e-12 { end(operation, lane) }
        }
        return true
    }

    private mutating func end(_ operation: Int, _ lane: Int) {
        positions[lane] += 1
        ends[operation] = now
        events.append(
            SimulatedStep.Event(
                operation: operation, lane: lane, start: begins[operation] ?? now, end: now))
    }

    private func head(of lane: Int) -> Int? {
        positions[lane] < arranged.lanes[lane].count
            ? arranged.lanes[lane][positions[lane]] : nil
    }

    /// When the operation may begin; nil: what it depends on is still at work.
    private func readyTime(of operation: Int) -> Double? {
        var time = 0.0
        for dependency in arranged.graph.operations[operation].dependencies {
            guard let end = ends[dependency] else { return nil }
            time = max(time, end + device.handoverSeconds)
        }
        return time
    }

    /// Solo seconds of work done in a second, by lane.
    private func speeds(_ heads: [Int?], isReady: [Bool]) -> [Double] {
        var shares = heads.map { _ in 0.0 }
        var coIssued: (product: Int, memory: Int, rate: Double)?
        for group in groups {
            guard let lane = group.lanes.first(where: { isReady[$0] }) else { continue }
            shares[lane] += group.share
            if group.prefetchRate > 0, lane == group.lanes[0], kind(heads[lane])?.isProduct == true,
                let second = group.lanes.dropFirst().first, isReady[second],
                kind(heads[second])?.resource == .memory
            {
                coIssued = (lane, second, group.prefetchRate)
            }
        }
        let isAlone = shares.count { $0 > 0 } == 1
        var speeds = shares.indices.map { lane -> Double in
            guard shares[lane] > 0, let kind = kind(heads[lane]) else { return 0 }
            return isAlone && shares[lane] > 1 - 1e-9
                ? 1 : device.speed(of: kind.resource, share: shares[lane])
        }
        if let coIssued {
            let factors = device.coIssue(rate: coIssued.rate, reading: memoryPerProduct)
            let memory = coIssued.rate * memoryPerProduct
            let product = speeds[coIssued.product] / (factors.product + memory * factors.memory)
            speeds[coIssued.product] = product
            speeds[coIssued.memory] += memory * product
        }
        return speeds
    }

    private func kind(_ operation: Int?) -> NanoFlow.Operation.Kind? {
        operation.map { arranged.graph.operations[$0].kind }
    }
}
