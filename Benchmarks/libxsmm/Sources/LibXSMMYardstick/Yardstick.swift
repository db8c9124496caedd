import CLibXSMM
import Foundation
import NanoDevice

/// Times libxsmm's products beside the peaks measured in the same run.
@main struct Yardstick {
    private static let usage = "usage: LibXSMMYardstick [--json FILE] [--filter TEXT]"

    static func main() throws {
        guard let options = options(CommandLine.arguments.dropFirst()) else {
            FileHandle.standardError.write(Data("\(usage)\n".utf8))
            exit(64)
        }
        let machine = Machine.current()
        let threads = machine.usableThreadCount
        let cases = cases(filter: options["--filter"])
        var benchmark = try KernelBenchmark(
            kernels: .best, threads: threads, cpus: machine.allowedCPUs)
        var report = try benchmark.run(cases, progress: { _, _ in }) { kernelCase in
            guard case .product(let shape) = kernelCase.work,
                let work = LibXSMMWork(shape, threads: threads)
            else { preconditionFailure("Cases were chosen that libxsmm has products for.") }
            return work
        }
        report.kernels = report.kernels.map { result in
            var named = result
            named.name =
                result.name == "gemm_int8_pc" ? "libxsmm_gemm_int8" : "libxsmm_\(result.name)"
            named.kernel = "libxsmm_\(String(cString: lxp_target()))"
            return named
        }
        for result in report.kernels { print(line(result)) }
        if let path = options["--json"] { try write(report, to: path) }
    }

    /// Pairs of an option and its value; nil where there is anything else.
    private static func options(_ arguments: ArraySlice<String>) -> [String: String]? {
        var options: [String: String] = [:]
        var rest = arguments
        while let name = rest.popFirst() {
            guard ["--json", "--filter"].contains(name), let value = rest.popFirst() else {
                return nil
            }
            options[name] = value
        }
        return options
    }

    /// The shapes of `nanoflow bench kernels` with rows enough to keep the arithmetic busy.
    private static func cases(filter: String?) -> [KernelCase] {
        KernelCatalog.cases().filter { kernelCase in
            guard case .product(let shape) = kernelCase.work, shape.rows > 1,
                [.int8PerChannel, .bf16, .f32].contains(shape.format),
                filter.map(kernelCase.label.contains) ?? true
            else { return false }
            return LibXSMMWork.isSupported(shape)
        }
    }

    private static func line(_ result: KernelBenchmarkReport.Result) -> String {
        let name = result.name.padding(toLength: 20, withPad: " ", startingAt: 0)
        let shape = result.shape.description.padding(toLength: 24, withPad: " ", startingAt: 0)
        let figures = String(
            format: "%8.1f %@  %5.1f %% of peak", result.rate, result.unit, result.ratioOfPeak * 100
        )
        return "\(name) \(shape) \(figures)"
    }

    private static func write(_ report: KernelBenchmarkReport, to path: String) throws {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        try encoder.encode(report).write(to: URL(fileURLWithPath: path))
    }
}
