/// A place in a file from which the fields of a GGUF header are read, one after another.
///
/// No read leaves the file: each checks the bytes that are left before it moves. `field` names
/// what is being read, for the error.
struct GGUFCursor {
    let file: MappedFile
    /// The byte that is read next, 0...file.byteCount.
    private(set) var position: Int

    init(_ file: MappedFile, at position: Int = 0) {
        precondition(position >= 0 && position <= file.byteCount, "a cursor starts inside its file")
        self.file = file
        self.position = position
    }

    var remainingByteCount: Int { file.byteCount - position }

    mutating func integer<T: FixedWidthInteger & BitwiseCopyable>(
        _ type: T.Type, _ field: @autoclosure () -> String
    ) throws(ModelLoadingError) -> T {
        let start = try skip(1, of: MemoryLayout<T>.size, field())
        return file.load(type, at: start)
    }

    /// Steps over `count` items of `size` bytes and returns where they start.
    @discardableResult
    mutating func skip(
        _ count: UInt64, of size: Int, _ field: @autoclosure () -> String
    ) throws(ModelLoadingError) -> Int {
        // Divided, not multiplied: a count out of a file may be anything up to 2^64 - 1.
        guard count <= UInt64(remainingByteCount / size) else {
            throw file.error(
                field(), at: position, limit: "\(remainingByteCount) bytes left in the file",
                given: size == 1 ? "\(count) bytes" : "\(count) times \(size) bytes",
                "the file ends inside this field")
        }
        let start = position
        position += Int(count) * size
        return start
    }

    /// Reads a string's length, steps over its bytes and returns where they are.
    mutating func string(
        lengths: ClosedRange<UInt64> = 0...UInt64.max, _ field: @autoclosure () -> String
    ) throws(ModelLoadingError) -> Range<Int> {
        let lengthOffset = position
        let length = try integer(UInt64.self, field() + ".length")
        guard lengths.contains(length) else {
            throw file.error(
                field() + ".length", at: lengthOffset,
                limit: "\(lengths.lowerBound) to \(lengths.upperBound) bytes",
                given: "\(length) bytes", "the name is empty or too long")
        }
        guard length <= UInt64(remainingByteCount) else {
            throw file.error(
                field() + ".length", at: lengthOffset,
                limit: "\(remainingByteCount) bytes left in the file", given: "\(length) bytes",
                "the string is longer than the rest of the file")
        }
        let start = try skip(length, of: 1, field())
        return start..<position
    }
}
