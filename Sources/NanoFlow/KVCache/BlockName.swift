import Crypto
package import NanoDevice

/// Names the keys and values of a full block by all that they depend on: the model and how it is
/// computed, the tokens up to the block's end, and the tenant's salt.
package struct BlockName: Sendable, Hashable {
    package let fingerprint: BlockFingerprint

    /// The name that a record of the tier below has.
    package init(_ fingerprint: BlockFingerprint) { self.fingerprint = fingerprint }

    fileprivate init(_ digest: SHA256.Digest) {
        fingerprint = BlockFingerprint(
            digest.withUnsafeBytes {
                $0.loadUnaligned(as: (UInt64, UInt64, UInt64, UInt64).self)
            })
    }

    /// Names the block that a sequence had filled in part when it gave it up.
    ///
    /// - Parameters:
    ///   - id: The sequence.
    ///   - count: Positions that it had computed.
    ///   - runID: Tells the engine's runs apart, whose sequences have the same numbers.
    init(leftBy id: SequenceID, count: Int, runID: UInt64) {
        self.init(SHA256.hash(data: Array("left \(runID) \(id) \(count)".utf8)))
    }

    fileprivate func withBytes(_ body: (UnsafeRawBufferPointer) -> Void) {
        withUnsafeBytes(of: fingerprint.words, body)
    }
}

/// Names the blocks of one sequence, one after the other: SHA-256 over the name before and the
/// block's tokens, so that a name stands for all of the prefix.
package struct BlockNamer: Sendable {
    private let blockSize: Int
    /// What all keys and values depend on, digested.
    package let seed: BlockFingerprint
    private var last: BlockName
    /// Tokens behind the last full block.
    private var tokens: [Int32] = []
    package private(set) var names: [BlockName] = []

    /// - Parameters:
    ///   - blockSize: Tokens of a block.
    ///   - seed: What all keys and values depend on: the model, its precision, the kernels.
    package init(blockSize: Int, seed: String) {
        self.blockSize = blockSize
        last = BlockName(SHA256.hash(data: Array("nanoflow blocks 1\n\(seed)".utf8)))
        self.seed = last.fingerprint
    }

    /// The same for a tenant whose blocks nobody else is to use; nil: for all that give no salt.
    ///
    /// To be called before the first token.
    package func salted(_ salt: String?) -> BlockNamer {
        precondition(tokens.isEmpty && names.isEmpty, "A salt stands before the tokens.")
        guard let salt else { return self }
        var (salted, hash) = (self, SHA256())
        last.withBytes { hash.update(bufferPointer: $0) }
        hash.update(data: Array(salt.utf8))
        salted.last = BlockName(hash.finalize())
        return salted
    }

    package mutating func append(_ token: Int32) {
        tokens.append(token)
        guard tokens.count == blockSize else { return }
        var hash = SHA256()
        last.withBytes { hash.update(bufferPointer: $0) }
        tokens.withUnsafeBytes { hash.update(bufferPointer: $0) }
        last = BlockName(hash.finalize())
        names.append(last)
        tokens.removeAll(keepingCapacity: true)
    }

    package mutating func append(_ tokens: [Int32]) {
        for token in tokens { append(token) }
    }
}
