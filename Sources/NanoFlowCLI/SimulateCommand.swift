import ArgumentParser
import Foundation
import NanoFlow
import NanoModel
import NanoSearch

/// `nanoflow simulate`: what the pipeline would bring on a device that is not at hand.
struct SimulateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "simulate",
        abstract: "Serves requests on a simulated device, on a virtual clock.",
        discussion: """
            The engine's scheduler forms the steps, all requests arriving at once, and each step's \
            time is that of a pipeline plan on a described device: in sequence, cut into nano-batches \
            without overlap, and with the plans that the search finds. The figures are the same in \
            every run. What a device's description rests on is printed with them.
            """)

    @Option(help: "The device.")
    var device: DescribedDevice

    @Option(help: "The model's shape.")
    var model: PublishedShape

    @Option(help: "Lengths of the requests: a built-in workload.")
    var workload: WorkloadLengths?

    @Option(
        help: """
            Lengths of the requests: a CSV file with the columns ContextTokens and GeneratedTokens, \
            instead of --workload.
            """)
    var trace: String?

    @Option(help: "Requests.")
    var requests = 5000

    @Option(help: "Tokens in one step, and sequences that run at once.")
    var maxNumBatchedTokens = 2048

    @Option(help: "Chooses the lengths of a built-in workload.")
    var seed: UInt64 = 0

    @Option(help: "Write the figures as JSON to this file; - is standard output.")
    var json: String?

    func validate() throws {
        guard (workload == nil) != (trace == nil) else {
            throw ValidationError("Give one of --workload and --trace.")
        }
        guard (1...100_000).contains(requests) else {
            throw ValidationError("--requests must be 1 to 100000. Given: \(requests).")
        }
        guard (16...65_536).contains(maxNumBatchedTokens) else {
            throw ValidationError(
                "--max-num-batched-tokens must be 16 to 65536. Given: \(maxNumBatchedTokens).")
        }
        try checkWritable(json)
    }

    func run() throws {
        let simulated = SimulatedDevice(
            device, model.configuration(layerCount: model.layerCount))
        guard simulated.cachedTokenCount >= simulated.model.contextLength else {
            throw ValidationError(
                "\(model.rawValue) does not fit \(device.title): its memory has no room for "
                    + "the weights and one sequence.")
        }
        do {
            let lengths = try lengths(maxLength: simulated.model.contextLength)
            let progress = ProgressLine()
            let simulation = ServingSimulation(
                lengths, on: simulated, tokenBudget: maxNumBatchedTokens
            ) { progress.show($0, $1) }
            progress.clear()
            let report = SimulationReport(self, simulated, simulation)
            if json != "-" { print(report.text) }
            if let json { try writeJSON(report, to: json) }
        } catch let error as NanoFlowError {
            throw failure(error)
        }
    }

    private func lengths(maxLength: Int) throws(NanoFlowError) -> [Workload.Request] {
        if let workload {
            return workload.requests(count: requests, seed: seed, maxLength: maxLength)
        }
        let limits = Workload.TraceLimits(requestCount: requests)
        return try Workload(trace: trace ?? "", limits: limits, seed: seed).requests.map {
            $0.cut(to: maxLength)
        }
    }
}

extension WorkloadLengths: ExpressibleByArgument {}

extension DescribedDevice: ExpressibleByArgument {
    package init?(argument: String) {
        guard let device = Self.all.first(where: { $0.name == argument }) else { return nil }
        self = device
    }

    package static var allValueStrings: [String] { all.map(\.name) }
}
