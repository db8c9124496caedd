import NanoModel
import Testing

/// A file that must be refused: how it differs from a good one, and what the error must name.
struct MalformedFile: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let field: String
    /// The place, by ``GGUFWriter``'s names or as a byte; the error names the field that starts
    /// there.
    let place: Place
    let bytes: [UInt8]
    private let places: [String: Int]

    enum Place: Sendable {
        case byte(Int)
        case named(String, plus: Int = 0)
    }

    /// The offset that the error must give.
    var offset: Int? {
        switch place {
        case .byte(let byte): byte
        case .named(let name, let plus): places[name].map { $0 + plus }
        }
    }

    /// A good file after `write`, whose bytes `damage` may change.
    init(
        _ description: String, field: String, at place: Place,
        writing write: (inout GGUFWriter) -> Void = { _ in },
        damage: (inout [UInt8], [String: Int]) -> Void
    ) {
        var writer = GGUFWriter()
        writer.add("a.key", .uint32(7))
        write(&writer)
        writer.addTensor("t", shape: [4, 2], values: [Float](repeating: 1, count: 8))
        var (bytes, places) = writer.file()
        damage(&bytes, places)
        testDescription = description
        self.field = field
        self.place = place
        self.bytes = bytes
        self.places = places
    }
}

extension [UInt8] {
    /// Overwrites the little-endian integer at `offset`.
    mutating func put<T: FixedWidthInteger>(_ value: T, at offset: Int?) {
        guard let offset else { preconditionFailure("the writer has no such place") }
        for index in 0..<MemoryLayout<T>.size {
            self[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * index))
        }
    }
}

@Suite struct GGUFMalformedTests {
    @Test(arguments: headerCases + metadataCases + tensorCases + placementCases)
    func isRefusedByNameAndPlace(_ malformed: MalformedFile) throws {
        try withTemporaryFolder { folder in
            let path = try folder.write(malformed.bytes, as: "bad.gguf")
            let error = try #require(throws: ModelLoadingError.self) { try GGUFFile(path: path) }
            #expect(error.field == malformed.field, "\(error)")
            #expect(error.byteOffset != nil && error.byteOffset == malformed.offset, "\(error)")
            #expect(error.file == path)
            #expect(error.description.utf8.count < 1000)
        }
    }

    @Test func theFileThatTheCasesStartFromIsGood() throws {
        let good = MalformedFile.written("good", field: "", at: .byte(0)) { _ in }
        let file = try GGUFFile(MappedFile(copying: good.bytes, path: "good.gguf"))
        #expect(file.tensors.count == 1 && file.metadataKeys == ["a.key"])
    }

    private static let headerCases: [MalformedFile] = [
        .init("an empty file", field: "magic", at: .byte(0)) { bytes, _ in bytes = [] },
        .init("three bytes", field: "magic", at: .byte(0)) { bytes, _ in
            bytes.removeLast(bytes.count - 3)
        },
        .init("another magic", field: "magic", at: .byte(0)) { bytes, _ in bytes[3] = 0x4d },
        .init("a magic turned round", field: "magic", at: .byte(0)) { bytes, _ in
            bytes.replaceSubrange(0..<4, with: Array("FUGG".utf8))
        },
        .init("version 0", field: "version", at: .byte(4)) { bytes, _ in bytes[4] = 0 },
        .init("version 1", field: "version", at: .byte(4)) { bytes, _ in bytes[4] = 1 },
        .init("version 2", field: "version", at: .byte(4)) { bytes, _ in bytes[4] = 2 },
        .init("a future version", field: "version", at: .byte(4)) { bytes, _ in bytes[4] = 4 },
        .init("a big-endian version 3", field: "version", at: .byte(4)) { bytes, _ in
            bytes.put(UInt32(3).byteSwapped, at: 4)
        },
        .init("ends inside the counts", field: "kv_count", at: .byte(16)) { bytes, _ in
            bytes.removeLast(bytes.count - 20)
        },
        .init("2^63 tensors", field: "tensor_count", at: .byte(8)) { bytes, _ in
            bytes.put(UInt64(1) << 63, at: 8)
        },
        .init("more tensors than bytes", field: "tensor_count", at: .byte(8)) { bytes, _ in
            bytes.put(UInt64(bytes.count), at: 8)
        },
        .init("2^63 pairs", field: "kv_count", at: .byte(16)) { bytes, _ in
            bytes.put(UInt64(1) << 63, at: 16)
        },
        .init("2^64 - 1 pairs", field: "kv_count", at: .byte(16)) { bytes, _ in
            bytes.put(UInt64.max, at: 16)
        },
    ]

    private static let metadataCases: [MalformedFile] = [
        .init("a key of 2^64 - 1 bytes", field: "key[0].length", at: .named("a.key.key")) {
            $0.put(UInt64.max, at: $1["a.key.key"])
        },
        .init("a key longer than the file", field: "key[0].length", at: .named("a.key.key")) {
            $0.put(UInt64(60_000), at: $1["a.key.key"])
        },
        .init("a key of 65536 bytes", field: "key[0].length", at: .named("a.key.key")) {
            $0.insert(contentsOf: [UInt8](repeating: 0x61, count: 65_536), at: $0.count)
            $0.put(UInt64(65_536), at: $1["a.key.key"])
        },
        .written("an empty key", field: "key[1].length", at: .named(".key")) {
            $0.add("", .bool(true))
        },
        .written("a key that is not ASCII", field: "key[1]", at: .named("ä.key", plus: 8)) {
            $0.add("ä", .bool(true))
        },
        .init("a key with a NUL", field: "key[0]", at: .named("a.key.key", plus: 8)) {
            $0[($1["a.key.key"] ?? 0) + 9] = 0
        },
        .written("a duplicate key", field: "key[1]", at: .named("a.key.key")) {
            $0.add("a.key", .bool(true))
        },
        .init("a value of type 13", field: "a.key.type", at: .named("a.key.type")) {
            $0.put(UInt32(13), at: $1["a.key.type"])
        },
        .init("a value of type 2^32 - 1", field: "a.key.type", at: .named("a.key.type")) {
            $0.put(UInt32.max, at: $1["a.key.type"])
        },
        .init(
            "a string longer than the file", field: "s.length", at: .named("s.value"),
            writing: {
                $0.add("s", .string("text"))
            }
        ) { $0.put(UInt64.max, at: $1["s.value"]) },
        .written("a nested array", field: "n.element_type", at: .named("n.value")) {
            $0.add("n", .array(of: 9, [.array(of: 0, [.uint8(1)])]))
        },
        .written("an array of type 77", field: "n.element_type", at: .named("n.value")) {
            $0.add("n", .array(of: 77, []))
        },
        .init(
            "2^62 elements of 8", field: "n.count", at: .named("n.value", plus: 4),
            writing: {
                $0.add("n", .array(of: 10, [.uint64(1)]))
            }
        ) { $0.put(UInt64(1) << 62, at: $1["n.value"].map { $0 + 4 }) },
        .init(
            "2^61 strings", field: "n.count", at: .named("n.value", plus: 4),
            writing: {
                $0.add(strings: ["a"], "n")
            }
        ) { $0.put(UInt64(1) << 61, at: $1["n.value"].map { $0 + 4 }) },
        .init(
            "a huge string in an array", field: "n[1].length", at: .named("n.value", plus: 21),
            writing: {
                $0.add(strings: ["a", "b"], "n")
            }
        ) { $0.put(UInt64.max - 7, at: $1["n.value"].map { $0 + 21 }) },
        .alignment("0", .uint32(0)), .alignment("4", .uint32(4)), .alignment("24", .uint32(24)),
        .alignment("2^32 - 1", .uint32(.max)), .alignment("a string", .string("32")),
        .alignment("an array", .array(of: 4, [.uint32(32)]), plus: 12),
    ]

    private static let tensorCases: [MalformedFile] = [
        .tensor("an empty name", "", field: "tensor[0].name.length", at: "name"),
        .tensor(
            "a name of 65 bytes", String(repeating: "n", count: 65),
            field: "tensor[0].name.length", at: "name"),
        .init("a name that is not UTF-8", field: "tensor[0].name", at: .named("t.name", plus: 8)) {
            $0[($1["t.name"] ?? 0) + 8] = 0xff
        },
        .tensor("a duplicate name", "t", field: "tensor[1].name", at: "name"),
        .tensor("no dimensions", shape: [], field: "dimensions"),
        .tensor("five dimensions", shape: [1, 1, 1, 1, 1], field: "dimensions"),
        .tensor("2^31 dimensions", field: "dimensions") {
            $0.put(UInt32(1) << 31, at: $1["u.dimensions"])
        },
        .tensor("a dimension of 0", shape: [0], field: "shape[0]", at: "shape"),
        .tensor("a second dimension of 0", shape: [4, 0], field: "shape[1]", at: "shape", plus: 8),
        .tensor("a negative dimension", shape: [.max], field: "shape[0]", at: "shape"),
        .tensor("a product beyond 2^64", shape: [1 << 33, 1 << 33], field: "shape"),
        .tensor("a product that wraps to 0", shape: [1 << 32, 1 << 32], field: "shape"),
        .tensor("bytes beyond 2^63", shape: [1 << 62], field: "shape"),
        .tensor("a row of half a block", type: 2, shape: [48], field: "shape[0]", at: "shape"),
        .tensor("a K row of 32", type: 12, shape: [32, 8], field: "shape[0]", at: "shape"),
        .tensor("a type that is not read", type: 16, shape: [256], field: "type"),
        .tensor("a type that is not known", type: 4242, shape: [256], field: "type"),
    ]

    private static let placementCases: [MalformedFile] = [
        .tensor("data past the end of the file", shape: [4], offset: 1 << 20, field: "offset"),
        .tensor("an offset of 2^64 - 32", shape: [4], offset: .max - 31, field: "offset"),
        .tensor("an offset of 2^63", shape: [4], offset: 1 << 63, field: "offset"),
        .tensor("a misaligned offset", field: "offset") {
            // Within the padding, so that nothing else is wrong.
            $0.put(UInt64(8), at: $1["u.offset"])
        },
        .tensor("a tensor larger than the file", shape: [4, 1 << 20], offset: 0, field: "offset"),
        .tensor("the same data as another", shape: [4], offset: 0, field: "offset", at: "t.offset"),
        .init("data cut by one byte", field: "tensor \"t\".offset", at: .named("t.offset")) {
            bytes, _ in
            bytes.removeLast()
        },
        .init("no data", field: "tensor \"t\".offset", at: .named("t.offset")) {
            $0.removeLast($0.count - ($1["data"] ?? 0))
        },
        .init("not even the padding", field: "tensor \"t\".offset", at: .named("t.offset")) {
            $0.removeLast($0.count - ($1["t.offset"] ?? 0) - 8)
        },
    ]
}

extension MalformedFile {
    /// What a writer can write and a reader must refuse.
    static func written(
        _ description: String, field: String, at place: Place, _ write: (inout GGUFWriter) -> Void
    ) -> Self {
        Self(description, field: field, at: place, writing: write, damage: { _, _ in })
    }

    /// `general.alignment` of that value, found wrong `plus` bytes into it.
    static func alignment(_ name: String, _ value: GGUFWriter.Value, plus: Int = 0) -> Self {
        Self(
            "an alignment of \(name)", field: "general.alignment",
            at: .named("general.alignment.value", plus: plus),
            writing: { $0.add("general.alignment", value) }, damage: { _, _ in })
    }

    /// A second tensor before the good one; `field` is below it unless it is a whole field name.
    static func tensor(
        _ description: String, _ name: String = "u", type: UInt32 = 0, shape: [UInt64] = [4],
        offset: UInt64? = nil, field: String, at place: String? = nil, plus: Int = 0,
        damage: (inout [UInt8], [String: Int]) -> Void = { _, _ in }
    ) -> Self {
        let isWhole = field.hasPrefix("tensor[")
        let owner = place == "t.offset" ? "t" : name
        return Self(
            description, field: isWhole ? field : "tensor \"\(owner)\".\(field)",
            at: .named(place == "t.offset" ? "t.offset" : "\(name).\(place ?? field)", plus: plus),
            writing: {
                $0.addTensor(
                    name: Array(name.utf8), type: type, shape: shape,
                    data: offset == nil ? [UInt8](repeating: 0, count: 16) : [], offset: offset)
            }, damage: damage)
    }
}
