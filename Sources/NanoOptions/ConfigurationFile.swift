import Glibc

/// A configuration file: YAML, one mapping of keys to values or lists of values.
package struct ConfigurationFile: Sendable {
    package struct Entry: Sendable, Hashable {
        package let key: String
        /// One value, or the items of a list, as they are written.
        package let values: [String]
        package let line: Int
    }

    /// A configuration is some dozens of lines; what is longer is another file.
    package static let maxByteCount = 1 << 20

    package let path: String
    package let entries: [Entry]

    package init(path: String) throws(ConfigurationError) {
        try self.init(path: path, bytes: Self.read(path))
    }

    package init(path: String, bytes: [UInt8]) throws(ConfigurationError) {
        self.path = path
        var reader = ConfigurationReader(path: path, bytes: bytes)
        entries = try reader.entries()
    }

    private static func read(_ path: String) throws(ConfigurationError) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw unreadable(path) }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = Glibc.read(descriptor, &part, part.count)
            guard count >= 0 else { throw unreadable(path) }
            if count == 0 { return bytes }
            bytes += part[..<count]
            guard bytes.count <= maxByteCount else {
                throw ConfigurationError(
                    place: path, field: "the file", limit: "at most \(maxByteCount) bytes long",
                    given: "more")
            }
        }
    }

    private static func unreadable(_ path: String) -> ConfigurationError {
        ConfigurationError(
            place: path, field: "the file", limit: "readable",
            given: String(cString: strerror(errno)))
    }
}

/// Makes entries of the pieces that a YAML text consists of.
private struct ConfigurationReader: ~Copyable {
    /// What stands for no value where it is not quoted.
    private static let nothing: Set = ["", "~", "null", "Null", "NULL"]

    private let path: String
    private var events: YAMLEvents
    private var line = 1

    init(path: String, bytes: [UInt8]) {
        self.path = path
        events = YAMLEvents(bytes)
    }

    mutating func entries() throws(ConfigurationError) -> [ConfigurationFile.Entry] {
        var entries: [ConfigurationFile.Entry] = []
        // A file in which all lines are comments has no document.
        guard case .documentStart = try next() else { return [] }
        guard case .mapping = try next() else {
            throw error("the file", "a mapping, such as port: 8000", "something else")
        }
        var lines: [String: Int] = [:]
        while let key = try key() {
            let keyLine = line
            if let first = lines.updateValue(keyLine, forKey: key) {
                throw error(key, "there once", "a second time, after line \(first)")
            }
            entries.append(.init(key: key, values: try values(of: key), line: keyLine))
        }
        _ = try next()
        guard case .end = try next() else {
            throw error("the file", "one document", "a second one")
        }
        return entries
    }

    /// The next key of the mapping; nil at its end.
    private mutating func key() throws(ConfigurationError) -> String? {
        switch try next() {
        case .value(let text, _): return text
        case .mappingEnd: return nil
        default: throw error("the key", "a word", "something else")
        }
    }

    private mutating func values(of key: String) throws(ConfigurationError) -> [String] {
        switch try next() {
        case .value(let text, let isPlain):
            guard !isPlain || !Self.nothing.contains(text) else {
                throw error(key, "a value or a list of values", "nothing")
            }
            return [text]
        case .list:
            return try list(of: key)
        case .mapping:
            throw error(key, "a value or a list of values", "a mapping")
        default:
            throw error(key, "written out", "an alias")
        }
    }

    private mutating func list(of key: String) throws(ConfigurationError) -> [String] {
        var items: [String] = []
        while true {
            switch try next() {
            case .value(let text, let isPlain) where !isPlain || !Self.nothing.contains(text):
                items.append(text)
            case .listEnd: return items
            default: throw error(key, "a list of values", "a list with something else in it")
            }
        }
    }

    private mutating func next() throws(ConfigurationError) -> YAMLEvents.Kind {
        do throws(YAMLEvents.Problem) {
            let event = try events.next()
            line = event.line
            return event.kind
        } catch {
            line = error.line
            throw self.error("the text", "YAML", error.reason)
        }
    }

    private func error(_ field: String, _ limit: String, _ given: String) -> ConfigurationError {
        ConfigurationError(place: "\(path), line \(line)", field: field, limit: limit, given: given)
    }
}
