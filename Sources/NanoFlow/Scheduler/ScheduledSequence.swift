/// What the scheduler knows of a sequence.
///
///     0 ........ computedCount ........ tokenCount ........ endCount
///     [  in the cache, or in flight  )[ to compute )[ not sampled yet )
struct ScheduledSequence {
    /// Where it stands.
    ///
    /// A sequence may go to and fro, and may end anywhere.
    ///
    ///     waiting ──▶ fetching ──▶ running ──▶ waiting
    ///        └──────────────────────▲
    enum State {
        /// It has no blocks.
        case waiting
        /// Blocks are on their way from the tier below.
        case fetching
        case running
    }

    /// A block that is not full.
    struct Tail {
        let name: BlockName
        /// Positions that are computed, those of the full blocks before it included.
        let count: Int
    }

    let key: SequenceKey
    /// Its turn among those who share the machine.
    let turn: Int
    /// Whose it is, and what it is predicted to cost; nil: nobody's.
    let share: TenantShare?
    let promptCount: Int
    let endCount: Int
    /// Whether the prompt's own tokens are scored, so that all of them are computed.
    let scoresPrompt: Bool
    private var hasScoredPrompt = false
    /// Nothing but the limit ends it.
    let endsAtLimit: Bool
    var state = State.waiting
    var computedCount = 0
    var tokenCount: Int
    var slot: Int?
    var blocks: [Int32] = []
    /// Of its blocks, those that the pipeline has been told.
    var toldCount = 0
    /// Of its full blocks, as far as they are known.
    var names: [BlockName] = []
    /// Of its blocks, those that have names in the cache, or have been offered one.
    var namedCount = 0
    /// What it had computed when it gave up its blocks, beyond the full ones, if that can be found.
    var tail: Tail?
    /// Blocks that it has given up while steps that fill them were in flight.
    var leftBlocks: [Int32] = []
    /// The first step that included it since it began to run, the last time.
    var admissionStep = 0
    /// The last step that includes the sequence.
    var lastStep = 0
    /// Tokens of the completion, as they were predicted when it was first admitted.
    var predictedTokens: Int?

    init(
        key: SequenceKey, turn: Int, share: TenantShare?, promptCount: Int, maxTokens: Int,
        scoresPrompt: Bool, endsAtLimit: Bool, names: [BlockName]
    ) {
        self.key = key
        self.turn = turn
        self.share = share
        self.promptCount = promptCount
        self.scoresPrompt = scoresPrompt
        self.endsAtLimit = endsAtLimit
        self.names = names
        tokenCount = promptCount
        endCount = promptCount + max(1, maxTokens)
    }

    /// Whether tokens of the prompt are still to be scored.
    var isScoring: Bool { scoresPrompt && !hasScoredPrompt }

    var isRunning: Bool { state == .running }

    /// Tokens to compute; the last sampled token of a full sequence is never computed.
    var remainingCount: Int { tokenCount == endCount ? 0 : tokenCount - computedCount }

    /// Tokens sampled so far, or in flight.
    var sampledCount: Int { tokenCount - promptCount }

    /// The names of blocks that need not be computed: all but the last token's.
    func reusableNames(_ blockSize: Int) -> ArraySlice<BlockName> {
        isScoring ? [] : names.prefix((tokenCount - 1) / blockSize)
    }

    /// Begins to run, with the blocks that it has got, the last of which may be its tail.
    mutating func resume(blockSize: Int, step: Int) {
        state = .running
        leftBlocks = []
        computedCount = blocks.count * blockSize
        if let tail, blocks.count == tail.count / blockSize + 1 { computedCount = tail.count }
        namedCount = computedCount / blockSize
        tail = nil
        admissionStep = step
    }

    /// Goes back to waiting; `left` are blocks that steps in flight still fill.
    mutating func giveUpBlocks(left: [Int32]) {
        state = .waiting
        leftBlocks = left
        blocks = []
        (computedCount, toldCount) = (0, 0)
    }

    mutating func advance(to end: Int, reachesEnd: Bool, step: Int) {
        computedCount = end
        toldCount = blocks.count
        lastStep = step
        // The token that this step samples; where none is wanted it only marks the end.
        if reachesEnd {
            tokenCount += 1
            hasScoredPrompt = true
        }
    }
}

/// Where a sequence stands among the others: smaller ones go first, and larger ones give way.
///
/// It never changes, and a level of priority is worth a number of steps of age. So a sequence waits
/// for those that came before it, and of those that come later only for ones of lower level that come
/// within so many steps: as those end, it is the first.
struct SequenceKey: Comparable, Hashable {
    /// The steps that a level is worth.
    static let stepsPerLevel = 256

    private let time: Int
    private let id: SequenceID

    init(step: Int, level: Int, id: SequenceID) {
        time = step + level * Self.stepsPerLevel
        self.id = id
    }

    static func < (a: SequenceKey, b: SequenceKey) -> Bool { (a.time, a.id) < (b.time, b.id) }
}
