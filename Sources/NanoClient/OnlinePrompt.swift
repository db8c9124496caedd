import NanoDevice

/// A prompt as it is sent to a server.
package enum OnlinePrompt: Sendable, Hashable {
    case text(String)
    case tokens([Int])
    /// So many ids, drawn by the seed.
    case random(count: Int, seed: UInt64)
    /// Ids drawn for each hash alike, so that prompts that begin with equal hashes begin with equal
    /// ids; the last hash may stand for fewer.
    case hashed([Int], count: Int, tokensPerHash: Int, seed: UInt64)

    /// Makes the ids of a drawn prompt.
    ///
    /// - Parameter vocabulary: What is drawn from; not empty.
    /// - Returns: A text, or ids.
    package func drawn(from vocabulary: Range<Int>) -> OnlinePrompt {
        switch self {
        case .text, .tokens:
            return self
        case .random(let count, let seed):
            var generator = SplitMix64(seed: seed)
            return .tokens((0..<count).map { _ in Int.random(in: vocabulary, using: &generator) })
        case .hashed(let hashes, let count, let tokensPerHash, let seed):
            var ids: [Int] = []
            ids.reserveCapacity(count)
            for hash in hashes {
                var generator = SplitMix64(seed: seed ^ UInt64(bitPattern: Int64(hash)))
                for _ in 0..<min(tokensPerHash, count - ids.count) {
                    ids.append(Int.random(in: vocabulary, using: &generator))
                }
            }
            return .tokens(ids)
        }
    }

    /// The ids that are drawn from, of a vocabulary of so many: the lowest, which mostly stand for
    /// single bytes or have a special meaning, are left out, but for at most half of all.
    package static func ordinaryTokens(ofVocabulary count: Int) -> Range<Int> {
        min(1000, count / 2)..<count
    }
}
