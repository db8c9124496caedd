/// Finds stop strings in the bytes of a completion as they come.
///
/// Bytes that may be the beginning of a stop string are held back until that is decided.
package struct StopMatcher: Sendable {
    private let stops: [[UInt8]]
    private var held: [UInt8] = []

    package init(_ stops: [String]) {
        self.stops = stops.map { Array($0.utf8) }
        precondition(self.stops.allSatisfy { !$0.isEmpty }, "A stop string must not be empty.")
    }

    /// Takes the next bytes; returns those that are certain now, and whether a stop string is
    /// complete: then they are all that comes before it, and the last.
    package mutating func append(_ bytes: [UInt8]) -> (certain: [UInt8], isMatched: Bool) {
        guard !stops.isEmpty else { return (bytes, false) }
        held += bytes
        if let start = held.indices.first(where: { start in
            stops.contains { held[start...].starts(with: $0) }
        }) {
            defer { held = [] }
            return (Array(held[..<start]), true)
        }
        let kept =
            held.indices.first { start in
                stops.contains { $0.starts(with: held[start...]) }
            } ?? held.endIndex
        defer { held.removeFirst(kept) }
        return (Array(held[..<kept]), false)
    }

    /// The bytes still held back; the completion ended otherwise.
    package mutating func finish() -> [UInt8] {
        defer { held = [] }
        return held
    }
}
