/// Finds stop strings in the bytes of a completion as they come.
///
/// Bytes that may be the beginning of a stop string are held back until that is decided. What is
/// found does not depend on how the bytes are cut into pieces: it is the stop string that ends
/// first, and among those that end together the longest.
package struct StopMatcher: Sendable {
    private var searches: [StopSearch]
    private var held: [UInt8] = []
    private let includesStop: Bool

    /// - Parameters:
    ///   - stops: What to find.
    ///   - includesStop: Whether what is found is part of the text.
    package init(_ stops: [String], includesStop: Bool = false) {
        searches = stops.map { StopSearch(Array($0.utf8)) }
        self.includesStop = includesStop
    }

    /// Takes the next bytes; returns those that are certain now, and the stop string that is complete,
    /// if one is: then they are the last.
    package mutating func append(_ bytes: [UInt8]) -> (certain: [UInt8], stop: String?) {
        guard !searches.isEmpty else { return (bytes, nil) }
        for byte in bytes {
            held.append(byte)
            var found: [UInt8] = []
            for index in searches.indices where searches[index].advance(byte) {
                if searches[index].stop.count > found.count { found = searches[index].stop }
            }
            if !found.isEmpty {
                defer { held = [] }
                let certain = includesStop ? held : held.dropLast(found.count)
                return (Array(certain), String(decoding: found, as: UTF8.self))
            }
        }
        let keptCount = searches.reduce(0) { max($0, $1.matchedCount) }
        let certain = Array(held.dropLast(keptCount))
        held.removeFirst(certain.count)
        return (certain, nil)
    }

    /// The bytes still held back; the completion ended otherwise.
    package mutating func finish() -> [UInt8] {
        defer { held = [] }
        return held
    }
}

/// The search for one stop string (Knuth, Morris and Pratt 1977): constant time a byte on average,
/// whatever string a client sends.
private struct StopSearch {
    let stop: [UInt8]
    /// Of each beginning of `stop`, by its length less one: the longest shorter beginning that it
    /// ends with.
    private let fallbacks: [Int]
    /// The longest beginning of `stop` that the bytes so far end with.
    private(set) var matchedCount = 0

    init(_ stop: [UInt8]) {
        precondition(!stop.isEmpty, "A stop string must not be empty.")
        self.stop = stop
        var fallbacks = [0]
        for index in stop.indices.dropFirst() {
            var count = fallbacks[index - 1]
            while count > 0, stop[count] != stop[index] { count = fallbacks[count - 1] }
            fallbacks.append(stop[count] == stop[index] ? count + 1 : 0)
        }
        self.fallbacks = fallbacks
    }

    /// Takes the next byte; true when the stop string ends with it.
    mutating func advance(_ byte: UInt8) -> Bool {
        while matchedCount > 0, matchedCount == stop.count || stop[matchedCount] != byte {
            matchedCount = fallbacks[matchedCount - 1]
        }
        if stop[matchedCount] == byte { matchedCount += 1 }
        return matchedCount == stop.count
    }
}
