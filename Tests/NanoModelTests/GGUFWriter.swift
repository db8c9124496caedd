import Foundation
import NanoModel

/// Writes small GGUF v3 files for tests, and remembers where each field went.
///
/// It checks nothing: a test may write what a reader must refuse.
struct GGUFWriter {
    /// A metadata value, spelled as the file spells it.
    indirect enum Value {
        case uint8(UInt8), int8(Int8), uint16(UInt16), int16(Int16), uint32(UInt32), int32(Int32)
        case float32(Float), bool(Bool), string(String), uint64(UInt64), int64(Int64)
        case float64(Double)
        case array(of: UInt32, [Value])
        /// Any type number and any bytes.
        case raw(type: UInt32, [UInt8])
    }

    private struct Tensor {
        let name: [UInt8]
        let type: UInt32
        let shape: [UInt64]
        let data: [UInt8]
        let offset: UInt64?
    }

    var magic = Array("GGUF".utf8)
    var version: UInt32 = 3
    /// Pads the data; `general.alignment` is not written for it.
    var alignment = 32
    private var pairs: [(key: [UInt8], value: Value)] = []
    private var tensors: [Tensor] = []

    mutating func add(_ key: String, _ value: Value) { add(key: Array(key.utf8), value) }

    mutating func add(key: [UInt8], _ value: Value) { pairs.append((key, value)) }

    mutating func add(strings: [String], _ key: String) {
        add(key, .array(of: 8, strings.map { .string($0) }))
    }

    mutating func add(int32s: [Int32], _ key: String) {
        add(key, .array(of: 5, int32s.map { .int32($0) }))
    }

    /// Adds a tensor of `data`; its place follows the tensors before it unless `offset` is given.
    mutating func addTensor(
        _ name: String, type: GGUFTensorType, shape: [Int], data: [UInt8], offset: UInt64? = nil
    ) {
        addTensor(
            name: Array(name.utf8), type: type.rawValue, shape: shape.map { UInt64($0) },
            data: data, offset: offset)
    }

    /// Adds an F32 tensor; shape in GGUF's order, contiguous dimension first.
    mutating func addTensor(_ name: String, shape: [Int], values: [Float]) {
        let data = values.flatMap { bytes($0.bitPattern) }
        addTensor(name, type: .f32, shape: shape, data: data)
    }

    mutating func addTensor(
        name: [UInt8], type: UInt32, shape: [UInt64], data: [UInt8], offset: UInt64? = nil
    ) {
        tensors.append(Tensor(name: name, type: type, shape: shape, data: data, offset: offset))
    }

    /// The file, and where its fields start: `tensor_count`, `kv_count`, `KEY.key`, `KEY.type`,
    /// `KEY.value` (an array's element type), `NAME.name`, `NAME.dimensions`, `NAME.shape`,
    /// `NAME.type`, `NAME.offset`, `data`.
    func file() -> (bytes: [UInt8], places: [String: Int]) {
        var out = magic + bytes(version)
        var places = ["tensor_count": out.count, "kv_count": out.count + 8]
        out += bytes(UInt64(tensors.count)) + bytes(UInt64(pairs.count))
        for (key, value) in pairs {
            let name = String(decoding: key, as: UTF8.self)
            places["\(name).key"] = out.count
            out += string(key)
            places["\(name).type"] = out.count
            out += bytes(typeNumber(value))
            places["\(name).value"] = out.count
            out += payload(value)
        }
        var data: [UInt8] = []
        for tensor in tensors {
            let offset = tensor.offset ?? UInt64(data.count)
            let name = String(decoding: tensor.name, as: UTF8.self)
            places["\(name).name"] = out.count
            out += string(tensor.name)
            places["\(name).dimensions"] = out.count
            out += bytes(UInt32(tensor.shape.count))
            places["\(name).shape"] = out.count
            out += tensor.shape.flatMap { bytes($0) }
            places["\(name).type"] = out.count
            out += bytes(tensor.type)
            places["\(name).offset"] = out.count
            out += bytes(offset)
            pad(&data)
            if tensor.offset == nil { data += tensor.data }
            pad(&data)
        }
        pad(&out)
        places["data"] = out.count
        return (out + data, places)
    }

    private func pad(_ bytes: inout [UInt8]) {
        while !bytes.count.isMultiple(of: alignment) { bytes.append(0) }
    }

    private func string(_ text: [UInt8]) -> [UInt8] { bytes(UInt64(text.count)) + text }

    private func bytes<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
        withUnsafeBytes(of: value.littleEndian) { Array($0) }
    }

    private func typeNumber(_ value: Value) -> UInt32 {
        switch value {
        case .uint8: 0
        case .int8: 1
        case .uint16: 2
        case .int16: 3
        case .uint32: 4
        case .int32: 5
        case .float32: 6
        case .bool: 7
        case .string: 8
        case .array: 9
        case .uint64: 10
        case .int64: 11
        case .float64: 12
        case .raw(let type, _): type
        }
    }

    private func payload(_ value: Value) -> [UInt8] {
        switch value {
        case .uint8(let value): bytes(value)
        case .int8(let value): bytes(value)
        case .uint16(let value): bytes(value)
        case .int16(let value): bytes(value)
        case .uint32(let value): bytes(value)
        case .int32(let value): bytes(value)
        case .float32(let value): bytes(value.bitPattern)
        case .bool(let value): [value ? 1 : 0]
        case .string(let text): string(Array(text.utf8))
        case .uint64(let value): bytes(value)
        case .int64(let value): bytes(value)
        case .float64(let value): bytes(value.bitPattern)
        case .raw(_, let payload): payload
        case .array(let type, let elements):
            bytes(type) + bytes(UInt64(elements.count)) + elements.flatMap { payload($0) }
        }
    }
}

/// A folder below the system's temporary one.
struct TemporaryFolder {
    fileprivate let url: URL

    var path: String { url.path }

    /// Writes a file and returns its path.
    func write(_ bytes: [UInt8], as name: String) throws -> String {
        let file = url.appendingPathComponent(name)
        try Data(bytes).write(to: file)
        return file.path
    }
}

/// Calls `body` with an empty folder, which is removed afterwards.
func withTemporaryFolder(_ body: (TemporaryFolder) throws -> Void) throws {
    let url = FileManager.default.temporaryDirectory
        .appendingPathComponent("nanoflow-\(UUID().uuidString)", isDirectory: true)
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: url) }
    try body(TemporaryFolder(url: url))
}
