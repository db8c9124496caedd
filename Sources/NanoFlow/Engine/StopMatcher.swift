/// Finds stop strings in the bytes of a completion as they come.
///
/// Bytes that may be the beginning of a stop string are held back until that is decided. What is
/// found does not depend on how the bytes are cut into pieces: it is the stop string that ends
/// first, and among those that end together the longest.
package struct StopMatcher: Sendable {
    private var searches: [StopSearch]
    private var held: [UInt8] = []

    package init(_ stops: [String]) {
        searches = stops.map { StopSearch(Array($0.utf8)) }
    }

    /// Takes the next bytes; returns those that are certain now, and whether a stop string is
    /// complete: then they are all that comes before it, and the last.
    package mutating func append(_ bytes: [UInt8]) -> (certain: [UInt8], isMatched: Bool) {
        guard !searches.isEmpty else { return (bytes, false) }
        for byte in bytes {
            held.append(byte)
            var matchedCount = 0
            for index in searches.indices where searches[index].advance(byte) {
                matchedCount = max(matchedCount, searches[index].stop.count)
            }
            if matchedCount > 0 {
                defer { held = [] }
                return (Array(held.dropLast(matchedCount)), true)
            }
        }
        let keptCount = searches.reduce(0) { max($0, $1.matchedCount) }
        let certain = Array(held.dropLast(keptCount))
        held.removeFirst(certain.count)
        return (certain, false)
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
