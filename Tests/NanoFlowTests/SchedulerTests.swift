import NanoFlow
import Testing

/// Exact batches, one line an item: "sequence@slot positions logits, first new block: blocks".
@Suite struct SchedulerTests {
    private func limits(
        sequences: Int = 4, batchedTokens: Int = 8, logitRows: Int = 4, blockCount: Int = 16,
        sequenceLength: Int = 32
    ) -> Scheduler.Limits {
        Scheduler.Limits(
            sequences: sequences, batchedTokens: batchedTokens, logitRows: logitRows, blockSize: 4,
            blockCount: blockCount, sequenceLength: sequenceLength)
    }

    @Test func promptsAreCutToTheTokenBudget() {
        var scheduler = Scheduler(limits())
        scheduler.add(1, promptCount: 19, maxTokens: 4)
        #expect(scheduler.next() == ["1@0 0..<8 none, 0: [0, 1]"])
        #expect(scheduler.next() == ["1@0 8..<16 none, 2: [2, 3]"])
        #expect(scheduler.next() == ["1@0 16..<19 last, 4: [4]"])
        #expect(scheduler.next() == ["1@0 19..<20 last, 5: []"])
        #expect(scheduler.next() == ["1@0 20..<21 last, 5: [5]"])
    }

    @Test func theTokenBudgetMayBeSmallerThanTheLimit() {
        var scheduler = Scheduler(limits())
        scheduler.setTokenBudget(5)
        scheduler.add(1, promptCount: 19, maxTokens: 4)
        #expect(scheduler.next() == ["1@0 0..<5 none, 0: [0, 1]"])
        scheduler.setTokenBudget(100)
        #expect(scheduler.next() == ["1@0 5..<13 none, 2: [2, 3]"])
        scheduler.setTokenBudget(nil)
        #expect(scheduler.next() == ["1@0 13..<19 last, 4: [4]"])
    }

    // MARK: - Prefixes that are known

    @Test func aKnownPrefixIsNotComputedAgain() {
        var scheduler = Scheduler(limits())
        let names = BlockName.chain("a", 3)
        scheduler.add(1, promptCount: 8, maxTokens: 2, names: Array(names[..<2]))
        #expect(scheduler.next() == ["1@0 0..<8 last, 0: [0, 1]"])
        // Computed, but the step has not been named yet.
        scheduler.add(2, promptCount: 10, maxTokens: 3, names: Array(names[..<2]))
        scheduler.name(names, of: 1, computedCount: 8, step: 1)
        #expect(
            scheduler.next() == ["1@0 8..<9 last, 2: [2]", "2@1 8..<10 last, 0: [0, 1, 3]"])
        scheduler.end(1)
        scheduler.end(2)
        // The last token of a prompt is computed in any case.
        scheduler.add(3, promptCount: 8, maxTokens: 3, names: Array(names[..<2]))
        #expect(scheduler.next() == ["3@1 4..<8 last, 0: [0, 3]"])
        scheduler.checkInvariants()
        // Of a scored prompt all logits are wanted.
        scheduler.add(4, promptCount: 9, maxTokens: 1, scoresPrompt: true)
        #expect(scheduler.next()?.contains { $0.hasPrefix("4@0 0..<") } == true)
    }

    @Test func aPreemptedSequenceFindsItsOwnBlocks() {
        var scheduler = Scheduler(limits(sequences: 2, batchedTokens: 16, blockCount: 8))
        scheduler.expectShortCompletions()
        let (first, second) = (BlockName.chain("a", 8), BlockName.chain("b", 8))
        scheduler.add(1, promptCount: 12, maxTokens: 20, names: Array(first[..<3]))
        scheduler.add(2, promptCount: 4, maxTokens: 20, names: Array(second[..<1]))
        _ = scheduler.next()
        scheduler.name(first, of: 1, computedCount: 12, step: 1)
        scheduler.name(second, of: 2, computedCount: 4, step: 1)
        var (restart, count): (String?, Int) = (nil, 0)
        while scheduler.preemptionCount == 0, count < 40 {
            _ = scheduler.next()
            count += 1
        }
        #expect(scheduler.preemptionCount == 1)
        scheduler.end(1)
        for _ in 0..<3 where restart == nil {
            restart = scheduler.next()?.first { $0.hasPrefix("2@") }
        }
        // Its prompt's block was still there.
        #expect(restart?.hasPrefix("2@1 4..<") == true, "\(restart ?? "none")")
    }

    @Test func decodesComeBeforePrefills() {
        var scheduler = Scheduler(limits())
        scheduler.add(1, promptCount: 3, maxTokens: 9)
        #expect(scheduler.next() == ["1@0 0..<3 last, 0: [0]"])
        scheduler.add(2, promptCount: 10, maxTokens: 9)
        scheduler.add(3, promptCount: 2, maxTokens: 9)
        #expect(
            scheduler.next() == ["1@0 3..<4 last, 1: []", "2@1 0..<7 none, 0: [1, 2]"])
        #expect(
            scheduler.next() == [
                "1@0 4..<5 last, 1: [3]", "2@1 7..<10 last, 2: [4]", "3@2 0..<2 last, 0: [5]",
            ])
        #expect(
            scheduler.next() == [
                "1@0 5..<6 last, 2: []", "2@1 10..<11 last, 3: []", "3@2 2..<3 last, 1: []",
            ])
    }

    @Test func sequencesAreAdmittedFirstComeFirstServed() {
        var scheduler = Scheduler(limits(sequences: 2))
        for id in 1...3 { scheduler.add(id, promptCount: 2, maxTokens: 5) }
        #expect(scheduler.next() == ["1@0 0..<2 last, 0: [0]", "2@1 0..<2 last, 0: [1]"])
        #expect(scheduler.waitingCount == 1)
        scheduler.end(1)
        #expect(scheduler.next() == ["2@1 2..<3 last, 1: []", "3@0 0..<2 last, 0: [0]"])
    }

    @Test func aPromptWithoutRoomHoldsUpThoseBehindIt() {
        var scheduler = Scheduler(limits(batchedTokens: 64, blockCount: 8))
        scheduler.add(1, promptCount: 20, maxTokens: 12)
        scheduler.add(2, promptCount: 8, maxTokens: 9)
        scheduler.add(3, promptCount: 1, maxTokens: 1)
        // Three blocks are free, but 1 will need them before 2 has ended.
        #expect(scheduler.next() == ["1@0 0..<20 last, 0: [0, 1, 2, 3, 4]"])
        #expect(scheduler.next() == ["1@0 20..<21 last, 5: [5]"])
        scheduler.end(1)
        #expect(
            scheduler.next() == ["2@0 0..<8 last, 0: [0, 1]", "3@1 0..<1 last, 0: [2]"])
    }

    @Test func logitRowsLimitScoredAndSampledSequencesTogether() {
        var scheduler = Scheduler(limits(logitRows: 4))
        scheduler.add(1, promptCount: 2, maxTokens: 9)
        #expect(scheduler.next() == ["1@0 0..<2 last, 0: [0]"])
        scheduler.add(2, promptCount: 6, maxTokens: 1, scoresPrompt: true)
        scheduler.add(3, promptCount: 2, maxTokens: 9)
        #expect(scheduler.next() == ["1@0 2..<3 last, 1: []", "2@1 0..<3 all, 0: [1]"])
        #expect(scheduler.next() == ["1@0 3..<4 last, 1: []", "2@1 3..<6 all, 1: [2]"])
        // The scored sequence has no more tokens; nothing of it is computed again.
        #expect(scheduler.next() == ["1@0 4..<5 last, 1: [3]", "3@2 0..<2 last, 0: [4]"])
    }

    @Test func aScoredPromptIsContinued() {
        var scheduler = Scheduler(limits(logitRows: 4))
        scheduler.add(1, promptCount: 6, maxTokens: 3, scoresPrompt: true)
        #expect(scheduler.next() == ["1@0 0..<4 all, 0: [0]"])
        #expect(scheduler.next() == ["1@0 4..<6 all, 1: [1]"])
        #expect(scheduler.next() == ["1@0 6..<7 last, 2: []"])
        #expect(scheduler.next() == ["1@0 7..<8 last, 2: []"])
        // The third token is sampled from the second's logits, and is never computed.
        #expect(scheduler.next() == nil)
        scheduler.end(1, completionTokens: 3)
        #expect(scheduler.isIdle)
    }

    @Test func promptsTakeWhatIsLeftBesideDecodes() {
        var scheduler = Scheduler(limits(batchedTokens: 16))
        scheduler.add(1, promptCount: 2, maxTokens: 9)
        #expect(scheduler.next() == ["1@0 0..<2 last, 0: [0]"])
        scheduler.add(2, promptCount: 8, maxTokens: 2)
        let batch = scheduler.schedule { decodes in decodes == 1 ? 3 : nil }
        #expect(batch?.items.map(\.positions) == [2..<3, 0..<3])
        // Nobody is kept waiting for a prompt that has the step to itself.
        scheduler.end(1)
        let rest = scheduler.schedule { decodes in decodes == 1 ? 3 : nil }
        #expect(rest?.items.map(\.positions) == [3..<8])
    }

    @Test func tenantsHaveTurnsByWhatTheyCost() {
        var turns = TenantTurns()
        let share = { (tenant: Int) in TenantShare(tenant: tenant, cost: 40) }
        #expect((0..<3).map { _ in turns.turn(of: share(1), step: 100) } == [100, 140, 180])
        // Nothing of the backlog has begun, nor does its age in steps count.
        #expect(turns.turn(of: share(2), step: 9000) == 100)
        turns.begin(140)
        #expect(turns.turn(of: share(2), step: 9000) == 140)
        #expect(turns.turn(of: share(3), step: 9000) == 140)
        #expect(turns.turn(of: nil, step: 9000) == 140)
        // What was not asked for is not saved up, nor is a backlog that was served held against one.
        turns.rest()
        #expect((1...4).map { turns.turn(of: share($0), step: 9001) } == [220, 220, 220, 220])
    }

    @Test func turnsAreSettledByWhatWasSpent() {
        var turns = TenantTurns()
        let share = TenantShare(tenant: 1, cost: 40)
        #expect((0..<3).map { _ in turns.turn(of: share, step: 100) } == [100, 140, 180])
        // Two were given up before they began: they cost nothing.
        turns.settle(share, cost: 0)
        turns.settle(share, cost: 0)
        #expect(turns.turn(of: share, step: 100) == 140)
        // One took ten times as long as predicted.
        turns.settle(share, cost: 400)
        #expect(turns.turn(of: share, step: 100) == 540)
        // Nobody saves up time that has gone by.
        turns.begin(540)
        for _ in 0..<9 { turns.settle(share, cost: 0) }
        #expect(turns.turn(of: share, step: 100) == 540)
    }

    @Test func aNewcomerDoesNotWaitForABacklogOfTwo() {
        var scheduler = Scheduler(limits(sequences: 1, batchedTokens: 16))
        for id in 1...200 {
            scheduler.add(
                id, promptCount: 2, maxTokens: 1,
                share: TenantShare(tenant: id % 2, cost: 2))
        }
        var order: [SequenceID] = []
        while order.count < 60, let batch = scheduler.schedule() {
            order += batch.items.map(\.sequence)
            scheduler.complete(step: batch.step)
            batch.items.forEach { scheduler.end($0.sequence, completionTokens: 1) }
            guard order.count == 50 else { continue }
            scheduler.add(
                999, promptCount: 2, maxTokens: 1, share: TenantShare(tenant: 9, cost: 2))
        }
        let place = order.firstIndex(of: 999)
        #expect(place.map { (50...52).contains($0) } == true)
    }

    @Test func aTenantsBacklogStandsBehindAnothersFirst() {
        var scheduler = Scheduler(limits(sequences: 1, batchedTokens: 16))
        for id in 1...3 {
            scheduler.add(
                id, promptCount: 2, maxTokens: 1, share: TenantShare(tenant: 1, cost: 50))
        }
        scheduler.add(4, promptCount: 2, maxTokens: 1, share: TenantShare(tenant: 2, cost: 50))
        var order: [SequenceID] = []
        while let batch = scheduler.schedule() {
            order += batch.items.map(\.sequence)
            scheduler.complete(step: batch.step)
            batch.items.forEach { scheduler.end($0.sequence, completionTokens: 1) }
        }
        #expect(order == [1, 4, 2, 3])
        #expect(scheduler.isIdle)
    }

    @Test func nothingIsAdmittedWithoutLogitRows() {
        var scheduler = Scheduler(limits(logitRows: 1))
        scheduler.add(1, promptCount: 2, maxTokens: 2)
        scheduler.add(2, promptCount: 5, maxTokens: 2)
        #expect(scheduler.next() == ["1@0 0..<2 last, 0: [0]"])
        #expect(scheduler.next() == ["1@0 2..<3 last, 1: []"])
        #expect(scheduler.next() == ["2@1 0..<5 last, 0: [1, 2]"])
    }

    @Test func aLongPromptDoesNotHoldUpDecodes() {
        var scheduler = Scheduler(limits(batchedTokens: 2))
        scheduler.add(1, promptCount: 1, maxTokens: 9)
        scheduler.add(2, promptCount: 9, maxTokens: 1)
        _ = scheduler.next()
        for position in 0..<4 {
            let batch = scheduler.next()
            #expect(batch?.count == 2)
            #expect(batch?.first?.hasPrefix("1@0 \(position + 1)") == true)
        }
    }

    @Test func anEndByLengthWastesNoStep() {
        var scheduler = Scheduler(limits())
        scheduler.add(1, promptCount: 2, maxTokens: 2)
        #expect(scheduler.next() == ["1@0 0..<2 last, 0: [0]"])
        #expect(scheduler.next() == ["1@0 2..<3 last, 1: []"])
        #expect(scheduler.next() == nil)
        #expect(scheduler.runningCount == 1)
        scheduler.end(1)
        #expect(scheduler.isIdle)
    }

    @Test func slotAndBlocksAreFreeWhenTheLastStepWithThemHasCompleted() {
        var scheduler = Scheduler(limits(sequences: 1))
        scheduler.add(1, promptCount: 5, maxTokens: 9)
        scheduler.add(2, promptCount: 2, maxTokens: 9)
        #expect(scheduler.launch() == ["1@0 0..<5 last, 0: [0, 1]"])
        #expect(scheduler.launch() == ["1@0 5..<6 last, 2: []"])
        // Step 1 sampled the end of the sequence, which step 2 includes once more.
        scheduler.complete(step: 1)
        scheduler.end(1)
        #expect(scheduler.freeBlockCount == 14)
        #expect(scheduler.launch() == nil)
        scheduler.complete(step: 2)
        #expect(scheduler.freeBlockCount == 16)
        #expect(scheduler.launch() == ["2@0 0..<2 last, 0: [0]"])
    }

    /// Where an abort meets the sequence.
    enum Moment: CaseIterable {
        case waiting, inFlight, betweenChunks, decoding
    }

    @Test(arguments: Moment.allCases)
    func anAbortedSequenceIsInNoLaterBatch(moment: Moment) {
        var scheduler = Scheduler(limits(sequences: 1))
        scheduler.add(1, promptCount: 10, maxTokens: 9)
        scheduler.add(2, promptCount: 2, maxTokens: 9)
        let launched =
            switch moment {
            case .waiting: 0
            case .inFlight, .betweenChunks: 1
            case .decoding: 3
            }
        for _ in 0..<launched { _ = scheduler.launch() }
        let completed = moment == .inFlight ? 0 : launched
        for step in 0..<completed { scheduler.complete(step: step + 1) }
        scheduler.end(1)
        scheduler.end(1)
        scheduler.checkInvariants()
        #expect(scheduler.freeBlockCount == (moment == .inFlight ? 14 : 16))
        if moment == .inFlight {
            #expect(scheduler.launch() == nil)
            scheduler.complete(step: 1)
        }
        #expect(scheduler.launch() == ["2@0 0..<2 last, 0: [0]"])
        scheduler.checkInvariants()
    }

    // MARK: - The forecast

    @Test func asManyAreAdmittedAsWillFitAtTheirPeak() {
        // Each grows to two blocks, and the fifth and sixth would not fit any more.
        var scheduler = Scheduler(
            limits(sequences: 8, batchedTokens: 64, logitRows: 8, blockCount: 8))
        for id in 1...6 { scheduler.add(id, promptCount: 2, maxTokens: 7) }
        #expect(scheduler.next()?.count == 4)
        #expect(scheduler.waitingCount == 2)
        #expect(scheduler.counts.predictedPeakBlocks == 8)
        for _ in 0..<4 { _ = scheduler.next() }
        #expect(scheduler.counts.mostUsedBlocks == 8)
        #expect(scheduler.preemptionCount == 0)
        // One ends early. The others end before the last two ask for a second block.
        scheduler.end(2, completionTokens: 5)
        #expect(scheduler.next()?.count == 5)
        #expect(scheduler.freeBlockCount == 0)
        #expect(scheduler.counts.predictedTokens == 7)
        #expect(scheduler.counts.completedTokens == 5)
    }

    @Test func completionsThatWereShortLetMoreIn() {
        var scheduler = Scheduler(
            limits(sequences: 8, batchedTokens: 64, logitRows: 8, blockCount: 8))
        scheduler.expectShortCompletions()
        // A block each for now, where their limits would ask for two.
        for id in 1...6 { scheduler.add(id, promptCount: 2, maxTokens: 7) }
        #expect(scheduler.next()?.count == 6)
        // Where nothing but the limit can end them, that is what counts.
        var certain = Scheduler(
            limits(sequences: 8, batchedTokens: 64, logitRows: 8, blockCount: 8))
        certain.expectShortCompletions()
        for id in 1...6 { certain.add(id, promptCount: 2, maxTokens: 7, endsAtLimit: true) }
        #expect(certain.next()?.count == 4)
    }

    @Test func aSharedPrefixIsCountedOnce() {
        var scheduler = Scheduler(
            limits(sequences: 8, batchedTokens: 64, logitRows: 8, blockCount: 8))
        let names = BlockName.chain("a", 4)
        scheduler.add(1, promptCount: 17, maxTokens: 2, names: names)
        _ = scheduler.next()
        scheduler.name(names, of: 1, computedCount: 16, step: 2)
        // Four blocks in common, and one of its own for each.
        for id in 2...4 { scheduler.add(id, promptCount: 17, maxTokens: 2, names: names) }
        #expect(scheduler.next()?.count == 4)
        #expect(scheduler.freeBlockCount == 0)
    }

    // MARK: - Priority

    @Test func lowerLevelsGoFirst() {
        var scheduler = Scheduler(limits(sequences: 1))
        scheduler.add(1, promptCount: 2, maxTokens: 9)
        _ = scheduler.next()
        scheduler.add(2, promptCount: 2, maxTokens: 9)
        scheduler.add(3, promptCount: 2, maxTokens: 9, level: 1)
        scheduler.add(4, promptCount: 2, maxTokens: 9, level: -1)
        var order: [String] = []
        for id in [1, 4, 2, 3] {
            scheduler.end(id)
            order.append(String(scheduler.next()?.first?.prefix(1) ?? "-"))
        }
        #expect(order == ["4", "2", "3", "-"])
    }

    /// A level is worth so many steps: one of a higher level that has waited as long goes first.
    @Test func ageOutweighsPriority() {
        var scheduler = Scheduler(limits(sequences: 1, blockCount: 100, sequenceLength: 400))
        scheduler.add(1, promptCount: 1, maxTokens: 399)
        scheduler.add(2, promptCount: 2, maxTokens: 9, level: 1)
        var newcomers = 0
        for _ in 0..<300 {
            _ = scheduler.next()
            newcomers += 1
            scheduler.add(2 + newcomers, promptCount: 2, maxTokens: 1)
        }
        scheduler.end(1)
        var before = 0
        while let batch = scheduler.next(), !batch[0].hasPrefix("2@") {
            before += 1
            scheduler.end(Int(batch[0].prefix { $0 != "@" }) ?? 0)
        }
        // Those that came in the first 255 of its steps.
        #expect(before == 255)
    }

    // MARK: - Preemption

    /// Two sequences that grow to four blocks each, in a pool of six: after five more steps there
    /// is no block left for position 12 of either.
    private func crowded() -> Scheduler {
        var scheduler = Scheduler(
            limits(sequences: 3, batchedTokens: 16, blockCount: 6, sequenceLength: 16))
        scheduler.expectShortCompletions()
        scheduler.add(1, promptCount: 7, maxTokens: 9)
        scheduler.add(2, promptCount: 7, maxTokens: 9)
        for _ in 0..<5 { _ = scheduler.next() }
        return scheduler
    }

    @Test func theSequenceAdmittedLastGivesUpItsBlocksAndComputesThemAnew() {
        var scheduler = crowded()
        #expect(scheduler.freeBlockCount == 0)
        #expect(
            scheduler.next() == ["1@0 11..<12 last, 3: []", "2@1 11..<12 last, 3: []"])
        #expect(scheduler.next() == ["1@0 12..<13 last, 3: [2]"])
        #expect(scheduler.preemptionCount == 1)
        // 3 comes behind 2, which waits in front.
        scheduler.add(3, promptCount: 1, maxTokens: 1)
        #expect(scheduler.next() == ["1@0 13..<14 last, 4: []"])
        scheduler.end(1)
        // It has kept its slot and the six tokens it had sampled.
        #expect(
            scheduler.next() == ["2@1 0..<13 last, 0: [0, 1, 4, 2]", "3@0 0..<1 last, 0: [3]"])
        #expect(scheduler.next() == ["2@1 13..<14 last, 4: []"])
        #expect(scheduler.preemptionCount == 1)
    }

    @Test func blocksOfAPreemptedSequenceAreNotTakenWhileItsStepIsInFlight() {
        var scheduler = crowded()
        #expect(scheduler.launch()?.count == 2)
        #expect(scheduler.launch() == nil)
        #expect(scheduler.preemptionCount == 1)
        #expect(scheduler.freeBlockCount == 0)
        // Asking again does not preempt again: enough is on its way back.
        #expect(scheduler.launch() == nil)
        #expect(scheduler.preemptionCount == 1)
        scheduler.complete(step: 6)
        #expect(scheduler.launch() == ["1@0 12..<13 last, 3: [2]"])
    }

    @Test func anAbortedSequenceThatWasPreemptedGivesBackItsSlot() {
        var scheduler = crowded()
        #expect(scheduler.launch()?.count == 2)
        #expect(scheduler.launch() == nil)
        scheduler.end(2)
        scheduler.end(1)
        scheduler.checkInvariants()
        #expect(scheduler.isIdle)
        #expect(scheduler.freeBlockCount == 0)
        scheduler.complete(step: 6)
        scheduler.checkInvariants()
        #expect(scheduler.freeBlockCount == 6)
    }

    @Test func noMoreSequencesArePreemptedThanTheShortageAsksFor() {
        // Four sequences of three blocks each reach the blocks' end together; none is free.
        var scheduler = Scheduler(limits(blockCount: 12))
        scheduler.expectShortCompletions()
        for id in 1...4 { scheduler.add(id, promptCount: 3, maxTokens: 20) }
        while scheduler.freeBlockCount > 0 { _ = scheduler.next() }
        let before = scheduler.preemptionCount
        while scheduler.preemptionCount == before { _ = scheduler.launch() }
        // The last one's three blocks are what the others ask for.
        #expect(scheduler.preemptionCount - before == 1)
        #expect(scheduler.waitingCount == 1)
    }
}

extension Scheduler {
    /// Makes the forecast wrong for longer ones.
    fileprivate mutating func expectShortCompletions() {
        for _ in 0..<CompletionLengths.leastCount { observe(completionTokens: 2) }
    }

    /// Schedules a step and completes it.
    fileprivate mutating func next() -> [String]? {
        let batch = launch()
        if batch != nil { complete(step: step) }
        checkInvariants()
        return batch
    }

    /// Schedules a step, which is then in flight.
    fileprivate mutating func launch() -> [String]? {
        let batch = schedule()
        checkInvariants()
        return batch?.items.map {
            "\($0.sequence)@\($0.slot) \($0.positions) \($0.logits), \($0.firstNewBlock): "
                + "\(Array($0.newBlocks))"
        }
    }
}
