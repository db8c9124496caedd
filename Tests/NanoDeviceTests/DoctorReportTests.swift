import Foundation
import NanoDevice
import Testing

@Suite struct DoctorReportTests {
    private static let good: MachineTopology = {
        var topology = MachineTopology(root: "/nowhere", allowedCPUs: [])
        topology.cpuModel = "Example 9000"
        topology.instructionSets = ["avx2", "fma", "avx512", "avx512_vnni", "avx512_bf16"]
        topology.hugePages.transparent = "madvise"
        topology.numaNodes = [
            MachineTopology.NUMANode(index: 0, cpus: [0, 1], memoryByteCount: 8 << 30)
        ]
        topology.onlineCPUs = [0, 1]
        topology.memoryByteCount = 8 << 30
        return topology
    }()

    private func machine(
        quota: Double? = nil, limit: Int? = nil, available: Int = 6 << 30
    ) -> Machine {
        Machine(
            allowedCPUs: [0, 1], cpuQuota: quota, memoryLimitByteCount: limit,
            availableByteCount: available)
    }

    /// Two threads, each of which does `share` of one thread's peak.
    private func measurements(share: Double = 1) -> DoctorMeasurements {
        let one = MachinePeaks(int8: 1000e9, bf16: 500e9, f32: 250e9, readBandwidth: 40e9)
        let all = MachinePeaks(
            int8: share * 2000e9, bf16: share * 1000e9, f32: share * 500e9, readBandwidth: 60e9)
        return DoctorMeasurements(
            threadCount: 2, instructionSet: .avx512, allThreads: all, oneThread: one,
            readBandwidths: [
                DoctorMeasurements.ReadBandwidth(threads: 1, rate: 40e9),
                DoctorMeasurements.ReadBandwidth(threads: 2, rate: 60e9),
            ])
    }

    private func advice(
        _ machine: Machine? = nil, share: Double = 1,
        _ change: (inout MachineTopology) -> Void = { _ in }
    ) -> [String] {
        var topology = Self.good
        change(&topology)
        return MachineAdvice.lines(
            machine: machine ?? self.machine(), topology: topology,
            measurements: measurements(share: share))
    }

    @Test func aGoodMachineNeedsNoAdvice() {
        #expect(advice() == [])
        #expect(advice(machine(quota: 2)) == [])
        #expect(advice(share: 0.8) == [])
        #expect(advice { $0.instructionSets = ["avx2", "fma", "avx512", "avx512_vnni"] } == [])
    }

    @Test func everyShortcomingGetsOneLineThatNamesIt() {
        let cases: [(lines: [String], word: String)] = [
            (advice { $0.instructionSets = ["avx2", "fma"] }, "AVX-512 with VNNI"),
            (advice { $0.instructionSets = [] }, "portable kernels"),
            (advice(machine(quota: 1.5)), "time of 1.5 CPUs, though 2 are allowed: 1 thread is"),
            (advice(share: 0.5), "each does 50 % of what one does alone: others use"),
            (advice(share: 0.5) { $0.sharedCores = [[0, 1]] }, "CPUs 0-1 share one core"),
            (advice { $0.onlineCPUs = [0, 1, 2, 3] }, "2 of the machine's 4 CPUs"),
            (advice { $0.hugePages.transparent = "never" }, "echo madvise | sudo tee"),
            (advice { $0.usedSwapByteCount = 1 << 30 }, "1 GiB of swap"),
            (advice(machine(available: 1 << 30)), "Only 1 GiB of 8 GiB memory are available"),
            (
                advice(machine(limit: 3 << 29, available: 1 << 30)),
                "the control group's limit is 1.5 GiB"
            ),
            (
                advice {
                    $0.hugePages = .init(transparent: nil, reservedCount: 4, byteCount: 2 << 20)
                },
                "4 huge pages (8 MiB) are set aside"
            ),
            (
                advice {
                    $0.numaNodes = [
                        .init(index: 0, cpus: [0], memoryByteCount: nil),
                        .init(index: 1, cpus: [1], memoryByteCount: nil),
                    ]
                }, "2 NUMA nodes"
            ),
        ]
        for (lines, word) in cases {
            #expect(lines.count == 1)
            #expect(lines.first?.contains(word) == true, "\(lines) should say: \(word)")
        }
    }

    @Test func byteCountsReadWell() {
        #expect(MachineAdvice.byteText(48 << 10) == "48 KiB")
        #expect(MachineAdvice.byteText(3 << 29) == "1.5 GiB")
        #expect(MachineAdvice.byteText(0) == "0 bytes")
        #expect(MachineAdvice.byteText(.max) == "8388608 TiB")
    }

    @Test func theJSONNamesItsFiguresInSnakeCase() throws {
        let report = DoctorReport(
            machine: machine(quota: 1.5), topology: Self.good, kernels: "avx512_vnni_bf16",
            measurements: measurements())
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        let object = try JSONSerialization.jsonObject(with: encoder.encode(report))
        let json = try #require(object as? [String: Any])
        #expect(json["schema_version"] as? Int == 1)
        #expect(json["kernels"] as? String == "avx512_vnni_bf16")
        #expect(json["threads"] as? Int == 2)
        let machine = try #require(json["machine"] as? [String: Any])
        #expect(machine["cpu_model"] as? String == "Example 9000")
        #expect(machine["allowed_cpus"] as? [Int] == [0, 1])
        #expect(machine["online_cpus"] as? [Int] == [0, 1])
        #expect(machine["cpu_quota"] as? Double == 1.5)
        #expect((machine["numa_nodes"] as? [[String: Any]])?.count == 1)
        let hugePages = try #require(machine["huge_pages"] as? [String: Any])
        #expect(hugePages["transparent"] as? String == "madvise")
        let peaks = try #require(json["peaks"] as? [String: Double])
        #expect(peaks == ["int8": 2000e9, "bf16": 1000e9, "f32": 500e9, "read": 60e9])
        #expect((json["peaks_of_one_thread"] as? [String: Double])?["read"] == 40e9)
        let units = try #require(json["execution_units"] as? [[String: Int]])
        #expect(units == [["unit": 0, "cpu": 0], ["unit": 1, "cpu": 1]])
        let rates = try #require(json["read_by_threads"] as? [[String: Double]])
        #expect(rates.map { $0["bytes_per_second"] } == [40e9, 60e9])
        #expect((json["advice"] as? [String])?.count == 1)
    }

    @Test func theMeasurementsGoThroughTheirListOnce() {
        var shares: [Double] = []
        let measured = DoctorMeasurements(
            threadCount: 2, cpus: Machine.current().allowedCPUs, roundDuration: 0.001
        ) { _, share in shares.append(share) }
        #expect(shares == shares.sorted() && shares.allSatisfy { (0...1).contains($0) })
        #expect(measured.readBandwidths.map(\.threads) == [1, 2])
        for peaks in [measured.oneThread, measured.allThreads] {
            #expect(min(peaks.int8, peaks.bf16, peaks.f32, peaks.readBandwidth) > 0)
        }
    }
}
