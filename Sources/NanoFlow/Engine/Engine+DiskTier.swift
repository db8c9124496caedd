import NanoDevice
import NanoModel

extension Engine {
    /// Bits of keys and values that kernels of one name compute; to be raised when they change.
    private static let kernelRevision = 1

    /// Names blocks by all that they depend on; nil where none are to be used again.
    ///
    /// Below memory they outlive the process, so there the weights themselves are looked at.
    static func blockNamer(
        _ configuration: EngineConfiguration, _ fingerprint: PlanFingerprint, _ source: ModelSource,
        progress: (String, Double) -> Void
    ) -> BlockNamer? {
        guard configuration.reusesPrefixes else { return nil }
        var seed = "\(fingerprint.model), \(fingerprint.kernels) \(kernelRevision)"
        if configuration.diskTier != nil {
            seed += ", " + source.weightsDigest { progress("reading the model's checksum", $0) }
        }
        return BlockNamer(blockSize: KVArena.blockSize, seed: seed)
    }

    /// Opens the tier below memory, if there is to be one.
    ///
    /// - Throws: ``NanoFlowError`` for a file that cannot be used.
    static func openDiskTier(
        _ configuration: EngineConfiguration, _ namer: BlockNamer?, _ loaded: LoadedModel,
        rings inbox: EngineInbox, progress: (String, Double) -> Void
    ) throws(NanoFlowError) -> DiskTier? {
        guard let disk = configuration.diskTier, let namer else { return nil }
        let times = loaded.unitTimes
        // What reads memory and nothing else is not to share it.
        let attention = Operation.Kind.decodeAttention.index
        return try DiskTier(
            disk, seed: namer.seed, arena: loaded.kvArena,
            hooks: BlockFile.Hooks(
                mayCopy: { !times.isRunning(attention) }, onCompletion: { inbox.ring() })
        ) { progress("looking for KV blocks in \(disk.directory)", $0) }
    }
}
