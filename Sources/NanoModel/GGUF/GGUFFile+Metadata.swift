extension GGUFFile {
    /// Returns the text of a STRING value.
    ///
    /// - Throws: ``ModelLoadingError`` when the key is missing, of another type or not UTF-8.
    package func string(_ key: String) throws(ModelLoadingError) -> String {
        try required(key, stringIfPresent(key))
    }

    /// As ``string(_:)``, nil when the file has no such key.
    package func stringIfPresent(_ key: String) throws(ModelLoadingError) -> String? {
        guard let entry = entries[key] else { return nil }
        guard entry.type == .string, entry.arrayCount == nil else {
            throw wrongType(key, entry, expected: "STRING")
        }
        var cursor = GGUFCursor(file, at: entry.offset)
        return try text(&cursor, key)
    }

    /// Returns a value of any integer type.
    ///
    /// - Throws: ``ModelLoadingError`` when the key is missing, of another type or the value is
    ///   outside `range`.
    package func integer(
        _ key: String, in range: ClosedRange<Int>
    ) throws(ModelLoadingError) -> Int {
        try required(key, integerIfPresent(key, in: range))
    }

    /// As ``integer(_:in:)``, nil when the file has no such key.
    package func integerIfPresent(
        _ key: String, in range: ClosedRange<Int>
    ) throws(ModelLoadingError) -> Int? {
        guard let entry = entries[key] else { return nil }
        guard entry.arrayCount == nil, let value = integer(entry.type, at: entry.offset) else {
            throw wrongType(key, entry, expected: "an integer type")
        }
        let wideRange = Int128(range.lowerBound)...Int128(range.upperBound)
        return Int(try inRange(key, value, wideRange, entry.offset))
    }

    /// Returns a FLOAT32 or FLOAT64 value; unless a range is given, any finite one.
    ///
    /// - Throws: ``ModelLoadingError`` when the key is missing, of another type or the value is
    ///   outside `range` (NaN always is).
    package func float(
        _ key: String, in range: ClosedRange<Float> = finiteFloats
    ) throws(ModelLoadingError) -> Float {
        try required(key, floatIfPresent(key, in: range))
    }

    /// As ``float(_:in:)``, nil when the file has no such key.
    package func floatIfPresent(
        _ key: String, in range: ClosedRange<Float> = finiteFloats
    ) throws(ModelLoadingError) -> Float? {
        guard let entry = entries[key] else { return nil }
        let value: Float
        switch (entry.type, entry.arrayCount) {
        case (.float32, nil):
            value = Float(bitPattern: file.load(UInt32.self, at: entry.offset))
        case (.float64, nil):
            value = Float(Double(bitPattern: file.load(UInt64.self, at: entry.offset)))
        default:
            throw wrongType(key, entry, expected: "FLOAT32 or FLOAT64")
        }
        return try inRange(key, value, range, entry.offset)
    }

    /// Returns a BOOL value.
    ///
    /// - Throws: ``ModelLoadingError`` when the key is missing, of another type or neither 0 nor 1.
    package func bool(_ key: String) throws(ModelLoadingError) -> Bool {
        try required(key, boolIfPresent(key))
    }

    /// As ``bool(_:)``, nil when the file has no such key.
    package func boolIfPresent(_ key: String) throws(ModelLoadingError) -> Bool? {
        guard let entry = entries[key] else { return nil }
        guard entry.type == .bool, entry.arrayCount == nil else {
            throw wrongType(key, entry, expected: "BOOL")
        }
        return try inRange(key, file.load(UInt8.self, at: entry.offset), 0...1, entry.offset) == 1
    }

    /// Returns the elements of an array of STRING.
    ///
    /// - Throws: ``ModelLoadingError`` when the key is missing, of another type or an element is
    ///   not UTF-8.
    package func strings(_ key: String) throws(ModelLoadingError) -> [String] {
        try required(key, stringsIfPresent(key))
    }

    /// As ``strings(_:)``, nil when the file has no such key.
    package func stringsIfPresent(_ key: String) throws(ModelLoadingError) -> [String]? {
        guard let entry = entries[key] else { return nil }
        guard entry.type == .string, let count = entry.arrayCount else {
            throw wrongType(key, entry, expected: "an array of STRING")
        }
        var cursor = GGUFCursor(file, at: entry.offset)
        var elements: [String] = []
        elements.reserveCapacity(count)
        for index in 0..<count {
            elements.append(try text(&cursor, "\(key)[\(index)]"))
        }
        return elements
    }

    /// Returns the elements of an array of any integer type whose values fit 32 bits.
    ///
    /// - Throws: ``ModelLoadingError`` when the key is missing, of another type or an element does
    ///   not fit.
    package func int32s(_ key: String) throws(ModelLoadingError) -> [Int32] {
        try required(key, int32sIfPresent(key))
    }

    /// As ``int32s(_:)``, nil when the file has no such key.
    package func int32sIfPresent(_ key: String) throws(ModelLoadingError) -> [Int32]? {
        guard let entry = entries[key] else { return nil }
        guard let count = entry.arrayCount, let size = entry.type.byteCount else {
            throw wrongType(key, entry, expected: "an array of an integer type")
        }
        let range = Int128(Int32.min)...Int128(Int32.max)
        var elements: [Int32] = []
        elements.reserveCapacity(count)
        for index in 0..<count {
            let offset = entry.offset + index * size
            guard let value = integer(entry.type, at: offset) else {
                throw wrongType(key, entry, expected: "an array of an integer type")
            }
            elements.append(Int32(try inRange("\(key)[\(index)]", value, range, offset)))
        }
        return elements
    }

    /// Every Float but the infinities and NaN.
    package static var finiteFloats: ClosedRange<Float> {
        -Float.greatestFiniteMagnitude...Float.greatestFiniteMagnitude
    }
}

extension GGUFFile {
    private func required<Value>(
        _ key: String, _ value: Value?
    ) throws(ModelLoadingError) -> Value {
        guard let value else {
            throw file.error(key, at: nil, "the metadata has no such key")
        }
        return value
    }

    private func wrongType(
        _ key: String, _ entry: GGUFMetadataEntry, expected: String
    ) -> ModelLoadingError {
        file.error(
            key, at: entry.offset, limit: expected, given: entry.typeDescription,
            "the metadata value has the wrong type")
    }

    private func inRange<Value: Comparable>(
        _ field: @autoclosure () -> String, _ value: Value, _ range: ClosedRange<Value>,
        _ offset: Int
    ) throws(ModelLoadingError) -> Value {
        guard range.contains(value) else {
            throw file.error(
                field(), at: offset, limit: "\(range.lowerBound) to \(range.upperBound)",
                given: "\(value)", "the metadata value is out of range")
        }
        return value
    }

    /// The value of any integer type, exact; nil for the other types.
    private func integer(_ type: GGUFValueType, at offset: Int) -> Int128? {
        switch type {
        case .uint8: Int128(file.load(UInt8.self, at: offset))
        case .int8: Int128(file.load(Int8.self, at: offset))
        case .uint16: Int128(file.load(UInt16.self, at: offset))
        case .int16: Int128(file.load(Int16.self, at: offset))
        case .uint32: Int128(file.load(UInt32.self, at: offset))
        case .int32: Int128(file.load(Int32.self, at: offset))
        case .uint64: Int128(file.load(UInt64.self, at: offset))
        case .int64: Int128(file.load(Int64.self, at: offset))
        case .float32, .float64, .bool, .string, .array: nil
        }
    }

    private func text(
        _ cursor: inout GGUFCursor, _ field: @autoclosure () -> String
    ) throws(ModelLoadingError) -> String {
        let range = try cursor.string(field())
        guard let text = file.text(in: range) else {
            throw file.error(field(), at: range.lowerBound, "the text is not valid UTF-8")
        }
        return text
    }
}
