import ArgumentParser
import Foundation
import NanoDevice
import NanoFlow
import NanoModel
import NanoSearch

struct TuneCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "tune", abstract: "x")
    @OptionGroup var options: ModelOptions

    func run() async throws {
        let configuration = options.engine.configuration
        let source = try ModelSource(options.model)
        let machine = Machine.current()
        let kernels = Kernels(configuration.instructionSet ?? .best)
        let settings = try EngineSettings(configuration, source: source, machine: machine)
        let fingerprint = PlanFingerprint(source.model, settings, kernels)
        let graph = OperationGraph.decoder(layerCount: source.model.layerCount)
        let progress = ProgressLine()
        let loaded = try LoadedModel(
            source, settings: settings, machine: machine, kernels: kernels,
            planner: StepPlanner(graph, table: nil, mode: .auto)
        ) { progress.show($0, $1) }
        let start = ContinuousClock.now
        let bench = StepBench(loaded, limits: settings.limits)
        printError("\nbench \(start.duration(to: .now))")
        let sharings = [0, 0.75, 1, 1.5, 2, 3].map { SearchSpace.Sharing(prefetchRate: $0, memoryShare: $0 == 0 ? 0.5 : 0) }
        let cases = ProfileCase.all(settings.limits, sharings: sharings)
        let depth = Int(ProcessInfo.processInfo.environment["DEPTH"] ?? "19")!
        var profile = MachineProfile(fingerprint, layerCount: depth, unitCount: settings.threadCount)
        _ = bench.run(cases[cases.count - 1].batch, .sequential(graph), layerCount: graph.layerCount)
        _ = bench.run(cases[cases.count - 1].batch, .sequential(graph), layerCount: graph.layerCount)
        var steady = SteadyRunner(bench, settings.limits, layerCount: depth)
        Profiler(cases, layerCount: depth).fill(&profile, with: &steady, hasTime: { true }) { progress.show("p", $1); _ = $0 }
        printError("\nprofile \(start.duration(to: .now))")
        var device = MeasuredDevice(profile)
        let r = steady.referenceSeconds.median * 1
        device.referenceSeconds = r
        printError("reference \(r)")
        for m in profile.measurements {
            let predictor = StepPredictor(m.step.batch, layerCount: depth, graph: { .decoder(layerCount: $0) }, on: device)
            var p = predictor
            let seconds = p.seconds(m.step.plan(.decoder(layerCount: depth)))!
            let med = m.median.scaled(by: r)
            print(m.step.decodes, m.step.context, m.step.chunks, m.step.position, m.step.sharing.map { "\($0.prefetchRate)/\($0.memoryShare)" } ?? "-", "n", m.samples.count, "spread", format(m.spread * 100, 1), "measured", format(med.seconds * 1e3, 2), "predicted", format(seconds * 1e3, 2), format(seconds / med.seconds, 3), "wait", format(med.waitingSeconds / med.seconds, 3))
        }
        print(device.handoverSeconds)
        for i in device.coIssues + device.shares { print(i) }
        loaded.stop()
    }
}
