import Foundation
import NanoDevice
import Testing

/// A record that was not written, or that is not the one that was written, is never read.
@Suite struct BlockFileFaultTests {
    private let name = BlockFingerprint(1)
    private let contents = randomBytes(10_000, seed: 1)
    private let untouched = [UInt8](repeating: 0xEE, count: 10_000)

    // MARK: - The system refuses

    @Test(arguments: [
        (ENOSPC, BlockFileFault.noSpace), (EDQUOT, .noSpace), (EIO, .ioError(EIO)),
        (EAGAIN, .ioError(EAGAIN)),
    ])
    func aWriteErrorFailsAllRecordsOfTheWrite(number: Int32, fault: BlockFileFault) throws {
        let (directory, gate) = (TemporaryDirectory(), Gate())
        let opened = try AwaitedFile(
            directory,
            transfer: FaultyTransfer.choice { transfer in
                guard transfer.offset < 5 * 12_288 else {
                    gate.pass()
                    return .none
                }
                return .error(number)
            })
        let memory = PiecedMemory(contents)
        // While the last slot is written, three neighbours are queued.
        let last = opened.write(slot: 7, name: name, memory)
        gate.waitUntilReached()
        let tickets = (1..<4).map { opened.write(slot: $0, name: name, memory) }
        gate.open()
        #expect(opened.outcome(of: last) == .done)
        for ticket in tickets { #expect(opened.outcome(of: ticket) == .failed(fault)) }
        let counters = opened.file.counters
        #expect(counters.faults == [fault: 3])
        #expect(counters.writtenRecordCount == 1 && counters.writeOperationCount == 2)
        // The file is of use still.
        #expect(opened.writeNow(slot: 6, name: name, contents) == .done)
    }

    @Test func aReadErrorLeavesTheMemoryAlone() throws {
        let directory = TemporaryDirectory()
        let opened = try AwaitedFile(
            directory, transfer: FaultyTransfer.choice { $0.isWrite ? .none : .error(EIO) })
        #expect(opened.writeNow(slot: 1, name: name, contents) == .done)
        let read = opened.readNow(slot: 1, name: name)
        #expect(read.outcome == .failed(.ioError(EIO)) && read.contents == untouched)
    }

    @Test(arguments: [4096, 5000, 8191])
    func aShortTransferIsContinued(limit: Int) throws {
        let directory = TemporaryDirectory()
        let opened = try AwaitedFile(
            directory, transfer: FaultyTransfer.choice { _ in .short(limit) },
            // What is left past the page cache begins at a page; this limit need not.
            allowsDirect: false)
        #expect(opened.writeNow(slot: 1, name: name, contents) == .done)
        let read = opened.readNow(slot: 1, name: name)
        #expect(read.outcome == .done && read.contents == contents)
    }

    @Test(arguments: [0, 100])
    func aTransferThatDoesNotGoOnIsReported(limit: Int) throws {
        let directory = TemporaryDirectory()
        let opened = try AwaitedFile(
            directory, transfer: FaultyTransfer.choice { _ in .short(limit) },
            allowsDirect: false)
        #expect(opened.writeNow(slot: 1, name: name, contents) == .failed(.shortTransfer))
        #expect(opened.readNow(slot: 1, name: name).outcome == .failed(.shortTransfer))
    }

    @Test func anInterruptedTransferIsRepeated() throws {
        let directory = TemporaryDirectory()
        let count = Locked(0)
        let opened = try AwaitedFile(
            directory,
            transfer: FaultyTransfer.choice { _ in
                count.withLock { count in
                    count += 1
                    return count.isMultiple(of: 3) ? .none : .error(count % 2 == 0 ? EINTR : EAGAIN)
                }
            })
        #expect(opened.writeNow(slot: 1, name: name, contents) == .done)
        #expect(opened.readNow(slot: 1, name: name).contents == contents)
        #expect(count.withLock { $0 } == 6)
    }

    // MARK: - The process or the disk dies

    /// The record's header is new, and its payload what was there before, from some page on.
    @Test(arguments: [4096, 8192])
    func aTornWriteIsRefused(writtenByteCount: Int) throws {
        let directory = TemporaryDirectory()
        let opened = try AwaitedFile(directory)
        #expect(opened.writeNow(slot: 1, name: name, contents) == .done)
        opened.file.close()

        let dying = try AwaitedFile(
            directory,
            transfer: FaultyTransfer.choice { $0.isWrite ? .torn(writtenByteCount) : .none })
        let (otherName, other) = (BlockFingerprint(2), randomBytes(10_000, seed: 2))
        #expect(dying.writeNow(slot: 1, name: otherName, other) == .done)
        dying.file.close()

        let again = try AwaitedFile(directory)
        #expect(again.file.scan().map(\.name) == [otherName])
        let read = again.readNow(slot: 1, name: otherName)
        #expect(read.outcome == .failed(.wrongChecksum) && read.contents == untouched)
        #expect(again.readNow(slot: 1, name: name).outcome == .failed(.wrongRecord))
    }

    @Test(arguments: BlockFileTests.Way.allCases)
    func aTruncatedFileIsReported(way: BlockFileTests.Way) throws {
        let directory = TemporaryDirectory()
        let opened = try AwaitedFile(
            directory, transfer: way.choice, allowsDirect: way.allowsDirect)
        for slot in 0..<3 { #expect(opened.writeNow(slot: slot, name: name, contents) == .done) }
        // In the midst of a page of the second record.
        let end = UInt64(opened.file.layout.offset(ofSlot: 1) + 5000)
        try directory.changeFile { try $0.truncate(atOffset: end) }
        #expect(opened.readNow(slot: 0, name: name).outcome == .done)
        for slot in [1, 2] {
            let read = opened.readNow(slot: slot, name: name)
            #expect(read.outcome == .failed(.shortTransfer) && read.contents == untouched)
        }
        #expect(opened.file.counters.faults == [.shortTransfer: 2])
        opened.file.close()
        // The second record's first page is whole; the rest has become zeros.
        let again = try AwaitedFile(
            directory, transfer: way.choice, allowsDirect: way.allowsDirect)
        #expect(Set(again.file.scan().map(\.slot)) == [0, 1])
        #expect(again.readNow(slot: 1, name: name).outcome == .failed(.wrongChecksum))
    }

    @Test func aSlotThatCannotBeReadHoldsNoRecord() throws {
        let directory = TemporaryDirectory()
        let slotOffset = BlockLayout(payloadByteCount: 10_000).offset(ofSlot: 2)
        let opened = try AwaitedFile(directory)
        for slot in 0..<5 { #expect(opened.writeNow(slot: slot, name: name, contents) == .done) }
        opened.file.close()
        let again = try AwaitedFile(
            directory,
            transfer: FaultyTransfer.choice { $0.offset == slotOffset ? .error(EIO) : .none })
        #expect(Set(again.file.scan().map(\.slot)) == [0, 1, 3, 4])
    }

    // MARK: - Other bytes

    @Test func flippedBitsAreRefused() throws {
        let directory = TemporaryDirectory()
        let opened = try AwaitedFile(directory)
        #expect(opened.writeNow(slot: 1, name: name, contents) == .done)
        let start = opened.file.layout.offset(ofSlot: 1)
        let recordEnd = BlockLayout.headerByteCount + 10_000
        var random = SplitMix64(seed: 7)
        for round in 0..<400 {
            // Half of them in the header, which is small.
            let places = round.isMultiple(of: 2) ? 0..<128 : 0..<opened.file.layout.slotByteCount
            let (place, bit) = (
                Int.random(in: places, using: &random), Int.random(in: 0..<8, using: &random)
            )
            try directory.changeFile { try flip(bit: bit, at: start + place, of: $0) }
            let read = opened.readNow(slot: 1, name: name)
            if place < recordEnd {
                let expected: BlockFileFault = place < 8 ? .wrongRecord : .wrongChecksum
                #expect(read.outcome == .failed(expected), "byte \(place), bit \(bit)")
                #expect(read.contents == untouched)
            } else {
                #expect(read.outcome == .done && read.contents == contents)
            }
            try directory.changeFile { try flip(bit: bit, at: start + place, of: $0) }
        }
        #expect(opened.readNow(slot: 1, name: name).contents == contents)
    }

    @Test func aHeaderWithAFlippedBitIsNotFound() throws {
        let directory = TemporaryDirectory()
        let opened = try AwaitedFile(directory)
        for slot in 0..<8 { #expect(opened.writeNow(slot: slot, name: name, contents) == .done) }
        let layout = opened.file.layout
        opened.file.close()
        var random = SplitMix64(seed: 8)
        try directory.changeFile { file in
            for slot in 0..<7 {
                let place = Int.random(in: 0..<128, using: &random)
                try flip(
                    bit: .random(in: 0..<8, using: &random),
                    at: layout.offset(ofSlot: slot) + place, of: file)
            }
        }
        #expect(try AwaitedFile(directory).file.scan().map(\.slot) == [7])
    }

    @Test func anotherRecordIsRefused() throws {
        let directory = TemporaryDirectory()
        let opened = try AwaitedFile(directory)
        #expect(opened.writeNow(slot: 1, name: name, contents) == .done)
        let layout = opened.file.layout
        try directory.changeFile { file in
            try file.seek(toOffset: UInt64(layout.offset(ofSlot: 1)))
            let record = try #require(try file.read(upToCount: layout.slotByteCount))
            try file.seek(toOffset: UInt64(layout.offset(ofSlot: 4)))
            try file.write(contentsOf: record)
        }
        for (slot, asked) in [(4, name), (1, BlockFingerprint(2)), (0, name)] {
            let read = opened.readNow(slot: slot, name: asked)
            #expect(read.outcome == .failed(.wrongRecord) && read.contents == untouched)
        }
        #expect(opened.file.counters.faults == [.wrongRecord: 3])
        opened.file.close()
        #expect(try AwaitedFile(directory).file.scan().map(\.slot) == [1])
    }

    /// Zeros, noise and a file of ours that holds other things: nothing is found, nothing breaks.
    @Test func noiseHoldsNoRecords() throws {
        let directory = TemporaryDirectory()
        let opened = try AwaitedFile(directory)
        let byteCount = opened.file.layout.offset(ofSlot: 8) - 4096
        opened.file.close()
        try directory.changeFile { file in
            try file.seek(toOffset: 4096)
            try file.write(contentsOf: randomBytes(byteCount, seed: 9))
        }
        let again = try AwaitedFile(directory)
        #expect(again.file.openedAs == .kept && again.file.scan().isEmpty)
        #expect(again.readNow(slot: 3, name: name).outcome == .failed(.wrongRecord))
    }
}
