import CXXHash

/// XXH3 with 64 bits, of bytes that come piece by piece.
///
/// It finds what a disk or a torn write has damaged, not what an attacker has made.
struct BlockChecksum: ~Copyable {
    private let state: OpaquePointer

    init() {
        guard let state = XXH3_createState() else {
            preconditionFailure("The system has no memory for the state of a checksum.")
        }
        self.state = state
        XXH3_64bits_reset(state)
    }

    deinit { XXH3_freeState(state) }

    mutating func add(_ bytes: UnsafeRawBufferPointer) {
        XXH3_64bits_update(state, bytes.baseAddress, bytes.count)
    }

    /// The checksum of what was added since the last call.
    mutating func finish() -> UInt64 {
        defer { XXH3_64bits_reset(state) }
        return XXH3_64bits_digest(state)
    }

    static func of(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        XXH3_64bits(bytes.baseAddress, bytes.count)
    }
}
