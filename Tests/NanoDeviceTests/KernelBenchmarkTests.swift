import Foundation
import NanoDevice
import Testing

/// No bars on speed here: other tests run at the same time.
@Suite struct KernelBenchmarkTests {
    private let machine = Machine.current()

    private func report(
        _ cases: [KernelCase], _ set: InstructionSet = .best, threads: Int = 1
    ) throws -> KernelBenchmarkReport {
        var benchmark = try KernelBenchmark(
            kernels: Kernels(set), threads: threads, cpus: machine.allowedCPUs,
            byteCount: 8 << 20, roundCount: 2, roundDuration: 0.0002)
        return try benchmark.run(cases)
    }

    // MARK: - The list

    @Test(arguments: ["smollm2-135m", "llama-3-8b", "llama-2-70b", "mixtral-8x7b"])
    func everyModelHasEveryProductInEveryFormat(_ model: String) {
        let cases = KernelCatalog.cases().filter { $0.models.contains(model) }
        for format in ProductFormat.allCases {
            for role in ProductRole.allCases {
                let rows = cases.compactMap { kernelCase -> Int? in
                    guard case .product(let shape) = kernelCase.work else { return nil }
                    return shape.format == format && shape.role == role ? shape.rows : nil
                }
                #expect(rows == [1, 16, 96, 192], "\(format) \(role)")
            }
        }
    }

    @Test(arguments: ["smollm2-135m", "llama-3-8b", "llama-2-70b", "mixtral-8x7b"])
    func everyModelHasAttentionAndRowKernels(_ model: String) {
        let cases = KernelCatalog.cases().filter { $0.models.contains(model) }
        let names = Dictionary(grouping: cases, by: \.name).mapValues(\.count)
        for cache in CacheFormat.allCases {
            // Three lengths in two orders.
            #expect(names["attention_decode_\(cache.rawValue)"] == 6)
        }
        #expect(names["attention_prefill_bf16"] == 2)
        #expect(names["attention_prefill_int8"] == 2)
        #expect(names["attention_prefill_f32"] == nil)
        for kernel in RowKernel.allCases { #expect((names[kernel.rawValue] ?? 0) >= 1) }
    }

    @Test func shapesAreThoseOfTheModels() {
        let cases = KernelCatalog.cases()
        let sizes = { (model: String, role: ProductRole) in
            Set(
                cases.compactMap { kernelCase -> [Int]? in
                    guard case .product(let shape) = kernelCase.work, shape.role == role,
                        kernelCase.models.contains(model)
                    else { return nil }
                    return [shape.inputs, shape.outputs]
                })
        }
        #expect(sizes("smollm2-135m", .qkvProjection) == [[576, 960]])
        #expect(sizes("smollm2-135m", .gateUpProjection) == [[576, 3072]])
        #expect(sizes("llama-3-8b", .lmHead) == [[4096, 128_256]])
        #expect(sizes("llama-2-70b", .qkvProjection) == [[8192, 10_240]])
        #expect(sizes("llama-2-70b", .downProjection) == [[28_672, 8192]])
        #expect(sizes("mixtral-8x7b", .downProjection) == [[14_336, 4096]])
    }

    @Test func noCaseStandsTwiceAndQuickOnesAreAmongThem() {
        let cases = KernelCatalog.cases()
        #expect(Set(cases.map(\.work)).count == cases.count)
        let quick = KernelCatalog.quickCases().map(\.work)
        #expect(!quick.isEmpty && Set(quick).isSubset(of: Set(cases.map(\.work))))
    }

    // MARK: - Measurements

    private static let tinyCases: [KernelCase] = {
        let products = ProductFormat.allCases.flatMap { format in
            ProductRole.allCases.flatMap { role in
                [1, 5, 17].map {
                    KernelCase.Work.product(
                        ProductShape(
                            format: format, role: role, rows: $0, outputs: 96, inputs: 128))
                }
            }
        }
        let attention = CacheFormat.allCases.flatMap { cache in
            BlockOrder.allCases.flatMap { order in
                [64, 1088].flatMap { tokens in
                    let shape = AttentionShape(
                        cache: cache, tokens: tokens, heads: 4, kvHeads: 2, headDimension: 32,
                        order: order)
                    return [
                        KernelCase.Work.decodeAttention(shape), .prefillAttention(shape),
                    ]
                }
            }
        }
        let rows = RowKernel.allCases.map { kernel in
            switch kernel {
            case .rope, .appendBF16, .appendInt8, .appendF32:
                KernelCase.Work.rows(RowShape(kernel, heads: 4, kvHeads: 2, headDimension: 32))
            default: KernelCase.Work.rows(RowShape(kernel, width: 192))
            }
        }
        return (products + attention + rows).map { KernelCase($0, models: ["tiny"]) }
    }()

    @Test(arguments: InstructionSet.allCases.filter(\.isSupported))
    func everyKernelHasARateWithEverySet(_ set: InstructionSet) throws {
        let report = try report(Self.tinyCases, set)
        #expect(report.kernels.count == Self.tinyCases.count)
        for result in report.kernels {
            #expect(
                result.rate.isFinite && result.rate > 0 && result.ratioOfPeak.isFinite
                    && result.ratioOfPeak > 0, "\(result.name) \(result.shape)")
            #expect(result.kernel == Kernels(set).name)
        }
        for peak in [report.peaks.int8, report.peaks.bf16, report.peaks.f32, report.peaks.read] {
            #expect(peak.isFinite && peak > 0)
        }
    }

    @Test func moreThreadsThanPanelsWork() throws {
        let report = try report(Array(Self.tinyCases.prefix(12)), threads: 5)
        #expect(report.kernels.allSatisfy { $0.rate > 0 })
    }

    @Test func ratesComeInTheUnitsOfTheirKind() throws {
        let units = Dictionary(
            grouping: try report(Self.tinyCases).kernels.map { result in
                (result.shape.m == 1 ? "one row" : result.name, result.unit)
            }, by: \.0
        ).mapValues { Set($0.map(\.1)) }
        #expect(units["one row"] == ["GB/s"])
        #expect(units["gemm_int8_g64"] == ["GOP/s"])
        #expect(units["gemm_bf16"] == ["GFLOP/s"])
        #expect(units["attention_decode_int8"] == ["GB/s"])
        #expect(units["attention_prefill_bf16"] == ["GFLOP/s"])
        #expect(units["rms_norm"] == ["GB/s"])
    }

    // MARK: - JSON

    @Test func theReportHasTheKeysThatReadersRelyOn() throws {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        let data = try encoder.encode(try report(Self.tinyCases))
        let json = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
        #expect(
            Set(json.keys) == [
                "schema_version", "machine", "instruction_set", "threads", "peaks", "kernels",
            ])
        let peaks = try #require(json["peaks"] as? [String: Double])
        #expect(Set(peaks.keys) == ["int8", "bf16", "f32", "read"])
        let kernels = try #require(json["kernels"] as? [[String: Any]])
        for entry in kernels {
            let keys: Set = [
                "name", "kernel", "models", "shape", "rate", "unit", "ratio_of_peak", "bound",
            ]
            #expect(Set(entry.keys).subtracting(["operation"]) == keys)
            let shape = try #require(entry["shape"] as? [String: Any])
            let name = try #require(entry["name"] as? String)
            if name.hasPrefix("gemm") {
                #expect(Set(shape.keys) == ["m", "n", "k"])
                #expect(entry["operation"] is String)
            } else if name.hasPrefix("attention") {
                #expect(Set(shape.keys) == ["tokens", "heads", "kv_heads", "head_dim", "order"])
            }
            let bound = try #require(entry["bound"] as? String)
            #expect(bound == "compute" || bound == "memory")
        }
    }
}
