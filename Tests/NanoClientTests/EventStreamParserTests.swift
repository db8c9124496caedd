import NanoClient
import Testing

/// Server-sent events come out the same however their bytes are cut.
@Suite struct EventStreamParserTests {
    private static func events(_ pieces: [ArraySlice<UInt8>]) throws -> [String] {
        var parser = EventStreamParser()
        return try pieces.flatMap { try parser.append($0) }.map {
            String(decoding: $0, as: UTF8.self)
        }
    }

    private static let lines = [
        "\u{FEFF}data: {\"a\": 1}", "", ": a comment", "event: x", "id: 7", "data:one",
        "data:  two",
        "data", "data:", "", "", "retry: 5", "", "data: Grüße 😀", "", "data: [DONE]", "",
        "data: never ended",
    ]
    private static let expected = ["{\"a\": 1}", "one\n two\n\n", "Grüße 😀", "[DONE]"]

    @Test(arguments: ["\n", "\r\n", "\r"])
    func eachCutGivesTheSame(ending: String) throws {
        let bytes = Array((Self.lines.joined(separator: ending) + ending).utf8)
        #expect(try Self.events([bytes[...]]) == Self.expected)
        #expect(try Self.events(bytes.indices.map { bytes[$0...$0] }) == Self.expected)
        for cut in bytes.indices {
            #expect(try Self.events([bytes[..<cut], bytes[cut...]]) == Self.expected)
        }
    }

    @Test func anEventIsGivenWithItsLastByte() throws {
        var parser = EventStreamParser()
        #expect(try parser.append("data: a\r\n\r".utf8) == [Array("a".utf8)])
        #expect(try parser.append("\ndata: b\n".utf8) == [])
        #expect(try parser.append("\n".utf8) == [Array("b".utf8)])
    }

    @Test func whatHasNoEndIsRefused() throws {
        var long = EventStreamParser(maxEventByteCount: 10)
        #expect(try long.append("data: 1234\n\n".utf8).count == 1)
        #expect(throws: EventStreamParser.EventTooLong.self) {
            try long.append("data: 12345".utf8)
        }
        var joined = EventStreamParser(maxEventByteCount: 10)
        #expect(throws: EventStreamParser.EventTooLong.self) {
            try joined.append("data:12345\ndata:12345\n".utf8)
        }
    }
}
