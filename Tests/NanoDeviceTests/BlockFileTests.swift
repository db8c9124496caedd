import Foundation
import NanoDevice
import Testing

@Suite struct BlockFileTests {
    /// What this machine has of the ways to move bytes.
    enum Way: CaseIterable {
        case direct, plain, buffered

        var choice: BlockFile.TransferChoice { self == .plain ? .plain : .automatic }
        var allowsDirect: Bool { self != .buffered }
    }

    // MARK: - Round trips

    @Test(arguments: Way.allCases)
    func recordsAreReadAsTheyWereWritten(way: Way) throws {
        let directory = TemporaryDirectory()
        let slots = 40
        var random = SplitMix64(seed: 1)
        var written: [Int: (name: BlockFingerprint, contents: [UInt8])] = [:]
        let opened = try AwaitedFile(
            directory, slots: slots, transfer: way.choice, allowsDirect: way.allowsDirect)
        #expect(opened.file.openedAs == .new && opened.file.slotCount == slots)
        for round in 0..<30 {
            var (writes, reads): ([(Int, PiecedMemory)], [(Int, Int, PiecedMemory)]) = ([], [])
            for slot in (0..<slots).shuffled(using: &random).prefix(25) {
                if let record = written[slot], Bool.random(using: &random) {
                    let memory = PiecedMemory(repeating: 0, count: 10_000)
                    reads.append((opened.read(slot: slot, name: record.name, memory), slot, memory))
                    continue
                }
                let name = BlockFingerprint(round * slots + slot)
                let contents = randomBytes(10_000, seed: round * slots + slot)
                let memory = PiecedMemory(contents)
                writes.append((opened.write(slot: slot, name: name, memory), memory))
                written[slot] = (name, contents)
            }
            for (ticket, _) in writes { #expect(opened.outcome(of: ticket) == .done) }
            for (ticket, slot, memory) in reads {
                #expect(opened.outcome(of: ticket) == .done)
                #expect(memory.contents == written[slot]?.contents)
            }
        }
        let counters = opened.file.counters
        #expect(counters.writtenRecordCount + counters.readRecordCount == 30 * 25)
        #expect(counters.writtenByteCount == counters.writtenRecordCount * 12_288)
        #expect(counters.readByteCount == counters.readRecordCount * 12_288)
        #expect(counters.faults.isEmpty)
        opened.file.close()

        let again = try AwaitedFile(
            directory, slots: slots, transfer: way.choice, allowsDirect: way.allowsDirect)
        #expect(again.file.openedAs == .kept)
        var scannedCount = 0
        let records = again.file.scan { scannedCount = $0 }
        #expect(scannedCount == slots)
        #expect(Set(records.map(\.slot)) == Set(written.keys) && records.count == written.count)
        for record in records {
            #expect(record.name == written[record.slot]?.name)
            let read = again.readNow(slot: record.slot, name: record.name)
            #expect(read.outcome == .done && read.contents == written[record.slot]?.contents)
        }
    }

    /// Around the ends of pages and of the chunks that are copied at once.
    @Test(arguments: [1, 127, 3967, 3968, 3969, 16_384, 81_919, 81_920, 783_360])
    func recordsOfAnySizeComeBack(payloadByteCount: Int) throws {
        let directory = TemporaryDirectory()
        let opened = try AwaitedFile(directory, slots: 3, payloadByteCount: payloadByteCount)
        let contents = randomBytes(payloadByteCount, seed: payloadByteCount)
        #expect(opened.writeNow(slot: 2, name: BlockFingerprint(5), contents) == .done)
        let read = opened.readNow(slot: 2, name: BlockFingerprint(5))
        #expect(read.outcome == .done && read.contents == contents)
    }

    @Test func ordersGrowOverRestarts() throws {
        let directory = TemporaryDirectory()
        for slot in 0..<4 {
            let opened = try AwaitedFile(directory)
            #expect(opened.file.scan().count == slot)
            let contents = randomBytes(10_000, seed: slot)
            #expect(opened.writeNow(slot: slot, name: BlockFingerprint(slot), contents) == .done)
        }
        let records = try AwaitedFile(directory).file.scan().sorted { $0.slot < $1.slot }
        #expect(records.map(\.order) == [1, 2, 3, 4])
    }

    @Test func closingEndsWhatIsQueued() throws {
        let directory = TemporaryDirectory()
        let opened = try AwaitedFile(directory)
        let memory = PiecedMemory(randomBytes(10_000, seed: 0))
        let tickets = (0..<8).map {
            opened.write(slot: $0, name: BlockFingerprint($0), memory)
        }
        opened.file.close()
        opened.file.close()
        for ticket in tickets { #expect(opened.outcome(of: ticket) == .done) }
        #expect(try AwaitedFile(directory).file.scan().count == 8)
    }

    /// A completion that nobody is told of shows as a sleep that only its limit of time has ended.
    @Test(arguments: [Way.direct, .plain])
    func everyCompletionIsTold(way: Way) throws {
        let directory = TemporaryDirectory()
        let opened = try AwaitedFile(directory, transfer: way.choice)
        let contents = randomBytes(10_000, seed: 0)
        for _ in 0..<20 {
            #expect(opened.writeNow(slot: 1, name: BlockFingerprint(1), contents) == .done)
            #expect(opened.readNow(slot: 1, name: BlockFingerprint(1)).outcome == .done)
        }
        // The disk may be slow now and then; a thread that forgets to tell does so each time.
        #expect(opened.longSleepCount < 10)
    }

    @Test func theWayOfAccessIsTold() throws {
        let directory = TemporaryDirectory()
        let plain = try AwaitedFile(directory, transfer: .plain, allowsDirect: false)
        #expect(plain.file.access == "pread/pwrite, buffered")
        plain.file.close()
        do {
            let uring = try AwaitedFile(directory, transfer: .uring)
            #expect(uring.file.access.hasPrefix("io_uring, "))
        } catch {
            // Containers forbid it; then it is not chosen either.
            #expect((error as? BlockFileError)?.code == .noUring)
            #expect(try AwaitedFile(directory).file.access.hasPrefix("pread/pwrite, "))
        }
    }

    // MARK: - What is queued together

    @Test func neighboursAreWrittenAsOne() throws {
        let (directory, gate) = (TemporaryDirectory(), Gate())
        let opened = try AwaitedFile(
            directory, slots: 40,
            transfer: FaultyTransfer.choice { _ in
                gate.pass()
                return .none
            })
        let memory = PiecedMemory(randomBytes(10_000, seed: 0))
        var tickets = [opened.write(slot: 0, name: BlockFingerprint(0), memory)]
        gate.waitUntilReached()
        // Two groups of neighbours, in no order.
        var random = SplitMix64(seed: 2)
        for slot in (Array(5..<15) + Array(20..<40)).shuffled(using: &random) {
            tickets.append(opened.write(slot: slot, name: BlockFingerprint(slot), memory))
        }
        gate.open()
        for ticket in tickets { #expect(opened.outcome(of: ticket) == .done) }
        #expect(opened.file.counters.writeOperationCount == 3)
        #expect(opened.file.counters.writtenRecordCount == 31)
        for slot in [0, 5, 14, 20, 39] {
            #expect(opened.readNow(slot: slot, name: BlockFingerprint(slot)).outcome == .done)
        }
    }

    @Test func readsGoFirst() throws {
        let (directory, gate) = (TemporaryDirectory(), Gate())
        let log = Locked<[Bool]>([])
        let opened = try AwaitedFile(
            directory,
            transfer: FaultyTransfer.choice { transfer in
                log.withLock { $0.append(transfer.isWrite) }
                gate.pass()
                return .none
            })
        let memory = PiecedMemory(randomBytes(10_000, seed: 0))
        let target = PiecedMemory(repeating: 0, count: 10_000)
        let first = opened.write(slot: 0, name: BlockFingerprint(0), memory)
        gate.waitUntilReached()
        let second = opened.write(slot: 1, name: BlockFingerprint(1), memory)
        let third = opened.read(slot: 7, name: BlockFingerprint(7), target)
        gate.open()
        #expect(opened.outcome(of: third) == .failed(.wrongRecord))
        #expect(opened.outcome(of: second) == .done && opened.outcome(of: first) == .done)
        #expect(log.withLock { $0 } == [true, false, true])
    }

    @Test func busyUnitsOnlyDelayAWrite() throws {
        let directory = TemporaryDirectory()
        let askedCount = Locked(0)
        let opened = try AwaitedFile(
            directory,
            mayCopy: {
                askedCount.withLock { $0 += 1 }
                return false
            })
        let contents = randomBytes(10_000, seed: 3)
        for slot in 0..<3 {
            #expect(opened.writeNow(slot: slot, name: BlockFingerprint(slot), contents) == .done)
            #expect(opened.readNow(slot: slot, name: BlockFingerprint(slot)).contents == contents)
        }
        #expect(askedCount.withLock { $0 } >= 3)
    }

    @Test(arguments: [1, 5000, 783_360, 3 << 20, 8 << 20, 9 << 20, 100 << 20])
    func theStagingMemoryIsBounded(payloadByteCount: Int) {
        let layout = BlockLayout(payloadByteCount: payloadByteCount)
        let slot = layout.slotByteCount
        #expect(slot % 4096 == 0 && slot - payloadByteCount >= 128)
        #expect(slot - payloadByteCount < 128 + 4096)
        #expect(layout.stagingByteCount <= max(32 << 20, 4 * slot))
        #expect(layout.runCapacity * slot <= max(8 << 20, slot))
        #expect((2...30).contains(layout.readBufferCount))
    }

    // MARK: - Begun anew

    @Test func anotherSeedOrRecordSizeBeginsAnew() throws {
        let directory = TemporaryDirectory()
        try writeOne(directory)
        let other = BlockFingerprint((1, 2, 3, 5))
        let otherSeed = try AwaitedFile(directory, seed: other)
        #expect(otherSeed.file.openedAs == .replaced(.otherSeed))
        #expect(otherSeed.file.scan().isEmpty)
        otherSeed.file.close()
        let otherSize = try AwaitedFile(directory, payloadByteCount: 9000, seed: other)
        #expect(otherSize.file.openedAs == .replaced(.otherRecordSize))
        otherSize.file.close()
        let kept = try AwaitedFile(directory, payloadByteCount: 9000, seed: other)
        #expect(kept.file.openedAs == .kept)
    }

    @Test func aDamagedSuperblockBeginsAnew() throws {
        let directory = TemporaryDirectory()
        var random = SplitMix64(seed: 4)
        for round in 0..<24 {
            try writeOne(directory)
            let place = Int.random(in: 0..<72, using: &random)
            try directory.changeFile { file in
                try flip(bit: .random(in: 0..<8, using: &random), at: place, of: file)
            }
            let opened = try AwaitedFile(directory)
            #expect(opened.file.openedAs == .replaced(.damaged), "round \(round), byte \(place)")
            #expect(opened.file.scan().isEmpty)
        }
        try directory.changeFile { try $0.truncate(atOffset: 100) }
        #expect(try AwaitedFile(directory).file.openedAs == .replaced(.damaged))
        try directory.changeFile { try $0.truncate(atOffset: 0) }
        #expect(try AwaitedFile(directory).file.openedAs == .new)
    }

    @Test func anotherSizeKeepsWhatFits() throws {
        let directory = TemporaryDirectory()
        let contents = randomBytes(10_000, seed: 6)
        let first = try AwaitedFile(directory, slots: 8)
        for slot in 0..<8 {
            #expect(first.writeNow(slot: slot, name: BlockFingerprint(slot), contents) == .done)
        }
        first.file.close()
        let smaller = try AwaitedFile(directory, slots: 3)
        #expect(smaller.file.openedAs == .kept && smaller.file.slotCount == 3)
        #expect(Set(smaller.file.scan().map(\.slot)) == [0, 1, 2])
        #expect(try status(directory.file).st_size == smaller.file.layout.offset(ofSlot: 3))
        smaller.file.close()
        let larger = try AwaitedFile(directory, slots: 9)
        #expect(larger.file.openedAs == .kept && larger.file.slotCount == 9)
        #expect(Set(larger.file.scan().map(\.slot)) == [0, 1, 2])
        #expect(larger.readNow(slot: 2, name: BlockFingerprint(2)).contents == contents)
        #expect(larger.writeNow(slot: 8, name: BlockFingerprint(8), contents) == .done)
    }

    // MARK: - Whose file it is

    @Test func fileAndDirectoryAreTheUsersAlone() throws {
        let parent = TemporaryDirectory()
        let directory = parent.path + "/a/b"
        let opened = try open(directory)
        #expect(try status(directory).st_mode & 0o777 == 0o700)
        #expect(try status(directory + "/" + BlockFile.fileName).st_mode & 0o777 == 0o600)
        opened.close()
        chmod(directory + "/" + BlockFile.fileName, 0o664)
        try open(directory).close()
        #expect(try status(directory + "/" + BlockFile.fileName).st_mode & 0o7777 == 0o600)
    }

    @Test func aFileInUseIsRefused() throws {
        let directory = TemporaryDirectory()
        let first = try AwaitedFile(directory)
        #expect(code(directory) == .inUse)
        first.file.close()
        #expect(code(directory) == nil)
    }

    @Test func onlyARegularFileIsTaken() throws {
        let directory = TemporaryDirectory()
        mkdir(directory.path, 0o700)
        let other = directory.path + "/other"
        #expect(FileManager.default.createFile(atPath: other, contents: nil))
        symlink(other, directory.file)
        #expect(code(directory) == .notARegularFile)
        unlink(directory.file)
        mkfifo(directory.file, 0o600)
        #expect(code(directory) == .notARegularFile)
        unlink(directory.file)
        mkdir(directory.file, 0o700)
        #expect(code(directory) == .notARegularFile)
    }

    @Test(.enabled(if: geteuid() == 0, "Only root can give a file away."))
    func anotherUsersFileIsRefused() throws {
        let directory = TemporaryDirectory()
        try writeOne(directory)
        chown(directory.file, 1, 1)
        #expect(code(directory) == .otherOwner)
    }

    @Test func aFileWithoutRoomForARecordIsRefused() throws {
        let directory = TemporaryDirectory()
        #expect(throws: BlockFileError.self) { try open(directory.path, byteCount: 16_383) }
        #expect(code(directory, byteCount: 16_383) == .tooSmall)
        #expect(code(directory, byteCount: -1) == .tooSmall)
        #expect(code(directory, byteCount: 16_384) == nil)
        #expect(code(directory, byteCount: .max) == .system)
    }

    @Test func anErrorSaysWhatAndWhere() throws {
        let directory = TemporaryDirectory()
        do {
            _ = try open(directory.path, byteCount: 100)
            Issue.record("The file is too small.")
        } catch {
            #expect(
                error.description == "\(directory.file): The file's size must be at least "
                    + "16384 bytes. Given: 100 bytes.")
        }
        #expect(throws: BlockFileError.self) { try open("/proc/nanoflow") }
    }

    // MARK: - Helpers

    private func writeOne(_ directory: TemporaryDirectory) throws {
        let opened = try AwaitedFile(directory)
        let contents = randomBytes(10_000, seed: 0)
        #expect(opened.writeNow(slot: 0, name: BlockFingerprint(0), contents) == .done)
    }

    private func open(
        _ directory: String, byteCount: Int = 100_000
    ) throws(BlockFileError) -> BlockFile {
        try BlockFile(
            directory: directory, byteCount: byteCount, payloadByteCount: 10_000,
            seed: AwaitedFile.seed, hooks: BlockFile.Hooks(onCompletion: {}))
    }

    private func code(
        _ directory: TemporaryDirectory, byteCount: Int = 100_000
    ) -> BlockFileError.Code? {
        do {
            try open(directory.path, byteCount: byteCount).close()
            return nil
        } catch {
            return error.code
        }
    }

    private func status(_ path: String) throws -> stat {
        var status = stat()
        try #require(stat(path, &status) == 0)
        return status
    }
}

/// Changes one bit of a file.
func flip(bit: Int, at offset: Int, of file: FileHandle) throws {
    try file.seek(toOffset: UInt64(offset))
    let byte = try #require(try file.read(upToCount: 1)?.first)
    try file.seek(toOffset: UInt64(offset))
    try file.write(contentsOf: [byte ^ UInt8(1 << bit)])
}
