import NanoDevice
import Testing

/// No bars on speed here: other tests run at the same time.
@Suite struct PeakMeasurementTests {
    private let cpus = Machine.current().allowedCPUs

    private func operations(
        _ kind: PeakKind, _ set: InstructionSet, threads: Int = 1
    ) -> Double {
        PeakMeasurement.operations(
            kind, threads: threads, cpus: cpus, instructionSet: set, roundDuration: 0.002)
    }

    @Test(arguments: InstructionSet.allCases.filter(\.isSupported), PeakKind.allCases)
    func everySupportedSetHasAPeak(_ set: InstructionSet, _ kind: PeakKind) {
        let rate = operations(kind, set)
        #expect(rate.isFinite && rate > 1e6)
    }

    @Test func moreThreadsThanCPUsFinish() {
        let rate = operations(.f32, .best, threads: cpus.count + 2)
        #expect(rate.isFinite && rate > 0)
    }

    @Test(.enabled(if: InstructionSet.avx512.isSupported))
    func eightBitProductsAreTheFastestWithAVX512() {
        // Interleaved, the best of several: four times apart, so that noise does not decide.
        let pairs = (0..<5).map { _ in (operations(.int8, .avx512), operations(.f32, .avx512)) }
        let int8 = pairs.map(\.0).max() ?? 0
        let f32 = pairs.map(\.1).max() ?? 0
        #expect(int8 >= f32)
    }

    @Test(arguments: InstructionSet.allCases.filter(\.isSupported))
    func memoryIsReadAtSomeRate(_ set: InstructionSet) {
        // A size that is no multiple of what is read between two looks at the clock.
        let buffers = ReadBuffers(threads: 2, cpus: cpus, byteCount: 3 << 20 | 12_345)
        for threads in 1...2 {
            let rate = buffers.readBandwidth(
                threads: threads, instructionSet: set, roundDuration: 0.002)
            #expect(rate.isFinite && rate > 1e6)
        }
    }

    @Test func theBestSetIsSupportedAndPortableAlwaysIs() {
        #expect(InstructionSet.best.isSupported)
        #expect(InstructionSet.portable.isSupported)
    }

    @Test func readingIsMeasuredByThreadCountUpToTheLast() {
        #expect(DoctorMeasurements.readThreadCounts(upTo: 1) == [1])
        #expect(DoctorMeasurements.readThreadCounts(upTo: 3) == [1, 2, 3])
        #expect(
            DoctorMeasurements.readThreadCounts(upTo: 48) == [1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 48])
    }
}
