import CLibXSMM
import NanoDevice

/// libxsmm's product of activations and a panel of weights, over and over.
///
/// Inputs are cut into runs, so that the weights of a run stay in the first levels of the cache; a
/// shape's other panels would take as long, so that its number of outputs does not matter.
struct LibXSMMWork: KernelWork {
    let operationsPerPortion: Double
    /// All operands are in the caches.
    let bytesPerPortion = 0.0

    private let plan: Plan
    private let callsPerChunk: Int
    private nonisolated(unsafe) let operands: [Operands]
    // Keeps the operands mapped.
    private let arena: MemoryArena

    /// One thread's.
    private struct Operands {
        let weights: UnsafeMutableRawPointer
        let activations: UnsafeMutableRawPointer
        let out: UnsafeMutableRawPointer
    }

    private static let outputs = 64

    /// Nil where libxsmm has no product for this CPU.
    init?(_ shape: ProductShape, threads: Int) {
        guard let plan = Plan(shape, outputs: Self.outputs) else { return nil }
        let sizes = [
            Self.outputs * plan.runByteCount * plan.runCount, shape.rows * plan.rowByteCount,
            shape.rows * Self.outputs * 4,
        ]
        let byteCount = sizes.reduce(0) { $0 + MemoryArena.byteCount(UInt8.self, $1) }
        guard let arena = MemoryArena(name: "libxsmm", byteCount: threads * byteCount) else {
            return nil
        }
        operands = (0..<threads).map { _ in
            let parts = sizes.map { arena.numbers(byteCount: $0) }
            return Operands(weights: parts[0], activations: parts[1], out: parts[2])
        }
        operationsPerPortion = 2 * Double(shape.rows * Self.outputs * shape.inputs)
        callsPerChunk = max(1, Int(1e7 / operationsPerPortion))
        (self.plan, self.arena) = (plan, arena)
    }

    /// Whether libxsmm has a product for this CPU.
    static func isSupported(_ shape: ProductShape) -> Bool {
        Plan(shape, outputs: outputs) != nil
    }

    func run(thread: Int, chunk: Int) -> UInt64 {
        let operands = operands[thread]
        for _ in 0..<callsPerChunk {
            for run in 0..<plan.runCount {
                lxp_run(
                    plan.product, operands.weights + run * plan.runByteCount * Self.outputs,
                    operands.activations + run * plan.runByteCount, operands.out)
            }
        }
        return UInt64(callsPerChunk)
    }
}

/// How a product's inputs are cut, and the machine code for one run of them.
private struct Plan: Sendable {
    let runCount: Int
    /// Of one output's weights, and of one row's activations.
    let runByteCount: Int
    let rowByteCount: Int
    nonisolated(unsafe) let product: UnsafeRawPointer

    /// 64 KiB of weights.
    private static let longestRunByteCount = 1024

    init?(_ shape: ProductShape, outputs: Int) {
        let kind = shape.format.kind
        let size = kind.elementByteCount
        let longest = Self.longestRunByteCount / size
        let count = (shape.inputs + longest - 1) / longest
        // An odd number of cache lines, lest rows share the places of the first-level cache.
        rowByteCount = (shape.inputs * size / 64 | 1) * 64
        runCount = (count...shape.inputs).first { shape.inputs % ($0 * 4) == 0 } ?? count
        let inputs = shape.inputs / runCount
        runByteCount = inputs * size
        guard inputs * runCount == shape.inputs,
            let product = lxp_make(
                kind, Int32(shape.rows), Int32(outputs), Int32(inputs),
                Int32(rowByteCount / size))
        else { return nil }
        self.product = product
    }
}

extension MemoryArena {
    /// Memory in which every 16 bits are the bf16 number 2^-7, and so every 32 bits about that.
    fileprivate func numbers(byteCount: Int) -> UnsafeMutableRawPointer {
        let words = cut(UInt16.self, count: byteCount / 2)
        words.update(repeating: 0x3C00)
        guard let start = words.baseAddress else {
            preconditionFailure("Operands must have a size.")
        }
        return UnsafeMutableRawPointer(start)
    }
}

extension ProductFormat {
    var kind: lxp_kind {
        switch self {
        case .int8PerChannel, .int8InGroupsOf64, .int8InGroupsOf192: LXP_INT8
        case .bf16: LXP_BF16
        case .f32: LXP_F32
        }
    }
}

extension lxp_kind {
    var elementByteCount: Int { self == LXP_INT8 ? 1 : self == LXP_BF16 ? 2 : 4 }
}
