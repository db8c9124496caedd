import Foundation
import NanoFlow
import NanoSearch
import NanoTestSupport
import Testing

/// The profile of a machine whose times are known, though its speed drifts and it is disturbed.
@Suite struct MeasuredDeviceTests {
    static let layerCount = 8
    static let fingerprint = PlanFingerprint(model: "m", machine: "u", kernels: "k")

    static func profile(
        _ machine: MadeUpMachine, _ profile: MachineProfile? = nil,
        hasTime: @escaping () -> Bool = { true }
    ) -> (profile: MachineProfile, reference: Double) {
        var profile =
            profile ?? MachineProfile(fingerprint, layerCount: layerCount, unitCount: 2)
        var runner = SteadyRunner(machine, .tuning, layerCount: layerCount)
        Profiler(ProfileCase.all(.tuning, unitCount: 2, sharings: .tested), layerCount: layerCount)
            .fill(
                &profile, with: &runner, hasTime: hasTime, progress: { _, _ in })
        return (profile, runner.referenceSeconds.median)
    }

    /// What the reference takes on the device when nothing disturbs it.
    static func trueReference(_ device: KnownDevice) -> Double {
        var predictor = StepPredictor(
            ProfileCase(decodes: 16, context: 320).batch, layerCount: layerCount,
            graph: { .decoder(layerCount: $0) }, on: device)
        return predictor.seconds(.sequential(.decoder(layerCount: layerCount))) ?? 0
    }

    /// Batches that were not measured.
    static let batches: [Batch] = [
        Batch(step: 1, items: (0..<80).map { .decode(slot: $0, position: 200 + 5 * $0) }),
        Batch(
            step: 1,
            items: (0..<24).map { .decode(slot: $0, position: 900) }
                + [.prefill(slot: 24, positions: 128..<270)]),
        Batch(step: 1, items: [.prefill(slot: 0, positions: 0..<220)]),
        Batch(step: 1, items: (0..<3).map { .decode(slot: $0, position: 40) }),
    ]

    @Test(arguments: 1...3)
    func predictionsAreThoseOfTheKnownDevice(seed: Int) throws {
        let machine = MadeUpMachine(seed: UInt64(seed))
        var device = MeasuredDevice(Self.profile(machine).profile)
        device.referenceSeconds = Self.trueReference(machine.device)
        for (index, batch) in Self.batches.enumerated() {
            for plan in [
                PipelinePlan.sequential(.decoder(layerCount: 12)),
                .overlapped(.decoder(layerCount: 12), .init(rate: 1)),
                .overlapped(.decoder(layerCount: 12), .init(rate: 2)),
            ] {
                let seconds = [device, machine.device as any DeviceModel].map { model in
                    var predictor = StepPredictor(
                        batch, layerCount: 12, graph: { .decoder(layerCount: $0) }, on: model)
                    return predictor.seconds(plan)
                }
                let ratio = try #require(seconds[0]) / #require(seconds[1])
                #expect(abs(ratio - 1) < 0.05, "seed \(seed), batch \(index): \(ratio)")
            }
        }
    }

    @Test func coIssueIsRecovered() {
        let machine = MadeUpMachine(seed: 4, noise: 0.005)
        let device = MeasuredDevice(Self.profile(machine).profile)
        for rate in [0.75, 1, 2] {
            let found = device.coIssue(rate: rate, reading: 0.5)
            #expect(abs(found.product - 1.1) < 0.05, "rate \(rate): \(found)")
            #expect(abs(found.memory - 0.5) < 0.05, "rate \(rate): \(found)")
        }
    }

    @Test func fewerUnitsAreMeasured() throws {
        let device = MeasuredDevice(
            Self.profile(MadeUpMachine(seed: 8, noise: 0.005)).profile)
        let one = try #require(device.fewerUnits.first)
        #expect(device.fewerUnits.count == 1 && one.units == 1)
        #expect(abs(one.product - 0.5) < 0.03, "\(one)")
        #expect(abs(one.memory - 0.8) < 0.05, "\(one)")
    }

    @Test func stepsInSequenceNeedNoSimulation() {
        let device = MeasuredDevice(Self.profile(MadeUpMachine(seed: 5)).profile)
        for batch in Self.batches {
            var predictor = StepPredictor(
                batch, layerCount: 12, graph: { .decoder(layerCount: $0) }, on: device)
            let simulated = predictor.seconds(.sequential(.decoder(layerCount: 12))) ?? 0
            #expect(abs(predictor.sequentialSeconds / simulated - 1) < 0.002)
        }
    }

    // MARK: - What was measured counts

    @Test func aProfileIsTakenUpAgain() throws {
        let first = MadeUpMachine(seed: 6)
        let (half, _) = Self.profile(first, hasTime: { first.runCount < 40 })
        #expect(first.runCount < 45)
        let path = NSTemporaryDirectory() + "nanoflow-profile-\(UUID().uuidString).json"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try half.write(to: path)
        let read = try #require(
            MachineProfile.read(
                path, for: Self.fingerprint, layerCount: Self.layerCount, unitCount: 2))
        #expect(read == half)

        let second = MadeUpMachine(seed: 7)
        let (whole, _) = Self.profile(second, read)
        let third = MadeUpMachine(seed: 7)
        _ = Self.profile(third, whole)
        #expect(third.runCount == 0)
        let alone = MadeUpMachine(seed: 7)
        _ = Self.profile(alone)
        #expect(second.runCount < alone.runCount)
        for measurement in half.measurements {
            let samples = try #require(whole[measurement.step]).samples
            #expect(Array(samples.prefix(measurement.samples.count)) == measurement.samples)
        }
    }

    @Test func foreignAndDamagedProfilesAreMadeAnew() throws {
        let path = NSTemporaryDirectory() + "nanoflow-profile-\(UUID().uuidString).json"
        defer { try? FileManager.default.removeItem(atPath: path) }
        let read = { (kernels: String, layers: Int) in
            MachineProfile.read(
                path, for: PlanFingerprint(model: "m", machine: "u", kernels: kernels),
                layerCount: layers, unitCount: 2)
        }
        #expect(read("k", 8) == nil)
        let profile = MachineProfile(Self.fingerprint, layerCount: 8, unitCount: 2)
        try profile.write(to: path)
        #expect(read("k", 8) == profile)
        #expect(read("other", 8) == nil)
        #expect(read("k", 9) == nil)
        try Data("{".utf8).write(to: URL(fileURLWithPath: path))
        #expect(read("k", 8) == nil)
    }

    // MARK: - Curves

    @Test func curvesGoThroughTheMedians() {
        let curve = Curve([1: [2], 10: [20, 22, 90], 20: [32]])
        #expect(curve(0.5) == 2)
        #expect(curve(10) == 22)
        #expect(curve(15) == 27)
        #expect(curve(40) == 52)
        #expect(Curve([:])(3) == 0)
        #expect(Curve([5: [7]])(100) == 7)
    }

    @Test func twoPartTimesAreFitted() {
        let exact = TwoPartTime([(1, 10, 23), (5, 10, 35), (2, 40, 86)].map { ($0, $1, $2) })
        #expect(abs(exact.perX - 3) < 1e-9 && abs(exact.perY - 2) < 1e-9)
        // A part that would have to be negative is left out.
        let one = TwoPartTime([(1, 10, 20), (10, 10, 19), (1, 40, 80)].map { ($0, $1, $2) })
        #expect(one.perX == 0 && abs(one.perY - 2) < 0.05)
        #expect(TwoPartTime([])(3, 4) == 0)
    }
}

extension [SearchSpace.Sharing] {
    static let tested = SearchSpace.Sharing.candidates(unitCount: 2)
}

extension PlanNumbers {
    init(rate: Double) {
        self.init()
        prefetchRate = rate
    }
}
