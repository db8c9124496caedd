/// The part of a GGUF v3 file that stands before its data, read and checked in one pass.
///
/// ```
/// magic "GGUF" | version u32 | tensor_count u64 | kv_count u64
/// kv_count     * (key string, type u32, value)
/// tensor_count * (name string, dimensions u32, shape u64..., type u32, offset u64)
/// padding to the alignment | data
/// ```
///
/// A string is a u64 length and its bytes; an array is an element type u32, a count u64 and the
/// elements. All numbers are little-endian. A tensor's offset counts from the start of the data.
struct GGUFHeader {
    private(set) var keys: [String] = []
    private(set) var entries: [String: GGUFMetadataEntry] = [:]
    private(set) var alignment = 32
    private(set) var tensors: [GGUFTensor] = []
    private var cursor: GGUFCursor

    private var file: MappedFile { cursor.file }

    init(_ file: MappedFile) throws(ModelLoadingError) {
        cursor = GGUFCursor(file)
        try readMagicAndVersion()
        // The least bytes of a tensor: a name of 1, one dimension; of a pair: a key of 1, a byte.
        let counts = cursor.position
        let tensorCount = try cursor.integer(UInt64.self, "tensor_count")
        let pairCount = try cursor.integer(UInt64.self, "kv_count")
        try check(tensorCount, "tensor_count", at: counts, leastByteCount: 8 + 1 + 4 + 8 + 4 + 8)
        try check(pairCount, "kv_count", at: counts + 8, leastByteCount: 8 + 1 + 4 + 1)
        for index in 0..<Int(pairCount) {
            try readPair(index)
        }
        alignment = try readAlignment()
        tensors = try GGUFTensorTable(cursor, count: Int(tensorCount), alignment: alignment).tensors
    }

    private mutating func readMagicAndVersion() throws(ModelLoadingError) {
        let magic = try cursor.integer(UInt32.self, "magic")
        let expected: UInt32 = 0x4655_4747  // the bytes "GGUF", read little-endian
        guard magic == expected else {
            throw file.error(
                "magic", at: 0, limit: "the bytes \"GGUF\"", given: "0x" + String(magic, radix: 16),
                magic == expected.byteSwapped
                    ? "the file is byte-swapped" : "the file is not a GGUF file")
        }
        let offset = cursor.position
        let version = try cursor.integer(UInt32.self, "version")
        guard version != 3 else { return }
        let reason =
            switch version {
            case 0: "no GGUF file has version 0"
            case 1, 2: "the file is of an old version of GGUF; convert it to version 3"
            // A version that is small only when its bytes are turned round.
            case _ where version & 0xffff == 0: "the file is big-endian"
            default: "the file is of a later version of GGUF than this program reads"
            }
        throw file.error("version", at: offset, limit: "3", given: "\(version)", reason)
    }

    private func check(
        _ count: UInt64, _ field: String, at offset: Int, leastByteCount: Int
    ) throws(ModelLoadingError) {
        let limit = cursor.remainingByteCount / leastByteCount
        guard count <= UInt64(limit) else {
            throw file.error(
                field, at: offset, limit: "\(limit)", given: "\(count)",
                "more entries than the file has room for")
        }
    }
}

extension GGUFHeader {
    private mutating func readPair(_ index: Int) throws(ModelLoadingError) {
        let keyOffset = cursor.position
        let keyRange = try cursor.string(lengths: 1...65535, "key[\(index)]")
        guard let key = file.text(in: keyRange), key.utf8.allSatisfy({ 0x20...0x7e ~= $0 }) else {
            throw file.error(
                "key[\(index)]", at: keyRange.lowerBound, "the key is not printable ASCII")
        }
        guard entries[key] == nil else {
            throw file.error(
                "key[\(index)]", at: keyOffset, given: quoted(key), "the key occurs twice")
        }
        entries[key] = try readEntry(key)
        keys.append(key)
    }

    private mutating func readEntry(_ key: String) throws(ModelLoadingError) -> GGUFMetadataEntry {
        let type = try readValueType("\(key).type")
        if let size = type.byteCount {
            let offset = try cursor.skip(1, of: size, key)
            return GGUFMetadataEntry(type: type, arrayCount: nil, offset: offset)
        }
        if type == .string {
            let offset = cursor.position
            _ = try cursor.string(key)
            return GGUFMetadataEntry(type: type, arrayCount: nil, offset: offset)
        }
        return try readArray(key)
    }

    private mutating func readArray(_ key: String) throws(ModelLoadingError) -> GGUFMetadataEntry {
        let typeOffset = cursor.position
        let type = try readValueType("\(key).element_type")
        guard type != .array else {
            throw file.error(
                "\(key).element_type", at: typeOffset, limit: "any type but ARRAY", given: "ARRAY",
                "arrays of arrays are not supported")
        }
        let countOffset = cursor.position
        let count = try cursor.integer(UInt64.self, "\(key).count")
        let leastSize = type.byteCount ?? 8  // a string is its length at least
        guard count <= UInt64(cursor.remainingByteCount / leastSize) else {
            throw file.error(
                "\(key).count", at: countOffset,
                limit: "\(cursor.remainingByteCount / leastSize) elements", given: "\(count)",
                "the array is longer than the rest of the file")
        }
        let offset = cursor.position
        if type == .string {
            for index in 0..<Int(count) {
                _ = try cursor.string("\(key)[\(index)]")
            }
        } else {
            try cursor.skip(count, of: leastSize, key)
        }
        return GGUFMetadataEntry(type: type, arrayCount: Int(count), offset: offset)
    }

    private mutating func readValueType(
        _ field: @autoclosure () -> String
    ) throws(ModelLoadingError) -> GGUFValueType {
        let offset = cursor.position
        let number = try cursor.integer(UInt32.self, field())
        guard let type = GGUFValueType(rawValue: number) else {
            throw file.error(
                field(), at: offset, limit: "0 to 12", given: "\(number)",
                "no metadata value has this type")
        }
        return type
    }

    private func readAlignment() throws(ModelLoadingError) -> Int {
        let key = "general.alignment"
        guard let entry = entries[key] else { return 32 }
        guard entry.type == .uint32, entry.arrayCount == nil else {
            throw file.error(
                key, at: entry.offset, limit: "UINT32", given: entry.typeDescription,
                "the alignment has the wrong type")
        }
        let value = Int(file.load(UInt32.self, at: entry.offset))
        guard value >= 8, value & (value - 1) == 0 else {
            throw file.error(
                key, at: entry.offset, limit: "a power of two, 8 or more", given: "\(value)",
                "tensors cannot be aligned so")
        }
        return value
    }
}
