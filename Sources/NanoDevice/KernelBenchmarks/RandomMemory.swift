import Glibc

/// Random numbers to multiply, read as weights of any format and as the blocks of a KV cache.
///
/// Every aligned 16 bits are a bf16 of 2^-7 to 2^-3, of either sign; so the same memory also
/// holds f32 numbers of that size, and bytes. What reads more than there is begins anew: the memory
/// is several times the last-level cache, so that nothing is there still from the round before.
struct RandomMemory: Sendable {
    let byteCount: Int
    nonisolated(unsafe) let base: UnsafeMutableRawPointer
    // Keeps the memory mapped.
    private let arena: MemoryArena

    /// Maps the memory and fills it on the threads that will read it; nil where the system has no
    /// room.
    init?(byteCount: Int, threads: Int, cpus: [Int]) {
        let wordCount = (byteCount + 7) / 8
        guard let arena = MemoryArena(name: "random numbers", byteCount: wordCount * 8 + 64),
            let base = arena.cut(UInt64.self, count: wordCount).baseAddress
        else { return nil }
        self.arena = arena
        self.byteCount = wordCount * 8
        self.base = UnsafeMutableRawPointer(base)
        nonisolated(unsafe) let words = base
        SimultaneousRounds.runOnce(threads: threads, cpus: cpus) { thread in
            var random = SplitMix64(seed: UInt64(thread) + 1)
            let share = wordCount / threads
            let end = thread == threads - 1 ? wordCount : (thread + 1) * share
            for index in thread * share..<end {
                words[index] = random.next() & 0x81FF_81FF_81FF_81FF | 0x3C00_3C00_3C00_3C00
            }
        }
    }

    /// Several times the last-level cache, or half a gibibyte where that is less; enough that
    /// every thread has a share of it.
    static func defaultByteCount(threads: Int, cpus: [Int]) -> Int {
        let cache = MachineTopology(allowedCPUs: cpus).lastLevelCacheByteCount
        let wanted = cache > 0 ? min(8 * cache, 512 << 20) : 512 << 20
        return max(wanted, threads * 8 << 20)
    }
}
