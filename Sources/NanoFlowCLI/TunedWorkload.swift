import Foundation
import NanoFlow
import NanoSearch
import NanoTokenizer

/// What to tune for.
struct TunedWorkload: Sendable {
    let name: String
    let requestCount: Int
    var isCountGiven = false
    let seed: UInt64
    /// For all of the tuning.
    let seconds: Double

    static let defaults = TunedWorkload(
        name: "sharegpt", requestCount: 256, seed: 0, seconds: 60)

    /// Reads the workload.
    ///
    /// - Throws: ``NanoFlowError`` for one that cannot be read.
    func run(
        _ source: ModelSource, _ settings: EngineSettings, planPath: String? = nil
    ) throws(NanoFlowError) -> TuneRun {
        let length = settings.limits.sequenceLength
        return TuneRun(
            try requests(source).map { $0.cut(to: length) }, seconds: seconds,
            planPath: planPath
        ) { printError("nanoflow: \($0)") }
    }

    private func requests(_ source: ModelSource) throws(NanoFlowError) -> [Workload.Request] {
        if let named = WorkloadLengths(rawValue: name) {
            return named.requests(
                count: requestCount, seed: seed, maxLength: Workload.maxTokenCount)
        }
        if let (prompt, completion) = constant {
            guard (1...Workload.maxTokenCount).contains(prompt),
                (1...Workload.maxTokenCount).contains(completion)
            else { throw refusal }
            return try Workload(
                promptTokens: prompt, completionTokens: completion, requestCount: requestCount,
                seed: seed
            ).requests
        }
        guard FileManager.default.fileExists(atPath: name) else { throw refusal }
        if name.hasSuffix(".csv") {
            return try Workload(
                trace: name, limits: Workload.TraceLimits(requestCount: requestCount), seed: seed
            ).requests
        }
        guard !isCountGiven else {
            throw NanoFlowError(
                .invalidConfiguration, field: "requests", limit: "as many as the file has",
                given: "\(requestCount)")
        }
        return try Workload(file: name).requests.map { request in
            let count: Int
            switch request.prompt {
            case .text(let text):
                count =
                    source.tokenizer.encode(
                        text, addSpecialTokens: true, parseSpecialTokens: true
                    ).count
            case .tokens(let ids): count = ids.count
            case .random(let tokens): count = tokens
            }
            return Workload.Request(
                prompt: .random(count: max(1, count)), outputLength: request.outputLength)
        }
    }

    private var refusal: NanoFlowError {
        let names = WorkloadLengths.allCases.map(\.rawValue).joined(separator: ", ")
        return NanoFlowError(
            .invalidConfiguration, field: "workload",
            limit: "\(names), AxB with numbers of tokens from 1, or a file", given: name)
    }

    private var constant: (Int, Int)? {
        let parts = name.split(separator: "x", omittingEmptySubsequences: false)
        guard parts.count == 2, let prompt = Int(parts[0]), let completion = Int(parts[1]) else {
            return nil
        }
        return (prompt, completion)
    }
}
