import NanoFlow
import NanoTestSupport
import Testing

@Suite struct BlockPoolTests {
    @Test func lowestBlocksGoOutFirst() {
        var pool = BlockPool(blockCount: 4)
        var table: [Int32] = []
        #expect(pool.take(2, appendingTo: &table))
        #expect(pool.take(1, appendingTo: &table))
        #expect(table == [0, 1, 2])
        #expect(pool.freeCount == 1)
        pool.checkInvariants(owned: [table])
    }

    @Test func nothingIsTakenWithoutRoomForAll() {
        var pool = BlockPool(blockCount: 2)
        var table: [Int32] = []
        #expect(!pool.take(3, appendingTo: &table))
        #expect(table.isEmpty)
        #expect(pool.freeCount == 2)
    }

    @Test func blocksAreFreeOnlyWhenTheirLastStepHasCompleted() {
        var pool = BlockPool(blockCount: 3)
        var table: [Int32] = []
        #expect(pool.take(3, appendingTo: &table))
        pool.giveBack([2], after: 5, completedStep: 3)
        pool.giveBack([0], after: 4, completedStep: 3)
        pool.giveBack([1], after: 3, completedStep: 3)
        #expect(pool.freeCount == 1)
        #expect(pool.returningCount == 2)
        pool.complete(step: 4)
        #expect(pool.freeCount == 2)
        #expect(pool.returningCount == 1)
        pool.complete(step: 5)
        #expect(pool.freeCount == 3)
        #expect(pool.returningCount == 0)
        pool.checkInvariants(owned: [])
    }

    @Test(arguments: 0..<50)
    func noBlockIsLostOrDoubled(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var pool = BlockPool(blockCount: Int.random(in: 1...40, using: &random))
        var tables: [[Int32]] = []
        var step = 0
        var completedStep = 0
        for _ in 0..<300 {
            switch Int.random(in: 0..<4, using: &random) {
            case 0:
                var table: [Int32] = []
                let free = pool.freeCount
                let count = Int.random(in: 0...10, using: &random)
                #expect(pool.take(count, appendingTo: &table) == (count <= free), "seed \(seed)")
                tables.append(table)
            case 1 where !tables.isEmpty:
                let table = tables.remove(at: Int.random(in: 0..<tables.count, using: &random))
                let after = Int.random(in: 0...step, using: &random)
                pool.giveBack(table, after: after, completedStep: completedStep)
            case 2:
                step += 1
            default:
                completedStep = min(completedStep + 1, step)
                pool.complete(step: completedStep)
            }
            pool.checkInvariants(owned: tables)
        }
        for table in tables { pool.giveBack(table, after: step, completedStep: completedStep) }
        pool.complete(step: step)
        #expect(pool.freeCount == pool.blockCount, "seed \(seed)")
    }

    // MARK: - Blocks that are used again

    @Test func aNamedBlockIsUsedAgainUntilItIsTaken() {
        var pool = BlockPool(blockCount: 3)
        let names = BlockName.chain("a", 3)
        var table: [Int32] = []
        #expect(pool.take(3, appendingTo: &table))
        for (block, name) in zip(table, names) { pool.name(block, name) }
        pool.giveBack(table, after: 0, completedStep: 0)
        #expect(pool.freeCount == 3 && pool.retiredCount == 3)
        #expect(pool.known(names).blocks == table)
        #expect(pool.known(BlockName.chain("b", 3)).blocks == [])

        // The end of the prefix goes first.
        var other: [Int32] = []
        #expect(pool.take(1, appendingTo: &other))
        #expect(other == [table[2]])
        #expect(pool.known(names).blocks == Array(table[..<2]))
        pool.use(Array(table[..<2]))
        #expect(pool.freeCount == 0)
        #expect(pool.known(names).retiredCount == 0)
        pool.checkInvariants(owned: [other, Array(table[..<2])])
    }

    @Test func aSharedBlockIsFreeWhenItsLastUserHasGone() {
        var pool = BlockPool(blockCount: 2)
        let names = BlockName.chain("a", 1)
        var table: [Int32] = []
        #expect(pool.take(1, appendingTo: &table))
        pool.name(table[0], names[0])
        pool.use(table)
        pool.giveBack(table, after: 2, completedStep: 1)
        // Another sequence goes on using it.
        #expect(pool.returningCount == 0 && pool.freeCount == 1)
        pool.giveBack(table, after: 3, completedStep: 1)
        #expect(pool.returningCount == 1)
        pool.complete(step: 2)
        #expect(pool.returningCount == 1 && pool.freeCount == 1)
        pool.complete(step: 3)
        #expect(pool.returningCount == 0 && pool.freeCount == 2)
        pool.checkInvariants(owned: [])
    }

    @Test func theSecondBlockOfOneNameStaysWithout() {
        var pool = BlockPool(blockCount: 2)
        let name = BlockName.chain("a", 1)[0]
        var table: [Int32] = []
        #expect(pool.take(2, appendingTo: &table))
        pool.name(table[0], name)
        pool.name(table[1], name)
        pool.giveBack([table[1]], after: 0, completedStep: 0)
        #expect(pool.retiredCount == 0)
        #expect(pool.known([name]).blocks == [table[0]])
        pool.checkInvariants(owned: [[table[0]]])
    }

    @Test(arguments: 0..<50)
    func usesAreCounted(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var pool = BlockPool(blockCount: Int.random(in: 1...40, using: &random))
        let chains = (0..<4).map { BlockName.chain("chain \($0)", 8) }
        var tables: [(blocks: [Int32], chain: Int)] = []
        var (step, completedStep, reusedCount) = (0, 0, 0)
        for _ in 0..<400 {
            switch Int.random(in: 0..<5, using: &random) {
            case 0:
                let chain = Int.random(in: 0..<4, using: &random)
                let known = pool.known(chains[chain])
                pool.use(known.blocks)
                reusedCount += known.blocks.count
                var table = known.blocks
                let more = Int.random(in: 0...8 - table.count, using: &random)
                _ = pool.take(more, appendingTo: &table)
                tables.append((table, chain))
            case 1 where !tables.isEmpty:
                let table = tables[Int.random(in: 0..<tables.count, using: &random)]
                for (block, name) in zip(table.blocks, chains[table.chain]) {
                    pool.name(block, name)
                }
            case 2 where !tables.isEmpty:
                let table = tables.remove(at: Int.random(in: 0..<tables.count, using: &random))
                pool.giveBack(
                    table.blocks, after: Int.random(in: 0...step, using: &random),
                    completedStep: completedStep)
            case 3: step += 1
            default:
                completedStep = min(completedStep + 1, step)
                pool.complete(step: completedStep)
            }
            pool.checkInvariants(owned: tables.map(\.blocks))
        }
        for table in tables {
            pool.giveBack(table.blocks, after: step, completedStep: completedStep)
        }
        pool.complete(step: step)
        #expect(pool.freeCount == pool.blockCount && reusedCount > 0, "seed \(seed)")
    }

    // MARK: - Names

    @Test func aNameStandsForAllOfThePrefix() {
        func names(_ tokens: [Int32], salt: String? = nil, seed: String = "model") -> [BlockName] {
            var namer = BlockNamer(blockSize: 4, seed: seed).salted(salt)
            namer.append(tokens)
            return namer.names
        }
        let tokens = Array(Int32(1)...12)
        let base = names(tokens)
        #expect(base.count == 3 && Set(base).count == 3)
        #expect(names(tokens + [13, 14, 15]) == base)
        #expect(names(Array(tokens.prefix(11))) == Array(base.prefix(2)))
        // An earlier token changes all names from its block on.
        var changed = tokens
        changed[5] = 99
        #expect(names(changed)[0] == base[0])
        #expect(Set(names(changed)[1...]).isDisjoint(with: base))
        // The same tokens elsewhere, for a tenant, for another model.
        #expect(Set(names(Array(tokens[4...]))).isDisjoint(with: base))
        #expect(Set(names(tokens, salt: "a")).isDisjoint(with: base))
        #expect(Set(names(tokens, salt: "a")).isDisjoint(with: names(tokens, salt: "b")))
        #expect(Set(names(tokens, salt: "")).isDisjoint(with: base))
        #expect(Set(names(tokens, seed: "other")).isDisjoint(with: base))
    }
}

extension BlockName {
    static func chain(_ seed: String, _ count: Int) -> [BlockName] {
        var namer = BlockNamer(blockSize: 1, seed: seed)
        namer.append([Int32](repeating: 7, count: count))
        return namer.names
    }
}
