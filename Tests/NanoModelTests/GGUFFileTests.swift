import Foundation
import NanoModel
import Testing

@Suite struct GGUFFileTests {
    private static func small() -> GGUFWriter {
        var writer = GGUFWriter()
        writer.add("general.architecture", .string("llama"))
        writer.add("a.u8", .uint8(200))
        writer.add("a.i8", .int8(-3))
        writer.add("a.u16", .uint16(60_000))
        writer.add("a.i16", .int16(-300))
        writer.add("a.u32", .uint32(4_000_000_000))
        writer.add("a.i32", .int32(-70_000))
        writer.add("a.u64", .uint64(.max))
        writer.add("a.i64", .int64(.min))
        writer.add("a.f32", .float32(1e-5))
        writer.add("a.f64", .float64(0.5))
        writer.add("a.infinity", .float32(.infinity))
        writer.add("a.true", .bool(true))
        writer.add("a.notbool", .raw(type: 7, [2]))
        writer.add("a.text", .string("grüße 🌍"))
        writer.add("a.latin1", .raw(type: 8, [1, 0, 0, 0, 0, 0, 0, 0, 0xe4]))
        writer.add(strings: ["", "a", "Ġthe"], "a.strings")
        writer.add(int32s: [1, -2, .max], "a.int32s")
        writer.add("a.longs", .array(of: 10, [.uint64(1), .uint64(1 << 31)]))
        writer.add("a.floats", .array(of: 6, [.float32(1)]))
        writer.addTensor("matrix", shape: [4, 3], values: (0..<12).map { Float($0) })
        writer.addTensor("norm", type: .f16, shape: [2], data: [0x00, 0x3c, 0x00, 0xc0])
        return writer
    }

    private func open(_ writer: GGUFWriter) throws -> GGUFFile {
        try GGUFFile(MappedFile(copying: writer.file().bytes, path: "small.gguf"))
    }

    @Test func everyScalarTypeReadsBackAsWritten() throws {
        let file = try open(Self.small())
        #expect(try file.string("general.architecture") == "llama")
        #expect(try file.string("a.text") == "grüße 🌍")
        let whole = Int.min...Int.max
        #expect(try file.integer("a.u8", in: whole) == 200)
        #expect(try file.integer("a.i8", in: whole) == -3)
        #expect(try file.integer("a.u16", in: whole) == 60_000)
        #expect(try file.integer("a.i16", in: whole) == -300)
        #expect(try file.integer("a.u32", in: whole) == 4_000_000_000)
        #expect(try file.integer("a.i32", in: whole) == -70_000)
        #expect(try file.integer("a.i64", in: whole) == .min)
        #expect(try file.float("a.f32") == 1e-5)
        #expect(try file.float("a.f64") == 0.5)
        #expect(try file.bool("a.true"))
        #expect(file.alignment == 32)
        #expect(file.metadataKeys.count == 20)
    }

    @Test func arraysReadBackAsWritten() throws {
        let file = try open(Self.small())
        #expect(try file.strings("a.strings") == ["", "a", "Ġthe"])
        #expect(try file.int32s("a.int32s") == [1, -2, .max])
    }

    @Test func optionalLookupsOfAMissingKeyGiveNil() throws {
        let file = try open(Self.small())
        #expect(try file.stringIfPresent("none") == nil)
        #expect(try file.integerIfPresent("none", in: 0...1) == nil)
        #expect(try file.floatIfPresent("none") == nil)
        #expect(try file.boolIfPresent("none") == nil)
        #expect(try file.stringsIfPresent("none") == nil)
        #expect(try file.int32sIfPresent("none") == nil)
        #expect(file.tensorIfPresent(named: "none") == nil)
    }

    @Test func aLookupThatCannotBeAnsweredNamesKeyPlaceAndLimit() throws {
        let (bytes, places) = Self.small().file()
        let file = try GGUFFile(MappedFile(copying: bytes, path: "small.gguf"))
        func error(_ body: () throws -> Void) throws -> ModelLoadingError {
            try #require(throws: ModelLoadingError.self, performing: body)
        }
        let missing = try error { _ = try file.string("none") }
        #expect(missing.field == "none" && missing.byteOffset == nil)

        let range = try error { _ = try file.integer("a.u64", in: 1...10) }
        #expect(range.field == "a.u64" && range.byteOffset == places["a.u64.value"])
        #expect(range.limit == "1 to 10" && range.given == "18446744073709551615")

        let type = try error { _ = try file.integer("a.text", in: 1...10) }
        #expect(type.limit == "an integer type" && type.given == "STRING")
        let array = try error { _ = try file.string("a.strings") }
        #expect(array.limit == "STRING" && array.given == "an array of 3 STRING")
        let element = try error { _ = try file.int32s("a.longs") }
        #expect(element.field == "a.longs[1]" && element.given == "2147483648")

        #expect(try error { _ = try file.float("a.infinity") }.given == "inf")
        #expect(try error { _ = try file.bool("a.notbool") }.given == "2")
        #expect(try error { _ = try file.string("a.latin1") }.field == "a.latin1")
        #expect(try error { _ = try file.strings("a.int32s") }.limit == "an array of STRING")
        #expect(try error { _ = try file.int32s("a.floats") }.given == "an array of 1 FLOAT32")
        #expect(try error { _ = try file.bool("a.u8") }.limit == "BOOL")
        #expect(try error { _ = try file.float("a.u8") }.limit == "FLOAT32 or FLOAT64")
        #expect(try error { _ = try file.tensor(named: "none") }.field == "tensor \"none\"")
    }

    @Test func anErrorIsOneReadableLine() {
        let error = ModelLoadingError(
            file: "m.gguf", field: "version", byteOffset: 4, limit: "3", given: "2", "too old")
        #expect(error.description == "m.gguf: version at byte 4: too old (given 2, allowed 3)")
    }

    @Test func tensorRowsAreDequantizedInPlaceAndOrder() throws {
        let file = try open(Self.small())
        let matrix = try file.tensor(named: "matrix")
        #expect(matrix.shape == [4, 3] && matrix.rowCount == 3 && matrix.byteCount == 48)
        var rows = [Float](repeating: .nan, count: 8)
        rows.withUnsafeMutableBufferPointer { matrix.dequantizeRows(1..<3, into: $0) }
        #expect(rows == [4, 5, 6, 7, 8, 9, 10, 11])
        let norm = try file.tensor(named: "norm")
        var values = [Float](repeating: .nan, count: 2)
        values.withUnsafeMutableBufferPointer { norm.dequantizeRows(0..<1, into: $0) }
        #expect(values == [1, -2])
        #expect(norm.withUnsafeBytes { Array($0) } == [0x00, 0x3c, 0x00, 0xc0])
    }

    @Test func aTensorKeepsItsFileMapped() throws {
        try withTemporaryFolder { folder in
            let path = try folder.write(Self.small().file().bytes, as: "small.gguf")
            let matrix = try GGUFFile(path: path).tensor(named: "matrix")
            #expect(matrix.withUnsafeBytes { $0.count } == 48)
            var row = [Float](repeating: .nan, count: 4)
            row.withUnsafeMutableBufferPointer { matrix.dequantizeRows(0..<1, into: $0) }
            #expect(row == [0, 1, 2, 3])
        }
    }

    @Test(arguments: [8, 64, 4096]) func theAlignmentOfTheFileIsUsed(alignment: Int) throws {
        var writer = GGUFWriter()
        writer.alignment = alignment
        writer.add("general.alignment", .uint32(UInt32(alignment)))
        writer.addTensor("a", shape: [3], values: [1, 2, 3])
        writer.addTensor("b", shape: [1, 1, 2, 1], values: [4, 5])
        let file = try open(writer)
        #expect(file.alignment == alignment)
        #expect(file.tensors.allSatisfy { $0.fileOffset.isMultiple(of: alignment) })
        #expect(file.tensors.map(\.name) == ["a", "b"])
        var values = [Float](repeating: .nan, count: 2)
        try values.withUnsafeMutableBufferPointer {
            try file.tensor(named: "b").dequantizeRows(0..<2, into: $0)
        }
        #expect(values == [4, 5])
    }

    @Test func aFileThatCannotBeOpenedNamesItsPath() throws {
        try withTemporaryFolder { folder in
            for path in [folder.path + "/none.gguf", folder.path] {
                let error = try #require(throws: ModelLoadingError.self) {
                    try GGUFFile(path: path)
                }
                #expect(error.field == "file" && error.file == path)
            }
        }
    }
}

@Suite struct GGUFDefaultModelTests {
    private static var path: String {
        ProcessInfo.processInfo.environment["NANOFLOW_MODEL"]
            ?? URL(fileURLWithPath: #filePath)
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("Models/SmolLM2-135M-Instruct.Q4_1.gguf").path
    }

    @Test(.enabled(if: FileManager.default.fileExists(atPath: path), "the model is not here"))
    func theDefaultModelOpensAndHoldsWhatItShould() throws {
        let file = try GGUFFile(path: Self.path)
        #expect(file.tensors.count == 272)
        #expect(file.metadataKeys.count == 33)
        #expect(file.alignment == 32)
        #expect(try file.string("general.architecture") == "llama")
        #expect(try file.integer("llama.block_count", in: 1...1000) == 30)
        #expect(try file.float("llama.rope.freq_base") == 100_000)
        #expect(try file.strings("tokenizer.ggml.tokens").count == 49152)
        #expect(try file.strings("tokenizer.ggml.merges").count == 48900)
        #expect(try file.int32s("tokenizer.ggml.token_type").count == 49152)
        #expect(try !file.bool("tokenizer.ggml.add_bos_token"))
        let counts = file.tensors.reduce(into: [:]) { $0[$1.type, default: 0] += 1 }
        #expect(counts == [.q8_0: 1, .q4_1: 210, .f32: 61])
        #expect(try file.tensor(named: "token_embd.weight").type == .q8_0)
        #expect(file.tensors.reduce(0) { $0 + $1.elementCount } == 134_515_008)
    }

    // Bits by gguf==0.19.0: gguf.quants.dequantize of the same tensors, first and last elements.
    @Test(
        .enabled(if: FileManager.default.fileExists(atPath: path), "the model is not here"),
        arguments: [
            ("token_embd.weight", [3_185_193_984, 1_023_874_048], [3_186_985_728, 3_173_699_584]),
            (
                "blk.0.attn_q.weight", [3_183_820_800, 1_042_358_272],
                [3_189_338_112, 3_196_256_256]
            ),
            (
                "output_norm.weight", [1_071_710_208, 1_072_234_496],
                [1_073_086_464, 1_073_610_752]
            ),
        ] as [(String, [UInt32], [UInt32])])
    func itsWeightsHaveKnownBits(name: String, first: [UInt32], last: [UInt32]) throws {
        let tensor = try GGUFFile(path: Self.path).tensor(named: name)
        var row = [Float](repeating: .nan, count: tensor.rowLength)
        row.withUnsafeMutableBufferPointer { tensor.dequantizeRows(0..<1, into: $0) }
        #expect(row.prefix(2).map(\.bitPattern) == first)
        // What was let go is there again when it is read.
        tensor.letGo()
        let end = tensor.rowCount
        row.withUnsafeMutableBufferPointer { tensor.dequantizeRows(end - 1..<end, into: $0) }
        #expect(row.suffix(2).map(\.bitPattern) == last)
    }
}
