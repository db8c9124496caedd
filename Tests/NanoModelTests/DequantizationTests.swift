import CNanoKernels
import Foundation
import NanoModel
import Testing

/// One type's blocks and their values by the gguf Python package
/// (Scripts/make_dequantization_goldens.py).
private struct Golden {
    let type: GGUFTensorType
    let blocks: [UInt8]
    let values: [UInt32]

    /// All sections of the committed file: type, element count, byte count, blocks, f32 values.
    static func load() throws -> [Golden] {
        let url = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("Fixtures/dequantization.bin")
        let data = [UInt8](try Data(contentsOf: url))
        var goldens: [Golden] = []
        var place = 0
        func word(_ offset: Int) -> UInt32 {
            (0..<4).reduce(0) { $0 | UInt32(data[offset + $1]) << (8 * $1) }
        }
        while place < data.count {
            let type = try #require(GGUFTensorType(rawValue: word(place)))
            let elementCount = Int(word(place + 4))
            let blocks = place + 12..<place + 12 + Int(word(place + 8))
            let values = (0..<elementCount).map { word(blocks.upperBound + 4 * $0) }
            goldens.append(Golden(type: type, blocks: Array(data[blocks]), values: values))
            place = blocks.upperBound + 4 * elementCount
        }
        return goldens
    }
}

@Suite struct DequantizationTests {
    @Test func theGoldensCoverEveryType() throws {
        let types = try Golden.load().map(\.type)
        #expect(Set(types) == Set(GGUFTensorType.allCases))
        #expect(types.count == GGUFTensorType.allCases.count)
    }

    @Test func everyTypeEqualsTheGGUFPackageBitForBit() throws {
        for golden in try Golden.load() {
            // An odd address: a block may start anywhere.
            let source = [0] + golden.blocks
            let guardCount = 8
            var out = [Float](repeating: -7, count: golden.values.count + guardCount)
            let done = source.withUnsafeBytes {
                nk_dequantize(
                    Int32(golden.type.rawValue), $0.baseAddress.map { $0 + 1 },
                    Int64(golden.values.count), &out)
            }
            #expect(done)
            let differing = zip(out, golden.values).enumerated().filter {
                $1.0.bitPattern != $1.1
            }
            #expect(differing.isEmpty, "\(golden.type): \(differing.prefix(3))")
            #expect(out.suffix(guardCount).allSatisfy { $0 == -7 }, "\(golden.type)")
        }
    }

    @Test func everyHalfConvertsExactly() {
        let halves = (0...UInt16.max).map { $0 }
        var out = [Float](repeating: 0, count: halves.count)
        #expect(nk_dequantize(1, halves, Int64(halves.count), &out))
        let wrong = halves.filter { bits in
            let expected = Float(Float16(bitPattern: bits))
            let value = out[Int(bits)]
            return expected.isNaN ? !value.isNaN : value.bitPattern != expected.bitPattern
        }
        #expect(wrong.isEmpty)
    }

    @Test(arguments: [-1, 4, 5, 9, 10, 11, 15, 16, 28, 31, 99]) func otherTypesAreRefused(
        type: Int32
    ) {
        var out: [Float] = [-7]
        var elements: Int32 = -1
        var bytes: Int32 = -1
        #expect(!nk_dequantize(type, [UInt8](repeating: 0, count: 256), 1, &out))
        #expect(out == [-7])
        nk_block_format(type, &elements, &bytes)
        #expect(elements == 0 && bytes == 0)
    }
}
