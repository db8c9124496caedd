import NanoModel
import Testing

@Suite struct RandomTensorsTests {
    private static func values(
        _ name: String, _ shape: [Int], _ rows: Range<Int>, seed: UInt64 = 0
    ) throws -> [Float] {
        let tensor = try RandomTensors(seed: seed, hasQKVBias: true)
            .tensor(named: name, shape: shape)
        var values = [Float](repeating: .nan, count: rows.count * tensor.rowLength)
        values.withUnsafeMutableBufferPointer { tensor.dequantizeRows(rows, into: $0) }
        return values
    }

    @Test(arguments: [64, 63])
    func aRowIsTheSameWhoeverAsks(width: Int) throws {
        let all = try Self.values("a.weight", [width, 9], 0..<9)
        for row in 0..<9 {
            let alone = try Self.values("a.weight", [width, 9], row..<row + 1)
            #expect(alone == Array(all[row * width..<(row + 1) * width]))
        }
        #expect(try Self.values("b.weight", [width, 9], 0..<9) != all)
        #expect(try Self.values("a.weight", [width, 9], 0..<9, seed: 1) != all)
    }

    @Test func valuesAreCentredWithTheDeviationPromised() throws {
        let values = try Self.values("a.weight", [1000, 100], 0..<100).map(Double.init)
        let mean = values.reduce(0, +) / Double(values.count)
        let variance = values.reduce(0) { $0 + $1 * $1 } / Double(values.count)
        #expect(abs(mean) < 3e-4)
        #expect(abs(variance.squareRoot() - 0.02) < 3e-4)
        #expect(Set(values).count > 500)
    }

    @Test func normsAreOneAndBiasesBelongToQueryKeyAndValue() throws {
        #expect(try Self.values("blk.0.attn_norm.weight", [5], 0..<1) == [1, 1, 1, 1, 1])
        let tensors = RandomTensors(seed: 0, hasQKVBias: true)
        #expect(tensors.hasTensor(named: "blk.3.attn_k.bias"))
        #expect(!tensors.hasTensor(named: "blk.3.attn_output.bias"))
        #expect(!tensors.hasTensor(named: "rope_freqs.weight"))
        let without = RandomTensors(seed: 0, hasQKVBias: false)
        #expect(!without.hasTensor(named: "blk.3.attn_k.bias"))
        #expect(throws: ModelLoadingError.self) {
            try without.tensor(named: "blk.3.attn_k.bias", shape: [4])
        }
    }

    @Test func storedRowsAreTheUpperHalvesOfTheValues() throws {
        let tensor = try RandomTensors(seed: 7, hasQKVBias: false)
            .tensor(named: "token_embd.weight", shape: [10, 6])
        let values = try Self.values("token_embd.weight", [10, 6], 2..<5, seed: 7)
        var stored = [UInt16](repeating: 0, count: 30)
        stored.withUnsafeMutableBytes { tensor.copyRows(2..<5, into: $0) }
        #expect(tensor.type == .bf16 && tensor.rowByteCount == 20)
        #expect(stored == values.map { UInt16($0.bitPattern >> 16) })
    }
}
