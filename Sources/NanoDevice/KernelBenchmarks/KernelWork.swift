/// A kernel on operands of one shape, ready to be run on several threads at once.
package protocol KernelWork: Sendable {
    /// Arithmetic of a portion of the work.
    var operationsPerPortion: Double { get }
    /// Bytes that a portion reads from memory, or what a row kernel reads and writes; 0 where they
    /// do not matter.
    var bytesPerPortion: Double { get }
    /// Does a chunk, some 50 to 500 microseconds of work, and returns how many portions it had.
    func run(thread: Int, chunk: Int) -> UInt64
}

/// What the works of all shapes share.
struct KernelWorkbench: Sendable {
    let kernels: Kernels
    let threads: Int
    let cpus: [Int]
    /// Weights and KV blocks.
    let numbers: RandomMemory
    /// Scales of int8 weights: one number for at least 64 weights.
    let scales: RandomMemory

    /// Maps and fills the memory.
    init(
        kernels: Kernels, threads: Int, cpus: [Int], byteCount: Int
    ) throws(KernelBenchmarkError) {
        guard
            let numbers = RandomMemory(byteCount: byteCount, threads: threads, cpus: cpus),
            let scales = RandomMemory(
                byteCount: byteCount / 16 + 4096, threads: threads, cpus: cpus)
        else { throw .insufficientMemory(byteCount: byteCount + byteCount / 16) }
        (self.kernels, self.threads, self.cpus) = (kernels, threads, cpus)
        (self.numbers, self.scales) = (numbers, scales)
    }

    /// Operands of `kernelCase`.
    func work(_ kernelCase: KernelCase) throws(KernelBenchmarkError) -> any KernelWork {
        switch kernelCase.work {
        case .product(let shape): try ProductWork(shape, self)
        case .decodeAttention(let shape): try DecodeWork(shape, self)
        case .prefillAttention(let shape): try PrefillWork(shape, self)
        case .rows(let shape): try RowWork(shape, self)
        }
    }

    func arena(byteCount: Int) throws(KernelBenchmarkError) -> MemoryArena {
        guard let arena = MemoryArena(name: "kernel operands", byteCount: byteCount) else {
            throw .insufficientMemory(byteCount: byteCount)
        }
        return arena
    }

    /// Random f32 numbers of -1 to 1.
    static func fill(_ values: UnsafeMutableBufferPointer<Float>, seed: UInt64) {
        var random = SplitMix64(seed: seed)
        for index in values.indices {
            values[index] = Float(Int64(bitPattern: random.next()) >> 40) * 0x1p-23
        }
    }
}

/// Why kernels cannot be measured.
package enum KernelBenchmarkError: Error, CustomStringConvertible {
    case insufficientMemory(byteCount: Int)

    package var description: String {
        switch self {
        case .insufficientMemory(let byteCount):
            "The system has no room for the \(byteCount >> 20) MiB that the kernels are to work on."
        }
    }
}

extension MemoryArena {
    /// The beginning of the next part, of at least one element.
    func cutStart<Element>(_ type: Element.Type, count: Int) -> UnsafeMutablePointer<Element> {
        guard let start = cut(type, count: max(1, count)).baseAddress else {
            preconditionFailure("A part of an arena must have an address.")
        }
        return start
    }
}
