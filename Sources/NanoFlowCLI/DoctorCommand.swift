import ArgumentParser
import Foundation
import NanoDevice

/// `nanoflow doctor`: what the machine offers, what NanoFlow makes of it, and what would help.
struct DoctorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Describes the machine, measures its peaks, and says what would help.",
        discussion: """
            Takes about two seconds. For figures that are comparable, let nothing else run \
            meanwhile.
            """)

    @Option(help: "Write the findings as JSON to this file; - is standard output.")
    var json: String?

    func validate() throws {
        try checkWritable(json)
    }

    func run() throws {
        let machine = Machine.current()
        let progress = ProgressLine()
        let measurements = DoctorMeasurements(
            threadCount: machine.usableThreadCount, cpus: machine.allowedCPUs,
            progress: progress.show)
        progress.clear()
        let report = DoctorReport(
            machine: machine, topology: MachineTopology(allowedCPUs: machine.allowedCPUs),
            kernels: Kernels.best.name, measurements: measurements)
        if json != "-" { print(DoctorText(report).text) }
        if let json { try writeJSON(report, to: json) }
    }
}

/// The report as text for a terminal.
private struct DoctorText {
    private let report: DoctorReport

    init(_ report: DoctorReport) { self.report = report }

    var text: String { [facts, peaks, advice].joined(separator: "\n\n") }

    private var facts: String {
        let machine = report.machine
        let quota = machine.cpuQuota.map { "\(String(format: "%.2f", $0)) CPUs" } ?? "none"
        let units = ExecutionUnitMap(unitCount: report.threads, cpus: machine.allowedCpus)
        return """
            CPU         \(machine.cpuModel ?? "unknown")
            offers      \(listed(machine.instructionSets))
            kernels     \(report.kernels)
            caches      \(listed(machine.caches.map(describe)))
            memory      \(size(machine.memoryBytes)), \(size(machine.availableMemoryBytes)) \
            available, swap in use: \(size(machine.usedSwapBytes))
            huge pages  transparent: \(machine.hugePages.transparent ?? "unknown"), set aside: \
            \(machine.hugePages.reserved) of \(size(machine.hugePages.bytes))
            NUMA nodes  \(listed(machine.numaNodes.map(describe)))
            cpuset      CPUs \(ranges(machine.allowedCpus)) of \(ranges(machine.onlineCpus))
            cgroup      CPU quota: \(quota), memory limit: \
            \(machine.memoryLimitBytes.map(size) ?? "none")
            threads     \(units)
            """
    }

    private var peaks: String {
        var lines = ["measured peaks with \(report.peakInstructionSet) instructions:"]
        lines.append("             int8 GOP/s  bf16 GFLOP/s  f32 GFLOP/s  read GB/s")
        let rows = [(1, report.peaksOfOneThread), (report.threads, report.peaks)]
        for (threads, peaks) in report.threads > 1 ? rows : [rows[0]] {
            lines.append(
                String(
                    format: "%3d %@  %10.0f  %12.0f  %11.0f  %9.1f", threads,
                    threads == 1 ? "thread " : "threads", peaks.int8 / 1e9, peaks.bf16 / 1e9,
                    peaks.f32 / 1e9, peaks.read / 1e9))
        }
        let rates = report.readByThreads.map {
            String(format: "%d: %.1f", $0.threads, $0.bytesPerSecond / 1e9)
        }
        lines.append("read GB/s by threads: \(listed(rates))")
        return lines.joined(separator: "\n")
    }

    private var advice: String {
        guard !report.advice.isEmpty else { return "what would help: nothing that is known" }
        return (["what would help:"] + report.advice.map { "- \($0)" }).joined(separator: "\n")
    }

    private func describe(_ cache: DoctorReport.Cache) -> String {
        let name = cache.level == 1 ? "L1d" : "L\(cache.level)"
        let sharing = cache.cpus.count > 1 ? " for CPUs \(ranges(cache.cpus))" : ""
        return "\(name) \(size(cache.bytes))\(sharing)"
    }

    private func describe(_ node: DoctorReport.NUMANode) -> String {
        "node \(node.node) with CPUs \(ranges(node.cpus)) and \(size(node.memoryBytes))"
    }

    private func listed(_ parts: [String]) -> String {
        parts.isEmpty ? "unknown" : parts.joined(separator: ", ")
    }

    private func ranges(_ indices: [Int]) -> String {
        indices.isEmpty ? "unknown" : SystemText.indexRanges(indices)
    }

    private func size(_ byteCount: Int?) -> String {
        byteCount.map(MachineAdvice.byteText) ?? "unknown size"
    }
}
