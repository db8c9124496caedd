import CYAML

/// What libyaml finds in a text, one piece after the other.
struct YAMLEvents: ~Copyable {
    enum Kind {
        /// A scalar as it is written; plain says that it stands in no quotes.
        case value(String, isPlain: Bool)
        case list, listEnd
        case mapping, mappingEnd
        case documentStart, documentEnd
        case alias, end
    }

    struct Event {
        let kind: Kind
        let line: Int
    }

    /// Why a text is no YAML.
    struct Problem: Error {
        let line: Int
        let reason: String
    }

    // libyaml keeps the parser's own address and that of the text in it.
    private let parser: UnsafeMutablePointer<yaml_parser_t>
    private let text: UnsafeMutableBufferPointer<UInt8>

    init(_ bytes: [UInt8]) {
        parser = .allocate(capacity: 1)
        guard yaml_parser_initialize(parser) == 1 else {
            preconditionFailure("There is no memory for a YAML parser.")
        }
        text = .allocate(capacity: bytes.count)
        _ = text.initialize(from: bytes)
        yaml_parser_set_input_string(parser, text.baseAddress, text.count)
    }

    deinit {
        yaml_parser_delete(parser)
        parser.deallocate()
        text.deallocate()
    }

    mutating func next() throws(Problem) -> Event {
        while true {
            var event = yaml_event_t()
            guard yaml_parser_parse(parser, &event) == 1 else { throw problem }
            defer { yaml_event_delete(&event) }
            if let kind = Self.kind(of: event) {
                return Event(kind: kind, line: Int(event.start_mark.line) + 1)
            }
        }
    }

    private static func kind(of event: yaml_event_t) -> Kind? {
        switch event.type {
        case YAML_SCALAR_EVENT:
            let scalar = event.data.scalar
            let bytes = UnsafeBufferPointer(start: scalar.value, count: scalar.length)
            return .value(
                String(decoding: bytes, as: UTF8.self),
                isPlain: scalar.style == YAML_PLAIN_SCALAR_STYLE)
        case YAML_SEQUENCE_START_EVENT: return .list
        case YAML_SEQUENCE_END_EVENT: return .listEnd
        case YAML_MAPPING_START_EVENT: return .mapping
        case YAML_MAPPING_END_EVENT: return .mappingEnd
        case YAML_DOCUMENT_START_EVENT: return .documentStart
        case YAML_DOCUMENT_END_EVENT: return .documentEnd
        case YAML_ALIAS_EVENT: return .alias
        case YAML_STREAM_START_EVENT: return nil
        default: return .end
        }
    }

    private var problem: Problem {
        let state = parser.pointee
        // What is no UTF-8 is found while reading, which is ahead of what was parsed.
        let mark = state.error == YAML_READER_ERROR ? state.mark : state.problem_mark
        let reason = state.problem.map { String(cString: $0) } ?? "no memory"
        return Problem(line: Int(mark.line) + 1, reason: reason)
    }
}
