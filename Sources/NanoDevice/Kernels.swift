package import CNanoKernels

/// An instruction set that there are kernels for; CPUs that run one run those before it, too.
package enum InstructionSet: String, CaseIterable, Sendable {
    /// Plain C, on any CPU: the reference twin of the others.
    case portable
    /// AVX2 and FMA.
    case avx2
    /// AVX-512 with VNNI.
    case avx512VNNI = "avx512-vnni"
    /// AVX-512 with VNNI and BF16.
    case avx512

    /// The one whose kernels are the fastest on this CPU: on Intel's not that of BF16.
    package static var best: InstructionSet {
        allCases.first { $0.isa == nk_best_isa() } ?? .portable
    }

    /// Whether this CPU can run it.
    package var isSupported: Bool { nk_supports(isa) }

    var isa: nk_isa {
        switch self {
        case .portable: NK_ISA_PORTABLE
        case .avx2: NK_ISA_AVX2
        case .avx512VNNI: NK_ISA_AVX512_VNNI
        case .avx512: NK_ISA_AVX512
        }
    }
}

/// The kernels of one instruction set, chosen once at start.
package struct Kernels: Sendable {
    /// The C functions; their contract is `nano_kernels.h`.
    package nonisolated(unsafe) let functions: UnsafePointer<nk_kernels>
    package let instructionSet: InstructionSet

    /// "portable", "avx2_fma", "avx512_vnni", "avx512_vnni_bf16".
    package var name: String { String(cString: functions.pointee.name) }

    /// The best kernels that this CPU can run.
    package static var best: Kernels { Kernels(.best) }
    /// The reference twins.
    package static var portable: Kernels { Kernels(.portable) }

    /// The kernels of an instruction set that this CPU supports.
    package init(_ instructionSet: InstructionSet) {
        precondition(
            instructionSet.isSupported,
            "This CPU cannot run the \(instructionSet.rawValue) kernels.")
        guard let table = nk_kernels_for(instructionSet.isa) else {
            preconditionFailure("There are no \(instructionSet.rawValue) kernels.")
        }
        functions = table
        self.instructionSet = instructionSet
    }
}
