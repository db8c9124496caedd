import ArgumentParser
import Foundation
import NanoDevice

/// `nanoflow bench kernels`: every kernel at the shapes of real models, beside the machine's peaks.
struct BenchKernelsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kernels",
        abstract: "Measures every kernel at real shapes against the machine's peaks.",
        discussion: """
            Takes two to three minutes, with --quick some 20 seconds. Let nothing else run \
            meanwhile.

            All threads work at once, each on its own share. Fifteen rounds of 8 ms of a kernel \
            take turns with rounds of the peaks that bound it. A round's ratio is to the higher \
            of the peaks just before and after it; rates and ratios are the rounds' medians, in \
            seconds that the threads have their CPUs. The peaks at the top are the highest of \
            the run.

            Weights are random and come from memory, as do the keys and values of decode \
            attention; with up to 16 rows, and in decode attention, the larger of the ratios to \
            arithmetic and to read bandwidth is given. Prefill attention finds its keys and \
            values in the caches. So do row kernels: what they read and write is held against \
            the memory's read bandwidth, and may exceed it.
            """)

    @Option(
        help: """
            Kernels: auto (the fastest on this CPU), avx512 (with VNNI and BF16), \
            avx512-vnni, avx2 or portable.
            """)
    var kernels: KernelOption = .auto

    @Option(help: "Threads (default: the CPUs that this process may use).")
    var threads: Int?

    @Option(
        help: ArgumentHelp(
            "Only lines with this text in name, shape, operation or models, as gemm_int8 or m96.",
            valueName: "text"))
    var filter: String?

    @Flag(help: "Only 96 rows, 1024 tokens, and the smaller models.")
    var quick = false

    @Option(help: "Write the figures as JSON to this file; - is standard output.")
    var json: String?

    func validate() throws {
        let cpuCount = Machine.current().allowedCPUs.count
        guard (1...cpuCount).contains(threads ?? 1) else {
            throw ValidationError(
                "--threads must be 1 to \(cpuCount), the CPUs that this process may use. "
                    + "Given: \(threads ?? 1).")
        }
        guard !cases.isEmpty else {
            throw ValidationError("--filter: no kernel has this text. Given: \(filter ?? "").")
        }
        try checkWritable(json)
    }

    func run() throws {
        let machine = Machine.current()
        let progress = ProgressLine()
        do {
            progress.show("filling memory", 0)
            var benchmark = try KernelBenchmark(
                kernels: Kernels(kernels.instructionSet ?? .best),
                threads: threads ?? machine.usableThreadCount, cpus: machine.allowedCPUs)
            let report = try benchmark.run(cases, progress: progress.show)
            progress.clear()
            if json != "-" { print(KernelTable(report).text) }
            if let json { try writeJSON(report, to: json) }
        } catch let error as KernelBenchmarkError {
            progress.clear()
            printError("nanoflow: \(error)")
            throw ExitCode(4)
        }
    }

    private var cases: [KernelCase] {
        let all = quick ? KernelCatalog.quickCases() : KernelCatalog.cases()
        guard let filter else { return all }
        return all.filter { $0.label.contains(filter) }
    }
}

/// The report as text for a terminal.
private struct KernelTable {
    private let report: KernelBenchmarkReport

    init(_ report: KernelBenchmarkReport) { self.report = report }

    var text: String { ([peaks, "", heading] + report.kernels.map(line)).joined(separator: "\n") }

    private var peaks: String {
        let peaks = report.peaks
        return String(
            format: "peaks of %@ on %d threads: int8 %.0f GOP/s, bf16 %.0f GFLOP/s, "
                + "f32 %.0f GFLOP/s, read %.1f GB/s",
            report.instructionSet, report.threads, peaks.int8 / 1e9, peaks.bf16 / 1e9,
            peaks.f32 / 1e9, peaks.read / 1e9)
    }

    private var heading: String {
        columns("kernel", "shape", "rate", "", "of peak", "bound", "for")
    }

    private func line(_ result: KernelBenchmarkReport.Result) -> String {
        columns(
            result.name, result.shape.description, String(format: "%.1f", result.rate), result.unit,
            String(format: "%.1f %%", result.ratioOfPeak * 100), result.bound.rawValue,
            [result.operation, result.models.joined(separator: ", ")].compactMap { $0 }
                .joined(separator: " of "))
    }

    private func columns(
        _ name: String, _ shape: String, _ rate: String, _ unit: String, _ ratio: String,
        _ bound: String, _ use: String
    ) -> String {
        pad(name, 24) + pad(shape, 28) + pad(rate, -8) + " " + pad(unit, 8) + pad(ratio, -8)
            + "  " + pad(bound, 9) + use
    }
}
