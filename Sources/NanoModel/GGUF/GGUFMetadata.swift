/// The types of a GGUF metadata value, by the format's numbers.
enum GGUFValueType: UInt32, Sendable, CustomStringConvertible {
    case uint8, int8, uint16, int16, uint32, int32, float32, bool, string, array, uint64, int64
    case float64

    /// The size of one value; nil for strings and arrays, whose size is in the file.
    var byteCount: Int? {
        switch self {
        case .uint8, .int8, .bool: 1
        case .uint16, .int16: 2
        case .uint32, .int32, .float32: 4
        case .uint64, .int64, .float64: 8
        case .string, .array: nil
        }
    }

    var description: String {
        switch self {
        case .uint8: "UINT8"
        case .int8: "INT8"
        case .uint16: "UINT16"
        case .int16: "INT16"
        case .uint32: "UINT32"
        case .int32: "INT32"
        case .float32: "FLOAT32"
        case .bool: "BOOL"
        case .string: "STRING"
        case .array: "ARRAY"
        case .uint64: "UINT64"
        case .int64: "INT64"
        case .float64: "FLOAT64"
        }
    }
}

/// Where one metadata value lies; the value itself is read when it is asked for.
struct GGUFMetadataEntry: Sendable {
    /// The value's type, or the type of an array's elements; never `array`.
    let type: GGUFValueType
    /// The number of elements of an array, whose bytes have been found to lie in the file.
    let arrayCount: Int?
    /// The first byte of the value; of an array, of its first element.
    let offset: Int

    var typeDescription: String {
        arrayCount.map { "an array of \($0) \(type)" } ?? "\(type)"
    }
}
