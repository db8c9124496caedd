import Foundation
import NanoFlow
import NanoSearch
import NanoTestSupport
import Testing

/// Tuning on a machine whose best plans are known.
@Suite struct TunerTests {
    static let layerCount = 12

    static func tune(
        _ machine: MadeUpMachine, prompt: Int, completion: Int, seconds: Double = 30,
        limits: Scheduler.Limits = .tuning
    ) throws(NanoFlowError) -> Tuning {
        let request = Workload.Request(
            prompt: .random(count: prompt), outputLength: completion)
        var tuner = Tuner(
            TuningTask(
                layerCount: layerCount, limits: limits, unitCount: 2,
                requests: [Workload.Request](repeating: request, count: 64), seconds: seconds),
            profile: MachineProfile(
                MeasuredDeviceTests.fingerprint, layerCount: 8, unitCount: 2),
            runner: machine, elapsed: { machine.seconds }, save: { _ in }, progress: { _, _ in })
        return try tuner.run()
    }

    /// What a plan really takes, when nothing disturbs the machine.
    static func trueSeconds(
        _ plan: PipelinePlan, _ batch: Batch, _ device: KnownDevice
    ) -> Double {
        var predictor = StepPredictor(
            batch, layerCount: layerCount, graph: { .decoder(layerCount: $0) }, on: device)
        return predictor.seconds(plan) ?? .infinity
    }

    /// The default generator's plans.
    static let grid: [PipelinePlan] = {
        let graph = OperationGraph.decoder(layerCount: layerCount)
        var plans = [PipelinePlan.sequential(graph), .nanoBatched(graph)]
        for shares in [[0.5, 0.5], [1.0 / 3, 1.0 / 3, 1.0 / 3]] {
            for rate in [0.75, 1, 1.5, 2] {
                var numbers = PlanNumbers(rate: rate)
                numbers.shares = shares
                plans.append(.overlapped(graph, numbers))
            }
        }
        return plans
    }()

    @Test(arguments: 1...3)
    func thePlansAreAsFastAsAnyOfTheGrid(seed: Int) throws {
        let machine = MadeUpMachine(seed: UInt64(seed))
        let tuning = try Self.tune(machine, prompt: 256, completion: 256)
        #expect(!tuning.shapes.isEmpty)
        for shape in tuning.shapes {
            let batch = shape.entry.batch
            let tuned = Self.trueSeconds(shape.winner.plan, batch, machine.device)
            let best =
                Self.grid.map { Self.trueSeconds($0, batch, machine.device) }.min() ?? 0
            #expect(tuned <= 1.03 * best, "seed \(seed): \(shape.entry.shape)")
        }
        let errors = tuning.predictionErrors
        #expect(errors.median < 0.05, "seed \(seed): \(errors)")
    }

    @Test func tuningEndsInTime() throws {
        for seconds in [3.0, 20] {
            let machine = MadeUpMachine(seed: 9)
            let tuning = try Self.tune(machine, prompt: 256, completion: 64, seconds: seconds)
            // One step with the reference beside it may be under way.
            #expect(machine.seconds < seconds + 1, "\(seconds): \(machine.seconds)")
            let graph = OperationGraph.decoder(layerCount: Self.layerCount)
            #expect(tuning.table.entries.allSatisfy { $0.plan.fault(for: graph) == nil })
        }
    }

    @Test func theWorkloadChangesThePlan() throws {
        var device = KnownDevice()
        device.secondsPerBlock = 1e-6
        let long = try Self.tune(MadeUpMachine(device, seed: 10), prompt: 768, completion: 96)
        let short = try Self.tune(MadeUpMachine(device, seed: 10), prompt: 16, completion: 16)
        #expect(long.shapes.contains { $0.winner.numbers != nil })
        #expect(short.table.entries.allSatisfy { $0.plan.nanoBatches.count == 1 })
        // Batches that the workload does not have run as those that took most time.
        #expect(long.table.entries.last?.shape == .enoughToRead)
    }

    @Test func dearCutsAreNotMade() throws {
        var device = KnownDevice()
        device.secondsPerProduct = 2e-3
        let tuning = try Self.tune(
            MadeUpMachine(device, seed: 11), prompt: 512, completion: 64, seconds: 200)
        #expect(tuning.shapes.allSatisfy { $0.winner.numbers == nil })
    }

    // MARK: - At the limits

    @Test func withoutTimeToMeasureThereAreNoPlans() {
        let machine = MadeUpMachine(seed: 12)
        let error = #expect(throws: NanoFlowError.self) {
            try Self.tune(machine, prompt: 64, completion: 64, seconds: 0.05)
        }
        #expect(error?.field == "budget")
    }

    /// Engines with hardly any room are tuned as others are.
    @Test(arguments: [(1, 16, 64), (4, 1, 64), (1, 1, 3), (200, 512, 48), (3, 40, 100)])
    func smallEnginesAreTuned(sequences: Int, tokens: Int, length: Int) throws {
        let limits = Scheduler.Limits(
            sequences: sequences, batchedTokens: tokens, logitRows: max(1, min(sequences, tokens)),
            blockSize: 64, blockCount: 2 * sequences + 2, sequenceLength: length)
        let cases = ProfileCase.all(limits, unitCount: 2, sharings: .tested)
        #expect(!cases.isEmpty)
        for step in cases {
            let batch = step.batch
            #expect(batch.tokenCount <= tokens && batch.items.count <= limits.sequences)
            #expect(batch.items.count <= limits.logitRows)
            #expect(batch.items.allSatisfy { $0.positions.upperBound < length })
            #expect(batch.items.allSatisfy { $0.positions.lowerBound >= 0 })
        }
        guard length > 3 else { return }
        let tuning = try Self.tune(
            MadeUpMachine(seed: 13), prompt: length / 2, completion: length / 4, seconds: 60,
            limits: limits)
        #expect(!tuning.shapes.isEmpty && tuning.missingCount == 0)
        #expect(tuning.tokenBudget <= tokens && tuning.tokenBudgets.allSatisfy { $0.tuned > 0 })
    }

    // MARK: - What is chosen

    @Test func gainsWeighPredictionAndMeasurement() {
        let graph = OperationGraph.decoder(layerCount: 2)
        let batch = Batch(
            step: 1, items: (0..<64).map { .decode(slot: $0, position: 1500) })
        var classes = ShapeClasses()
        classes.add(batch, seconds: 1)
        let entry = classes.entries(count: 1, share: 0)[0]
        let search = PlanSearch.run(
            SearchSpace(sharings: [.init(prefetchRate: 1)]), graph,
            StepPredictor(
                batch, layerCount: 2, graph: { .decoder(layerCount: $0) }, on: KnownDevice()))
        func shape(_ base: [Double], _ other: [Double], predicted: Double) -> Tuning.Shape {
            var candidates = [
                Tuning.Candidate(.sequential(graph), nil, predictedSeconds: 1),
                Tuning.Candidate(
                    .overlapped(graph), PlanNumbers(), predictedSeconds: predicted),
            ]
            (candidates[0].samples, candidates[1].samples) = (base, other)
            return Tuning.Shape(
                entry: entry, timeShare: 1, search: search, kinds: [:], candidates: candidates)
        }
        #expect(abs(shape([], [], predicted: 0.8).gain(1) - 1.25) < 1e-9)
        // One run against the prediction counts less than five.
        let one = shape([1], [1], predicted: 0.9).gain(1)
        let five = shape([1, 1, 1, 1, 1], [1, 1, 1, 1, 1], predicted: 0.9).gain(1)
        #expect(1 < five && five < one && one < 1 / 0.9)
        // No plan is a hundred times as fast.
        let lucky = shape([1, 1, 1], [0.01, 0.01, 0.01], predicted: 0.9).gain(1)
        #expect(lucky <= search.potential)
    }
}
