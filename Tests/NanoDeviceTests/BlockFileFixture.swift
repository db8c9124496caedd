import Foundation
import NanoDevice
import Testing

/// A directory of the test's own, which goes with it.
final class TemporaryDirectory {
    let path = FileManager.default.temporaryDirectory
        .appendingPathComponent("nanoflow-\(UUID().uuidString)").path

    var file: String { path + "/" + BlockFile.fileName }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// The file's bytes, changed behind the back of whoever has it open.
    func changeFile(_ body: (FileHandle) throws -> Void) throws {
        let handle = try #require(FileHandle(forUpdatingAtPath: file))
        try body(handle)
        try handle.close()
    }
}

/// Memory that stays where it is, cut into pieces of odd sizes.
final class PiecedMemory {
    let bytes: UnsafeMutableRawBufferPointer

    init(_ contents: [UInt8]) {
        bytes = .allocate(byteCount: contents.count, alignment: 64)
        bytes.copyBytes(from: contents)
    }

    convenience init(repeating value: UInt8, count: Int) {
        self.init(Array(repeating: value, count: count))
    }

    deinit { bytes.deallocate() }

    var contents: [UInt8] { Array(bytes) }

    var pieces: [UnsafeMutableRawBufferPointer] {
        var (pieces, start): ([UnsafeMutableRawBufferPointer], Int) = ([], 0)
        while start < bytes.count {
            let end = min(bytes.count, start + 1 + bytes.count / 5)
            pieces.append(UnsafeMutableRawBufferPointer(rebasing: bytes[start..<end]))
            start = end
        }
        return pieces
    }
}

/// A block file whose completions can be waited for.
final class AwaitedFile {
    let file: BlockFile
    private let bell: FutexWord
    private var outcomes: [Int: BlockFile.Outcome] = [:]
    private var ticket = 0
    /// Sleeps that nobody but the time limit has ended.
    private(set) var longSleepCount = 0

    static let seed = BlockFingerprint((1, 2, 3, 4))

    init(
        _ directory: TemporaryDirectory, slots: Int = 8, payloadByteCount: Int = 10_000,
        seed: BlockFingerprint = AwaitedFile.seed,
        transfer: BlockFile.TransferChoice = .automatic, allowsDirect: Bool = true,
        mayCopy: @escaping @Sendable () -> Bool = { true }
    ) throws {
        let bell = FutexWord()
        self.bell = bell
        let layout = BlockLayout(payloadByteCount: payloadByteCount)
        file = try BlockFile(
            directory: directory.path, byteCount: layout.offset(ofSlot: slots),
            payloadByteCount: payloadByteCount, seed: seed, transfer: transfer,
            allowsDirect: allowsDirect,
            hooks: BlockFile.Hooks(
                mayCopy: mayCopy, onCompletion: { bell.advance(to: bell.load() &+ 1) }))
    }

    func write(slot: Int, name: BlockFingerprint, _ memory: PiecedMemory) -> Int {
        ticket += 1
        file.write(
            slot: slot, name: name, pieces: memory.pieces.map { UnsafeRawBufferPointer($0) },
            ticket: ticket)
        return ticket
    }

    func read(slot: Int, name: BlockFingerprint, _ memory: PiecedMemory) -> Int {
        ticket += 1
        file.read(slot: slot, name: name, pieces: memory.pieces, ticket: ticket)
        return ticket
    }

    /// Waits for a completion, and takes it.
    func outcome(of ticket: Int) -> BlockFile.Outcome {
        while true {
            let heard = bell.load()
            for completion in file.drain() { outcomes[completion.ticket] = completion.outcome }
            if let outcome = outcomes.removeValue(forKey: ticket) { return outcome }
            let duration = ContinuousClock().measure {
                bell.sleep(while: heard, unlessReached: heard &+ 1)
            }
            if duration > .milliseconds(95) { longSleepCount += 1 }
        }
    }

    func writeNow(slot: Int, name: BlockFingerprint, _ contents: [UInt8]) -> BlockFile.Outcome {
        let memory = PiecedMemory(contents)
        return withExtendedLifetime(memory) {
            outcome(of: write(slot: slot, name: name, memory))
        }
    }

    /// How reading ended, and what is in memory that held 0xEE before.
    func readNow(
        slot: Int, name: BlockFingerprint
    ) -> (outcome: BlockFile.Outcome, contents: [UInt8]) {
        let memory = PiecedMemory(repeating: 0xEE, count: file.layout.payloadByteCount)
        let outcome = outcome(of: read(slot: slot, name: name, memory))
        return (outcome, memory.contents)
    }
}

extension BlockFingerprint {
    /// A name by its number.
    init(_ number: Int) {
        self.init((UInt64(number), UInt64(number) &* 3, .max - UInt64(number), 7))
    }
}

func randomBytes(_ count: Int, seed: Int) -> [UInt8] {
    var random = SplitMix64(seed: UInt64(seed))
    return (0..<count).map { _ in .random(in: 0...255, using: &random) }
}

/// Transfers of which some go wrong, as a test wants it.
final class FaultyTransfer: BlockTransfer {
    enum Fault {
        case none
        /// An error number.
        case error(Int32)
        /// Only so many bytes are moved.
        case short(Int)
        /// Only so many bytes are moved, and nobody is told.
        case torn(Int)
    }

    let name = "faulty"
    private let plain: PlainTransfer
    private let fault: @Sendable (PositionedTransfer) -> Fault
    private let finished = Locked<[EndedTransfer]>([])

    private init(descriptor: Int32, fault: @escaping @Sendable (PositionedTransfer) -> Fault) {
        plain = PlainTransfer(descriptor: descriptor)
        self.fault = fault
    }

    static func choice(
        _ fault: @escaping @Sendable (PositionedTransfer) -> Fault
    ) -> BlockFile.TransferChoice {
        .custom { FaultyTransfer(descriptor: $0, fault: fault) }
    }

    func begin(_ transfer: PositionedTransfer) {
        let count = transfer.buffer.count
        let result =
            switch fault(transfer) {
            case .none: move(transfer, count)
            case .error(let number): Int(-number)
            case .short(let limit): move(transfer, min(limit, count))
            case .torn(let limit): move(transfer, min(limit, count)) < 0 ? -1 : count
            }
        finished.withLock {
            $0.append(EndedTransfer(number: transfer.number, result: result))
        }
    }

    private func move(_ transfer: PositionedTransfer, _ count: Int) -> Int {
        var part = transfer
        part.buffer = UnsafeMutableRawBufferPointer(rebasing: transfer.buffer[..<count])
        plain.begin(part)
        return plain.ended(waitingMicroseconds: 0).first?.result ?? 0
    }

    func ended(waitingMicroseconds: Int) -> [EndedTransfer] {
        finished.withLock { ended in
            defer { ended.removeAll() }
            return ended
        }
    }
}

/// Holds up the I/O thread at a transfer until the test lets it go on.
final class Gate: Sendable {
    private let reached = FutexWord()
    private let opened = FutexWord()

    func pass() {
        reached.advance(to: 1)
        while opened.load() == 0 { opened.sleep(while: 0, unlessReached: 1) }
    }

    func waitUntilReached() {
        while reached.load() == 0 { reached.sleep(while: 0, unlessReached: 1) }
    }

    func open() { opened.advance(to: 1) }
}
