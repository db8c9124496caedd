import NanoDevice
package import NanoFlow

/// One of the made-up steps that a machine's profile consists of.
package struct ProfileCase: Codable, Sendable, Hashable {
    /// Sequences that decode, each attending to `context` positions.
    package var decodes = 0
    package var context = 0
    /// Prefill chunks of so many tokens, that begin at `position`.
    package var chunks: [Int] = []
    package var position = 0
    /// How resources share the device, with two nano-batches of equal size; nil: in sequence.
    package var sharing: SearchSpace.Sharing?
    /// Execution units that take part; nil: all.
    package var units: Int?

    package init(
        decodes: Int = 0, context: Int = 0, chunks: [Int] = [], position: Int = 0,
        sharing: SearchSpace.Sharing? = nil, units: Int? = nil
    ) {
        self.units = units
        (self.decodes, self.context) = (decodes, context)
        (self.chunks, self.position) = (chunks, position)
        self.sharing = sharing
    }

    package var rowCount: Int { decodes + chunks.reduce(0, +) }

    package var batch: Batch {
        var items = (0..<decodes).map { slot in
            Batch.Item(
                sequence: slot, slot: slot, positions: context - 1..<context, logits: .last,
                firstNewBlock: 0, newBlocks: [])
        }
        for (index, count) in chunks.enumerated() {
            items.append(
                Batch.Item(
                    sequence: decodes + index, slot: decodes + index,
                    positions: position..<position + count, logits: .last, firstNewBlock: 0,
                    newBlocks: []))
        }
        return Batch(step: 1, items: items)
    }

    package func plan(_ graph: OperationGraph) -> PipelinePlan {
        guard let sharing else { return .sequential(graph) }
        var numbers = PlanNumbers()
        numbers.prefetchRate = sharing.prefetchRate
        numbers.memoryShare = sharing.memoryShare
        return .overlapped(graph, numbers)
    }
}

extension ProfileCase {
    /// Rows at which every operation is measured.
    private static let rowCounts = [
        1, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024, 2048,
    ]
    /// Positions that decodes attend to, in turn.
    private static let contexts = [64, 320, 960]
    /// Tokens of one prefill chunk, at most.
    private static let chunkLength = 256

    /// What to measure of a model within the engine's limits, the cheapest first.
    ///
    /// - Parameters:
    ///   - limits: Of the engine.
    ///   - unitCount: Of the engine.
    ///   - sharings: How resources may share the device.
    /// - Returns: Steps that fit the engine.
    package static func all(
        _ limits: Scheduler.Limits, unitCount: Int, sharings: [SearchSpace.Sharing]
    ) -> [ProfileCase] {
        let longest = limits.sequenceLength - 1
        var cases: [ProfileCase] = []
        for (index, rows) in rowCounts.enumerated() where rows <= limits.batchedTokens {
            if rows <= min(limits.sequences, limits.logitRows) {
                let context = min(contexts[index % contexts.count], longest)
                cases.append(ProfileCase(decodes: rows, context: context))
            }
            guard rows >= 32 else { continue }
            cases += chunks(rows, position: index % 2 == 0 ? 0 : 512, limits)
        }
        // Where steps are small.
        cases += chunks(min(limits.batchedTokens, 32), position: 0, limits)
        let decodes = min(64, limits.sequences, limits.batchedTokens, limits.logitRows)
        for context in contexts {
            cases.append(ProfileCase(decodes: decodes, context: min(context, longest)))
        }
        for context in contexts.dropFirst() {
            for sharing in sharings {
                cases.append(
                    ProfileCase(
                        decodes: decodes, context: min(context, longest), sharing: sharing))
            }
        }
        for units in Set([1, unitCount / 4, unitCount / 2]).sorted()
        where 0 < units && units < unitCount {
            cases.append(
                ProfileCase(
                    decodes: decodes, context: min(contexts[2], longest), units: units))
        }
        var seen = Set<ProfileCase>()
        return cases.filter {
            $0.blockCount(limits) <= limits.blockCount && seen.insert($0).inserted
        }.sorted { $0.cost < $1.cost }
    }

    /// Prefill chunks of so many rows together, at the position or as far behind as there is room;
    /// none where the limits leave no room for such a step.
    private static func chunks(
        _ rows: Int, position: Int, _ limits: Scheduler.Limits
    ) -> [ProfileCase] {
        let count = (rows + chunkLength - 1) / chunkLength
        let length = rows / max(1, count)
        // The last position is that of a token that is only sampled.
        let room = limits.sequenceLength - 1 - length
        guard length > 1, room >= 0, count <= min(limits.sequences, limits.logitRows) else {
            return []
        }
        return [
            ProfileCase(
                chunks: [Int](repeating: length, count: count), position: min(position, room))
        ]
    }

    /// Of the cache, for all sequences.
    private func blockCount(_ limits: Scheduler.Limits) -> Int {
        batch.items.reduce(0) { $0 + limits.blocks(for: $1.positions.upperBound) }
    }

    /// Grows with the time that a step takes.
    private var cost: Int { rowCount * 1024 + decodes * context }
}
