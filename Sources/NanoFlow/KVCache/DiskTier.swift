import NanoDevice

/// Where blocks are kept that memory has no room for.
public struct DiskTierConfiguration: Sendable, Hashable {
    /// The folder of the file; it is made where it is missing, for this user alone.
    public var directory: String
    /// Bytes that the file may take up.
    public var byteCount: Int

    /// A file of at most so many bytes in a folder.
    public init(directory: String, byteCount: Int) {
        self.directory = directory
        self.byteCount = byteCount
    }
}

/// The tier below memory: moves blocks between the KV cache and a file, as the scheduler has it.
///
/// What the file holds depends on nothing but the model's weights, the arithmetic and the kernels; of
/// others it is begun anew. It belongs to the engine's thread.
final class DiskTier: Sendable {
    /// What the file held when it was opened.
    let index: TierIndex
    private let file: BlockFile
    private let arena: KVArena

    /// Opens the file and finds its records.
    ///
    /// - Parameters:
    ///   - configuration: Where, and how large.
    ///   - seed: What all blocks depend on.
    ///   - arena: The blocks in memory.
    ///   - hooks: Whether to copy now, and that transfers have ended.
    ///   - progress: Told of the share of the file that was looked at, 0...1.
    /// - Throws: ``NanoFlowError`` for a file that cannot be used.
    init(
        _ configuration: DiskTierConfiguration, seed: BlockFingerprint, arena: KVArena,
        hooks: BlockFile.Hooks, progress: (Double) -> Void
    ) throws(NanoFlowError) {
        do {
            file = try BlockFile(
                directory: configuration.directory, byteCount: configuration.byteCount,
                payloadByteCount: arena.wholeBlockByteCount, seed: seed, hooks: hooks)
        } catch {
            throw NanoFlowError(
                .invalidConfiguration, field: "kv-disk-dir", limit: error.limit,
                given: error.given, message: "\(error)")
        }
        let count = file.slotCount
        let records = file.scan { progress(Double($0) / Double(count)) }
        index = TierIndex(
            slotCount: count,
            records: records.sorted { $0.order < $1.order }.map { (BlockName($0.name), $0.slot) })
        self.arena = arena
    }

    /// "io_uring, O_DIRECT", and what was found.
    var description: String {
        let state =
            switch file.openedAs {
            case .new: "new"
            case .kept: "\(index.recordCount) blocks of \(index.slotCount) from before"
            case .replaced(let reason): "begun anew: \(reason.text)"
            }
        return "\(file.path), \(file.access); \(state)"
    }

    func begin(_ transfers: [TierTransfer]) {
        for transfer in transfers {
            let pieces = arena.pieces(ofBlock: transfer.block)
            switch transfer.direction {
            case .store:
                file.write(
                    slot: transfer.slot, name: transfer.name.fingerprint,
                    pieces: pieces.map { UnsafeRawBufferPointer($0) }, ticket: transfer.ticket)
            case .fetch:
                file.read(
                    slot: transfer.slot, name: transfer.name.fingerprint, pieces: pieces,
                    ticket: transfer.ticket)
            }
        }
    }

    /// The transfers that have ended since the last call.
    func drain() -> [BlockFile.Completion] { file.drain() }

    /// Records that were not what they should be.
    var checksumFaults: Int {
        let faults = file.counters.faults
        return faults[.wrongChecksum, default: 0] + faults[.wrongRecord, default: 0]
    }

    /// Ends what is queued and lets the file go.
    func close() { file.close() }
}

extension BlockFile.Replacement {
    fileprivate var text: String {
        switch self {
        case .damaged: "the file was damaged"
        case .otherVersion: "another version had made it"
        case .otherSeed: "another model, precision or kernels had made it"
        case .otherRecordSize: "its blocks were of another size"
        }
    }
}
