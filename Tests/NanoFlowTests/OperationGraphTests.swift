import NanoFlow
import NanoTestSupport
import Testing

@Suite struct OperationGraphTests {
    @Test func theBeginningTheEndAndEveryLayerAreComplete() {
        let graph = OperationGraph.decoder(layerCount: 2)
        #expect(graph.operations.count == 4 + 11 * 2)
        #expect(graph.operations.first?.kind == .embedding)
        #expect(graph.operations.suffix(3).map(\.kind) == [.finalNorm, .lmHead, .sampling])
        for layer in 0..<2 {
            #expect(
                graph.operations.filter { $0.layer == layer }.map(\.kind) == [
                    .attentionNorm, .qkvProjection, .ropeAppend, .prefillAttention,
                    .decodeAttention, .attentionQuantization, .outputProjection, .feedForwardNorm,
                    .gateUpProjection, .activation, .downProjection,
                ])
        }
        #expect(graph.kinds.before == [.embedding])
        #expect(graph.kinds.after == [.finalNorm, .lmHead, .sampling])
    }

    @Test func kindsAreNumberedInTheirOrder() {
        let kinds = Operation.Kind.allCases
        #expect(kinds.map(\.index) == Array(kinds.indices))
    }

    @Test func decodeAttentionIsBoundByMemory() {
        for kind in Operation.Kind.allCases {
            #expect((kind.resource == .memory) == (kind == .decodeAttention))
        }
    }
}

/// `split(into:)` against what reading and writing mean, row by row and position by position.
@Suite struct SplitTests {
    /// One thing that can be read or written.
    private struct Cell: Hashable {
        let buffer: Buffer
        let layer: Int
        let slot: Int
        /// Row, or block of positions; of writers to the cache the position.
        let place: Int
    }

    private static let blockSize = 4

    private func cells(
        _ operation: NanoOperation, _ layout: BatchLayout
    ) -> (read: Set<Cell>, written: Set<Cell>) {
        var (read, written) = (Set<Cell>(), Set<Cell>())
        for access in operation.kind.accesses {
            for cell in cells(access, operation, layout) {
                if access.isWrite { written.insert(cell) } else { read.insert(cell) }
            }
        }
        return (read, written)
    }

    private func cells(
        _ access: BufferAccess, _ operation: NanoOperation, _ layout: BatchLayout
    ) -> [Cell] {
        let kind = operation.kind
        func row(_ place: Int) -> Cell {
            Cell(buffer: access.buffer, layer: 0, slot: 0, place: place)
        }
        if kind.isOnLogitRows {
            return operation.logitRows.map {
                row(access.buffer == .residual ? layout.logitRows[$0] : $0)
            }
        }
        var result: [Cell] = []
        for run in layout.runs {
            for index in 0..<run.positions.count where operation.rows.contains(run.firstRow + index)
            {
                if kind == .decodeAttention, !run.isDecode { continue }
                if kind == .prefillAttention, run.isDecode { continue }
                guard access.buffer == .cache else {
                    result.append(row(run.firstRow + index))
                    continue
                }
                let position = run.positions.lowerBound + index
                let layer = operation.layer ?? -1
                if access.isWrite {
                    result.append(
                        Cell(buffer: .cache, layer: layer, slot: run.slot, place: position))
                } else {
                    let end = (position / Self.blockSize + 1) * Self.blockSize
                    for seen in 0..<end {
                        result.append(
                            Cell(buffer: .cache, layer: layer, slot: run.slot, place: seen))
                    }
                }
            }
        }
        return result
    }

    @Test(arguments: 0..<40)
    func operationsDependOnEachOtherExactlyWhereTheirSetsMeet(seed: Int) {
        var random = SeededGenerator(seed: UInt64(seed))
        let batch = Batch.random(using: &random)
        let nanoBatches = NanoBatches.random(batch, using: &random)
        let graph = OperationGraph.decoder(layerCount: 3).split(
            into: nanoBatches, blockSize: Self.blockSize)
        let sets = graph.operations.map { cells($0, graph.layout) }
        var behind: [Set<Int>] = []
        for (index, operation) in graph.operations.enumerated() {
            for dependency in operation.dependencies {
                #expect(dependency < index)
                #expect(meet(sets[dependency], sets[index]), "seed \(seed): \(operation)")
            }
            let all = operation.dependencies.reduce(into: Set(operation.dependencies)) {
                $0.formUnion(behind[$1])
            }
            behind.append(all)
            for earlier in 0..<index where !all.contains(earlier) {
                #expect(
                    !meet(sets[earlier], sets[index]),
                    "seed \(seed): \(operation) may run before \(graph.operations[earlier])")
            }
        }
    }

    private func meet(
        _ a: (read: Set<Cell>, written: Set<Cell>), _ b: (read: Set<Cell>, written: Set<Cell>)
    ) -> Bool {
        !a.written.isDisjoint(with: b.written) || !a.written.isDisjoint(with: b.read)
            || !a.read.isDisjoint(with: b.written)
    }

    @Test(arguments: 0..<20)
    func everyOperationHasEveryRowOnce(seed: Int) {
        var random = SeededGenerator(seed: UInt64(seed))
        let batch = Batch.random(using: &random)
        let model = OperationGraph.decoder(layerCount: 2)
        let graph = model.split(
            into: .random(batch, using: &random), blockSize: Self.blockSize)
        let layout = graph.layout
        for (index, operation) in model.operations.enumerated() {
            let parts = graph.operations.filter { $0.operation == index }
            #expect(parts.allSatisfy { $0.kind == operation.kind && $0.layer == operation.layer })
            if operation.kind.isOnLogitRows {
                #expect(parts.flatMap(\.logitRows) == Array(layout.logitRows.indices))
                continue
            }
            let expected: [Int] =
                switch operation.kind {
                case .decodeAttention: layout.runs.filter(\.isDecode).flatMap(\.rows)
                case .prefillAttention: layout.runs.filter { !$0.isDecode }.flatMap(\.rows)
                default: Array(0..<layout.rowCount)
                }
            let rows = Set(parts.flatMap(\.rows))
            #expect(rows.isSuperset(of: expected))
            #expect(parts.map(\.rows.count).reduce(0, +) == rows.count)
        }
    }

    /// A chunk cut in two: the later part's attention waits for the earlier part's keys.
    @Test func theLaterPartOfAChunkReadsWhatTheEarlierPartAppends() throws {
        let batch = Batch(step: 1, items: [.prefill(slot: 0, positions: 0..<40)])
        let layout = BatchLayout(batch, shares: [0.5, 0.5], alignment: 4)
        #expect(layout.boundaries == [0, 20, 40])
        let graph = OperationGraph.decoder(layerCount: 1).split(
            into: NanoBatches(layout), blockSize: Self.blockSize)
        func index(_ kind: Operation.Kind, _ part: Int) throws -> Int {
            try #require(
                graph.operations.firstIndex { $0.kind == kind && $0.nanoBatch == part })
        }
        let later = graph.operations[try index(.prefillAttention, 1)]
        let appends = [try index(.ropeAppend, 0), try index(.ropeAppend, 1)]
        #expect(later.dependencies == appends)
        let earlier = graph.operations[try index(.prefillAttention, 0)]
        #expect(earlier.dependencies == [appends[0]])
    }

    /// In the middle of a block the earlier part reads the whole of it, the later part's slots too.
    @Test func aCutWithinABlockTiesBothPartsTogether() {
        let batch = Batch(step: 1, items: [.prefill(slot: 0, positions: 0..<40)])
        let layout = BatchLayout(batch, shares: [0.55, 0.45], alignment: 1)
        #expect(layout.boundaries == [0, 22, 40])
        let graph = OperationGraph.decoder(layerCount: 1).split(
            into: NanoBatches(layout), blockSize: Self.blockSize)
        for operation in graph.operations where operation.kind == .prefillAttention {
            #expect(operation.dependencies.count == 2)
        }
    }
}

@Suite struct BatchLayoutTests {
    @Test(arguments: 0..<100)
    func everyPositionOfABatchHasARow(seed: Int) {
        var random = SeededGenerator(seed: UInt64(seed))
        let batch = Batch.random(using: &random)
        let shares = [Double].shares(count: Int.random(in: 1...4, using: &random), using: &random)
        let layout = BatchLayout(batch, shares: shares, alignment: 4)
        #expect(layout.rowCount == batch.tokenCount)
        #expect(layout.runs.flatMap(\.rows) == Array(0..<batch.tokenCount))
        var logitRows = 0
        for (index, item) in batch.items.enumerated() {
            let runs = layout.runs.filter { $0.item == index }
            #expect(runs.flatMap(\.positions) == Array(item.positions))
            #expect(runs.allSatisfy { $0.slot == item.slot })
            switch item.logits {
            case .none: break
            case .last: logitRows += 1
            case .all: logitRows += item.positions.count
            }
        }
        #expect(layout.logitRows.count == logitRows)
        #expect(layout.logitRows == layout.logitRows.sorted())
    }

    @Test func decodesAreDealtByTheirContexts() {
        let contexts = [10, 500, 20, 400, 30, 300]
        let batch = Batch(
            step: 1,
            items: contexts.enumerated().map { .decode(slot: $0, position: $1) }
                + [.prefill(slot: 6, positions: 0..<130)])
        let layout = BatchLayout(batch, shares: [0.5, 0.5], alignment: 64)
        // Half of 136 rows would be 3 decodes and 65 tokens; blocks are not cut.
        #expect(layout.boundaries == [0, 67, 136])
        let first = layout.runs.filter { $0.firstRow < 67 }
        #expect(first.filter(\.isDecode).map(\.slot) == [1, 2, 4])
        #expect(first.last?.positions == 0..<64)
    }

    @Test func aSmallBatchMayFillOneNanoBatchOnly() {
        let batch = Batch(step: 1, items: [.decode(slot: 0, position: 9)])
        let layout = BatchLayout(batch, shares: [0.5, 0.5], alignment: 64)
        #expect(layout.boundaries == [0, 1])
    }
}

@Suite struct RowSetTests {
    @Test func setsMeetAsTheirNumbersDo() {
        var random = SeededGenerator(seed: 3)
        for _ in 0..<500 {
            func numbers() -> [Int] {
                (0..<30).filter { _ in Int.random(in: 0..<3, using: &random) == 0 }
            }
            let (a, b) = (numbers(), numbers())
            let (setA, setB) = (RowSet(ascending: a), RowSet(ascending: b))
            #expect(setA.ranges.flatMap { Array($0) } == a)
            #expect(setA.intersects(setB) == !Set(a).isDisjoint(with: b))
            #expect(setA.isSubset(of: setB) == Set(a).isSubset(of: b))
            #expect(setA.isEmpty == a.isEmpty)
            let part = setA.intersection(5..<20)
            #expect(part.ranges.flatMap { Array($0) } == a.filter { (5..<20).contains($0) })
        }
    }
}

// MARK: - Batches and cuts by seed

extension Batch {
    /// Decodes and prompts in any order, each of a slot of its own.
    static func random(using random: inout SeededGenerator) -> Batch {
        let items = (0..<Int.random(in: 1...7, using: &random)).map { slot -> Item in
            let first = Int.random(in: 0...20, using: &random)
            let count =
                Bool.random(using: &random) ? 1 : Int.random(in: 2...24, using: &random)
            let logits: [Logits] = [.none, .last, .all]
            return Item(
                sequence: slot, slot: slot, positions: first..<first + count,
                logits: count == 1 ? .last : logits[Int.random(in: 0..<3, using: &random)],
                firstNewBlock: 0, newBlocks: [])
        }
        return Batch(step: 1, items: items)
    }
}

extension [Double] {
    static func shares(count: Int, using random: inout SeededGenerator) -> [Double] {
        let weights = (0..<count).map { _ in Double.random(in: 0.2...1, using: &random) }
        return weights.map { $0 / weights.reduce(0, +) }
    }
}

extension NanoBatches {
    /// Cuts anywhere, and some kinds elsewhere than the others.
    static func random(_ batch: Batch, using random: inout SeededGenerator) -> NanoBatches {
        let count = Int.random(in: 1...4, using: &random)
        let layout = BatchLayout(
            batch, shares: .shares(count: count, using: &random),
            alignment: Int.random(in: 1...4, using: &random))
        var exceptions: [Operation.Kind: [Int]] = [:]
        for kind in Operation.Kind.allCases where Int.random(in: 0..<3, using: &random) == 0 {
            let cuts = Set((0..<2).map { _ in Int.random(in: 0...layout.rowCount, using: &random) })
            exceptions[kind] = cuts.union([0, layout.rowCount]).sorted()
        }
        return NanoBatches(layout, exceptions: exceptions)
    }
}
