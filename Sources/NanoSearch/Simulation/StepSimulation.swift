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
    // By lane, and only while time advances.
    private var heads: [Int?]
    private var ready: [Double]
    private var speeds: [Double]

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
        heads = arranged.lanes.map { _ in nil }
        ready = arranged.lanes.map { _ in 0 }
        speeds = ready
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
        var hasWork = false
        for lane in heads.indices {
            heads[lane] = head(of: lane)
            ready[lane] = heads[lane].flatMap { readyTime(of: $0) } ?? .infinity
            hasWork = hasWork || heads[lane] != nil
        }
        guard hasWork else { return false }
        setSpeeds()
        var step = Double.infinity
        for lane in heads.indices {
            if ready[lane] > now { step = min(step, ready[lane] - now) }
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

    /// Works out each lane's solo seconds of work in a second.
    private mutating func setSpeeds() {
        for lane in speeds.indices { speeds[lane] = 0 }
        var coIssued: (product: Int, memory: Int, rate: Double)?
        for group in groups {
            guard let lane = group.lanes.first(where: { ready[$0] <= now }) else { continue }
            // A share of the units first.
            speeds[lane] += group.share
            if group.prefetchRate > 0, lane == group.lanes[0], kind(heads[lane])?.isProduct == true,
                let second = group.lanes.dropFirst().first, ready[second] <= now,
                kind(heads[second])?.resource == .memory
            {
                coIssued = (lane, second, group.prefetchRate)
            }
        }
        let isAlone = speeds.count { $0 > 0 } == 1
        for lane in speeds.indices where speeds[lane] > 0 {
            guard let kind = kind(heads[lane]) else { continue }
            speeds[lane] =
                isAlone && speeds[lane] > 1 - 1e-9
                ? 1 : device.speed(of: kind.resource, share: speeds[lane])
        }
        guard let coIssued else { return }
        let factors = device.coIssue(rate: coIssued.rate, reading: memoryPerProduct)
        let memory = coIssued.rate * memoryPerProduct
        let product = speeds[coIssued.product] / (factors.product + memory * factors.memory)
        speeds[coIssued.product] = product
        speeds[coIssued.memory] += memory * product
    }

    private func kind(_ operation: Int?) -> NanoFlow.Operation.Kind? {
        operation.map { arranged.graph.operations[$0].kind }
    }
}
