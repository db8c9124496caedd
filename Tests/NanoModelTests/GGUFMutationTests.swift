import NanoModel
import NanoTestSupport
import Testing

/// Damaged files either open, and then everything in them can be read, or are refused with a
/// ``ModelLoadingError``; under the address sanitizer a read past the end would stop the run.
@Suite struct GGUFMutationTests {
    /// A file with every value type and every tensor type; the data are random bytes.
    private static func everything(seed: UInt64) -> (bytes: [UInt8], headerByteCount: Int) {
        var random = SeededGenerator(seed: seed)
        var writer = GGUFWriter()
        writer.add("general.architecture", .string("llama"))
        writer.add("general.alignment", .uint32(32))
        writer.add("v.u8", .uint8(1))
        writer.add("v.i8", .int8(-1))
        writer.add("v.u16", .uint16(2))
        writer.add("v.i16", .int16(-2))
        writer.add("v.i32", .int32(-3))
        writer.add("v.f32", .float32(1.5))
        writer.add("v.bool", .bool(true))
        writer.add("v.u64", .uint64(4))
        writer.add("v.i64", .int64(-4))
        writer.add("v.f64", .float64(2.5))
        writer.add(strings: ["<s>", "a", "Ġb", ""], "v.strings")
        writer.add(int32s: [1, 2, 3], "v.int32s")
        writer.add("v.bytes", .array(of: 0, [.uint8(1), .uint8(2)]))
        for type in GGUFTensorType.allCases {
            let data = (0..<2 * type.blockByteCount).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            writer.addTensor("t.\(type)", type: type, shape: [type.blockLength, 2], data: data)
        }
        let (bytes, places) = writer.file()
        return (bytes, places["data"] ?? bytes.count)
    }

    /// Opens the file and reads all that is in it; true when it opened.
    @discardableResult
    private func read(_ file: @autoclosure () throws(ModelLoadingError) -> MappedFile) -> Bool {
        do {
            let gguf = try GGUFFile(file())
            for key in gguf.metadataKeys { readEveryWay(gguf, key) }
            for tensor in gguf.tensors { readRows(tensor) }
            return true
        } catch {
            #expect(!error.reason.isEmpty && !error.field.isEmpty)
            return false
        }
    }

    private func readEveryWay(_ file: GGUFFile, _ key: String) {
        _ = try? file.string(key)
        _ = try? file.integer(key, in: Int.min...Int.max)
        _ = try? file.float(key)
        _ = try? file.bool(key)
        _ = try? file.strings(key)
        _ = try? file.int32s(key)
    }

    private func readRows(_ tensor: GGUFTensor) {
        var row = [Float](repeating: 0, count: tensor.rowLength)
        for index in 0..<tensor.rowCount {
            row.withUnsafeMutableBufferPointer {
                tensor.dequantizeRows(index..<index + 1, into: $0)
            }
        }
        let sum = tensor.withUnsafeBytes { $0.reduce(0) { $0 &+ Int($1) } }
        #expect(sum >= 0)
    }

    @Test func theUndamagedFileOpens() {
        #expect(read(MappedFile(copying: Self.everything(seed: 1).bytes, path: "whole.gguf")))
    }

    @Test func aFileCutAtAnyByteOfItsHeaderIsRefused() {
        let (bytes, headerByteCount) = Self.everything(seed: 2)
        for count in 0...headerByteCount {
            let cut = Array(bytes.prefix(count))
            #expect(!read(MappedFile(copying: cut, path: "cut.gguf")), "\(count) bytes")
        }
    }

    @Test(arguments: 1...6) func aDamagedFileOpensOrIsRefused(seed: UInt64) throws {
        let (bytes, headerByteCount) = Self.everything(seed: seed)
        try withTemporaryFolder { folder in
            var random = SeededGenerator(seed: seed)
            var opened = 0
            for round in 0..<1000 {
                var damaged = bytes
                for _ in 0..<Int.random(in: 1...3, using: &random) {
                    damage(&damaged, headerByteCount, &random)
                }
                if round.isMultiple(of: 20) {
                    let path = try folder.write(damaged, as: "\(round).gguf")
                    if read(try MappedFile(path: path)) { opened += 1 }
                } else if read(MappedFile(copying: damaged, path: "seed \(seed), round \(round)")) {
                    opened += 1
                }
            }
            // Both ways out are taken, or the damage does not test anything.
            #expect(opened > 50 && opened < 950, "seed \(seed): \(opened) of 1000 opened")
        }
    }

    /// One flip, change, insertion, removal or cut, mostly in the header.
    private func damage(
        _ bytes: inout [UInt8], _ headerByteCount: Int, _ random: inout SeededGenerator
    ) {
        let end = Int.random(in: 0..<10, using: &random) == 0 ? bytes.count : headerByteCount
        let place = Int.random(in: 0..<max(1, min(end, bytes.count)), using: &random)
        guard place < bytes.count else { return }
        switch Int.random(in: 0..<8, using: &random) {
        case 0, 1, 2: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        case 3: bytes[place] = [0, 1, 0x7f, 0x80, 0xff].randomElement(using: &random) ?? 0
        case 4:
            let word = [0, 1, 0x7fff_ffff, 1 << 63, UInt64.max, .max >> 1, .max - 31]
                .randomElement(using: &random)
            if place + 8 <= bytes.count { bytes.put(word ?? 0, at: place) }
        case 5: bytes.insert(UInt8.random(in: 0...255, using: &random), at: place)
        case 6: bytes.remove(at: place)
        default:
            if Bool.random(using: &random) { bytes.removeLast(bytes.count - place) }
        }
    }
}
