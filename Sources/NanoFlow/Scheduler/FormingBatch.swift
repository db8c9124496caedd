/// A batch on its way, with what is left of the step's budgets.
struct FormingBatch {
    private(set) var batch: Batch
    private(set) var tokenBudget: Int
    private(set) var logitBudget: Int
    /// Blocks that sequences wanted and did not get.
    var shortage = 0
    private var members: Set<SequenceID> = []

    init(step: Int, tokenBudget: Int, logitBudget: Int) {
        batch = Batch(step: step)
        self.tokenBudget = tokenBudget
        self.logitBudget = logitBudget
    }

    var hasRoom: Bool { tokenBudget > 0 && logitBudget > 0 }

    /// Takes no more than so many tokens from now on.
    mutating func limitTokens(_ count: Int?) {
        tokenBudget = min(tokenBudget, count ?? tokenBudget)
    }

    func contains(_ id: SequenceID) -> Bool { members.contains(id) }

    mutating func append(_ item: Batch.Item) {
        batch.items.append(item)
        members.insert(item.sequence)
        tokenBudget -= item.positions.count
        switch item.logits {
        case .none: break
        case .last: logitBudget -= 1
        case .all: logitBudget -= item.positions.count
        }
    }
}
