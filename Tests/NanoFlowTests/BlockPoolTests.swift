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
}
