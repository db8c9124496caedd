/// Takes server-sent events out of bytes that arrive in pieces of any length.
///
/// As the HTML standard has it: lines end with CR, LF or both; `data` lines of one event are joined
/// with LF; comments and other fields are passed over; an event that no blank line ends is none.
package struct EventStreamParser: Sendable {
    /// More than this without an end is no answer of a language model.
    package struct EventTooLong: Error, Hashable, CustomStringConvertible {
        package let limit: Int

        package var description: String { "an event has more than \(limit) bytes" }
    }

    private static let carriageReturn = UInt8(ascii: "\r")
    private static let lineFeed = UInt8(ascii: "\n")
    private static let byteOrderMark: [UInt8] = [0xEF, 0xBB, 0xBF]

    private let maxEventByteCount: Int
    private var line: [UInt8] = []
    /// nil before the event's first `data` line.
    private var data: [UInt8]?
    private var endedWithCarriageReturn = false
    private var isFirstLine = true

    /// - Parameter maxEventByteCount: Bytes that an event's data, and each line, can have.
    package init(maxEventByteCount: Int = 16 << 20) {
        self.maxEventByteCount = maxEventByteCount
    }

    /// Takes in the next bytes.
    ///
    /// - Returns: The data of the events that these bytes complete.
    /// - Throws: ``EventTooLong``; the stream cannot be read on then.
    package mutating func append(
        _ bytes: some Sequence<UInt8>
    ) throws(EventTooLong) -> [[UInt8]] {
        var events: [[UInt8]] = []
        for byte in bytes {
            let follows = endedWithCarriageReturn
            endedWithCarriageReturn = byte == Self.carriageReturn
            switch byte {
            case Self.lineFeed where follows: break
            case Self.lineFeed, Self.carriageReturn:
                if let event = endLine() { events.append(event) }
            default: line.append(byte)
            }
            guard max(line.count, data?.count ?? 0) <= maxEventByteCount else {
                throw EventTooLong(limit: maxEventByteCount)
            }
        }
        return events
    }

    /// The event's data where the line is the blank one behind it.
    private mutating func endLine() -> [UInt8]? {
        defer { line.removeAll(keepingCapacity: true) }
        if isFirstLine, line.starts(with: Self.byteOrderMark) {
            line.removeFirst(Self.byteOrderMark.count)
        }
        isFirstLine = false
        guard !line.isEmpty else {
            defer { data = nil }
            return data
        }
        if let value = dataValue {
            data = data.map { $0 + [Self.lineFeed] + value } ?? Array(value)
        }
        return nil
    }

    private var dataValue: ArraySlice<UInt8>? {
        let name = line.prefix { $0 != UInt8(ascii: ":") }
        guard name.elementsEqual("data".utf8) else { return nil }
        let value = line.dropFirst(name.count + 1)
        return value.first == UInt8(ascii: " ") ? value.dropFirst() : value
    }
}
