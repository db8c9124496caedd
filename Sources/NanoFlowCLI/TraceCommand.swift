import ArgumentParser
import Foundation
import NanoDevice
import NanoFlow

/// `nanoflow trace`: runs requests and shows what each execution unit did.
struct TraceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "trace", abstract: "Shows what each execution unit runs, and when.",
        discussion: """
            Runs the requests as `bench offline` does and writes the last steps that the engine's \
            timeline still holds: every nano-operation with its unit, start, end, operations and \
            bytes. --out opens in Perfetto and in Chrome; --svg draws one layer.
            """)

    @OptionGroup var options: BenchModelOptions

    @Option(help: "How operations are ordered: sequential, nano-batched, overlapped or auto.")
    var mode: PipelineMode = .auto

    @Option(help: "Write the trace in Chrome's format to this file.")
    var out: String?

    @Option(help: "Write the picture of one layer's pipeline to this file.")
    var svg: String?

    @Option(
        help: """
            Stop the requests after so many steps, so that the trace shows the engine in the midst \
            of them (default: run all to their ends).
            """)
    var steps: Int?

    func validate() throws {
        guard out != nil || svg != nil else { throw ValidationError("Give --out, --svg or both.") }
        guard steps.map({ $0 > 0 }) ?? true else {
            throw ValidationError("--steps must be at least 1.")
        }
        guard out != "-", svg != "-" else {
            throw ValidationError("--out and --svg take files, not standard output.")
        }
        try options.engine.checkPlan(mode: mode)
        try checkWritable(out, option: "--out")
        try checkWritable(svg, option: "--svg")
    }

    func run() async throws {
        do {
            let workload = try options.requests.read()
            let llm = try await options.load(workload) { $0.pipeline.mode = mode }
            try await run(workload, llm)
            let trace = PipelineTrace(
                llm.engine.timeline, llm.engine.history,
                unitCount: llm.engine.settings.threadCount)
            try write(trace, llm)
            await llm.shutdown()
        } catch let error as NanoFlowError {
            throw failure(error)
        }
    }

    /// Runs the workload, or as many of its steps as are wanted.
    private func run(_ workload: Workload, _ llm: LLM) async throws {
        let run = try OfflineRun(workload, on: llm, ignoresEndOfSequence: true)
        guard let steps else {
            _ = try await run.showingProgress(llm)
            return
        }
        let hasEnded = Locked(false)
        let task = Task {
            defer { hasEnded.withLock { $0 = true } }
            _ = try await run.showingProgress(llm)
        }
        while llm.engine.counters.sums.steps < steps, !hasEnded.withLock({ $0 }) {
            try await Task.sleep(for: .milliseconds(5))
        }
        task.cancel()
        do {
            try await task.value
        } catch is CancellationError {
            // Enough steps have run.
        }
    }

    private func write(_ trace: PipelineTrace, _ llm: LLM) throws {
        guard !trace.events.isEmpty else {
            printError("nanoflow: the timeline is too short to hold one step of this in whole.")
            throw ExitCode.failure
        }
        if let out {
            let file = try ChromeTrace(trace, kernel: llm.engine.kernelName).encoded()
            try file.write(to: URL(fileURLWithPath: out))
        }
        guard let svg else { return }
        guard let excerpt = trace.excerpt else {
            printError("nanoflow: no step is whole in the timeline; nothing to draw.")
            throw ExitCode.failure
        }
        let peaks = Peaks(llm.engine)
        let drawing = PipelineDrawing(
            excerpt, unitCount: trace.unitCount,
            roofs: PipelineDrawing.Roofs(
                operations: peaks.operations, bytes: peaks.readBandwidth),
            title: "\(llm.modelName), \(mode.rawValue), "
                + "\(llm.engine.settings.precision.rawValue), KV cache "
                + "\(llm.engine.settings.kvPrecision.rawValue), \(llm.engine.kernelName)")
        try drawing.svg.write(toFile: svg, atomically: true, encoding: .utf8)
    }
}
