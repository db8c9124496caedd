import Foundation
import NanoFlow
import NanoModel
import NanoSearch

/// The figures of a simulation, as text and as JSON.
struct SimulationReport: Encodable {
    private let schemaVersion = 1
    private let device: String
    private let deviceDescription: String
    private let deviceCount: Int
    private let source: String
    private let model: String
    private let workload: String
    private let requests: Int
    private let promptTokens: Int
    private let completionTokens: Int
    private let tokenBudget: Int
    private let tokensPerSecondPerDevice: Double
    private let optimalTokensPerSecondPerDevice: Double
    private let optimalRatio: Double
    private let modes: [String: Double]
    private let ratios: [String: Double]
    private let latencies: [String: Latencies]
    /// Times that a sequence gave up its blocks for another.
    private let preemptions: [String: Int]
    private let plans: [Plan]

    /// Seconds.
    fileprivate struct Latencies: Encodable {
        let meanNormalized: Double
        let medianNormalized: Double
        let medianFirstToken: Double
        let p99FirstToken: Double
    }

    private struct Plan: Encodable {
        let shape: PlanTable.ShapeClass
        let stepShare: Double
        let sequentialSeconds: Double
        let predictedSeconds: Double
        let lowerBoundSeconds: Double
        let numbers: PlanNumbers?
        let evaluated: Int
        let exhaustive: Bool
    }

    init(_ command: SimulateCommand, _ simulated: SimulatedDevice, _ simulation: ServingSimulation)
    {
        let described = simulated.device
        (device, deviceDescription, source) = (described.name, described.title, described.source)
        deviceCount = described.count
        model = command.model.rawValue
        workload = command.workload?.rawValue ?? command.trace ?? ""
        requests = command.requests
        tokenBudget = command.maxNumBatchedTokens
        var modes: [ServingSimulation.Mode: Double] = [:]
        for mode in ServingSimulation.Mode.allCases {
            modes[mode] = simulation.rate(mode)
        }
        let overlapped = modes[.overlapped] ?? 0
        let sequential = modes[.sequential] ?? 1
        tokensPerSecondPerDevice = overlapped
        optimalTokensPerSecondPerDevice = simulation.optimumPerDevice
        optimalRatio = overlapped / simulation.optimumPerDevice
        self.modes = Dictionary(uniqueKeysWithValues: modes.map { ($0.key.rawValue, $0.value) })
        ratios = [
            "nano_batched": (modes[.nanoBatched] ?? 0) / sequential,
            "overlapped": overlapped / sequential,
        ]
        let load = simulation.replays[.sequential]?.load ?? TokenLoad()
        (promptTokens, completionTokens) = (load.promptTokens, load.completionTokens)
        latencies = Dictionary(
            uniqueKeysWithValues: simulation.replays.map { ($0.key.rawValue, Latencies($0.value)) })
        preemptions = Dictionary(
            uniqueKeysWithValues: simulation.replays.map {
                ($0.key.rawValue, $0.value.preemptionCount)
            })
        let seconds = simulation.replays[.sequential]?.seconds ?? 1
        plans = simulation.plans.map { plan in
            Plan(
                shape: plan.shapeClass.shape, stepShare: plan.shapeClass.seconds / seconds,
                sequentialSeconds: plan.result.sequential.seconds,
                predictedSeconds: plan.result.best.seconds,
                lowerBoundSeconds: plan.result.lowerBound, numbers: plan.result.best.numbers,
                evaluated: plan.result.evaluatedCount, exhaustive: plan.result.isExhaustive)
        }
    }

    var text: String {
        let rows = ServingSimulation.Mode.allCases.map { mode -> String in
            let rate = modes[mode.rawValue] ?? 0
            let latency = latencies[mode.rawValue]
            return pad(mode.rawValue, 16) + pad(format(rate, 0), -12)
                + pad(format(rate / optimalTokensPerSecondPerDevice * 100, 1) + " %", -11)
                + pad(format(rate / (modes["sequential"] ?? 1), 3), -14)
                + pad(format((latency?.meanNormalized ?? 0) * 1e3, 0) + " ms", -14)
                + pad(format(latency?.medianFirstToken ?? 0, 1) + " s", -14)
                + pad("\(preemptions[mode.rawValue] ?? 0)", -11)
        }
        let planRows = plans.map { plan -> String in
            pad(plan.shape.text, 58) + pad(format(plan.stepShare * 100, 0) + " %", -6)
                + pad(format(plan.sequentialSeconds * 1e3, 1), -12)
                + pad(format(plan.predictedSeconds * 1e3, 1), -12)
                + pad(format(plan.lowerBoundSeconds * 1e3, 1), -10) + "  "
                + (plan.numbers?.text ?? "sequential")
        }
        return """
            device      \(deviceDescription)
            model       \(model)
            requests    \(requests) of \(workload), all at once: \(promptTokens) prompt and \
            \(completionTokens) completion tokens, at most \(tokenBudget) tokens a step
            optimum     \(format(optimalTokensPerSecondPerDevice, 0)) tokens/s a device

            \(pad("mode", 16))\(pad("tokens/s", -12))\(pad("optimum", -11))\
            \(pad("/ sequential", -14))\(pad("per token", -14))\(pad("first token", -14))\
            \(pad("preempted", -11))
            \(rows.joined(separator: "\n"))

            \(pad("steps", 58))\(pad("time", -6))\(pad("sequential", -12))\
            \(pad("overlapped", -12))\(pad("bound", -10))  plan
            \(planRows.joined(separator: "\n"))

            tokens/s are those of one device; a step's times in ms. Per token: a request's whole time
            by its completion's tokens, on average; first token: median.
            Preempted: times that a sequence gave up its blocks and computed them anew.
            \(source)
            """
    }
}

extension SimulationReport.Latencies {
    fileprivate init(_ replay: Replay) {
        let normalized = replay.normalizedLatencies.sorted()
        let first = replay.firstTokenSeconds.sorted()
        meanNormalized = normalized.reduce(0, +) / Double(max(1, normalized.count))
        medianNormalized = normalized.isEmpty ? 0 : normalized[normalized.count / 2]
        medianFirstToken = first.isEmpty ? 0 : first[first.count / 2]
        p99FirstToken = first.isEmpty ? 0 : first[first.count * 99 / 100]
    }
}
