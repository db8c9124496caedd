package import CNanoKernels

/// The kernels of one instruction set, chosen once at start.
package struct Kernels: Sendable {
    /// The C functions; their contract is `nano_kernels.h`.
    package nonisolated(unsafe) let functions: nk_kernels
    /// "portable", "avx512_vnni_bf16".
    package let name: String

    /// The best kernels that this CPU can run.
    package static var best: Kernels { Kernels(nk_best_isa()) }
    /// The reference twins.
    package static var portable: Kernels { Kernels(NK_ISA_PORTABLE) }

    private init(_ isa: nk_isa) {
        guard let table = nk_kernels_for(isa) else {
            preconditionFailure("There are no kernels for instruction set \(isa.rawValue).")
        }
        functions = table.pointee
        name = String(cString: table.pointee.name)
    }
}
