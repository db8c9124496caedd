/// The engine at one moment: what runs and waits, what the KV cache holds, what has been counted since
/// the start.
package struct EngineStatus: Sendable, Hashable {
    package var runningRequests = 0
    /// Those whose blocks are being fetched among them.
    package var waitingRequests = 0
    package var blockCount = 0
    package var usedBlocks = 0
    /// The forecast beside what came of it.
    package var scheduler = Scheduler.Counts()
    /// Tokens of prompts that have begun, and those of them that were not computed.
    package var promptTokens = 0
    package var cachedPromptTokens = 0
    package var generatedTokens = 0
    /// Seconds that the machine is predicted to spend on requests that have not begun.
    package var queuedSeconds = 0.0
    /// Requests given up since they had waited too long.
    package var overdueRequests = 0
    /// What has moved between memory and the disk tier.
    package var transfers = BlockCache.Counts()
    /// Blocks that the disk tier has, and has room for; 0 without one.
    package var diskBlocks = 0
    package var diskBlockLimit = 0
    /// Of what has failed on the disk, what was found out by a checksum.
    package var diskChecksumFaults = 0
    /// Bytes that the process has in memory at most.
    package var memoryBoundByteCount = 0

    package init() {}

    /// Takes what the scheduler knows.
    mutating func update(_ scheduler: Scheduler) {
        runningRequests = scheduler.runningCount
        waitingRequests = scheduler.waitingCount + scheduler.fetching.count
        blockCount = scheduler.limits.blockCount
        usedBlocks = scheduler.cache.pool.usedCount
        self.scheduler = scheduler.counts
        transfers = scheduler.transferCounts
        diskBlocks = scheduler.cache.tier?.recordCount ?? 0
        diskBlockLimit = scheduler.cache.tier?.slotCount ?? 0
    }
}
