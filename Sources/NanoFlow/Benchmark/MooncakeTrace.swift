package import Foundation
import NanoDevice
import NanoTokenizer

/// Requests by their lengths and by the hashes of their prompts' blocks, as Mooncake's traces have
/// them, for benchmarks.
///
/// Next: ``conversations(_:for:)`` scales sessions to a model, and ``RoundsRun`` replays them. When
/// the requests came is not used.
package struct MooncakeTrace: Sendable, Hashable {
    /// One request, as it was recorded.
    package struct Request: Sendable, Hashable {
        package let promptTokens: Int
        package let answerTokens: Int
        /// One for each ``MooncakeTrace/tokensPerID`` tokens of the prompt, of which the last may
        /// stand for fewer; equal ids at equal places mean equal prefixes.
        package let hashIDs: [Int]
    }

    package private(set) var requests: [Request] = []

    package static let tokensPerID = 512
    package static let maxRequestCount = 100_000
    /// Ids of all requests together.
    package static let maxIDCount = 4_000_000

    /// Reads JSON lines with `input_length`, `output_length` and `hash_ids`.
    ///
    /// - Throws: ``NanoFlowError`` for a file that cannot be read, with the line at fault.
    package init(file path: String) throws(NanoFlowError) {
        try self.init(Workload.contents(of: path), name: path)
    }

    /// As ``init(file:)``; `name` stands for the file in errors.
    package init(_ data: Data, name: String) throws(NanoFlowError) {
        let lines = try jsonLines(data, name: name, limit: Self.maxRequestCount, of: "requests")
        var idCount = 0
        for (place, line) in lines {
            guard let entry = try? JSONDecoder().decode(Entry.self, from: line) else {
                throw NanoFlowError(
                    .invalidRequest, field: place,
                    limit: "{\"input_length\": n, \"output_length\": n, \"hash_ids\": [...]} with "
                        + "whole numbers",
                    given: "something else")
            }
            requests.append(try entry.request(place))
            idCount += entry.hashIDs.count
            guard idCount <= Self.maxIDCount else {
                throw NanoFlowError(
                    .invalidRequest, field: place,
                    limit: "at most \(Self.maxIDCount) hash_ids up to here", given: "\(idCount)")
            }
        }
    }

    private struct Entry: Decodable {
        let inputLength: Int
        let outputLength: Int
        let hashIDs: [Int]

        enum CodingKeys: String, CodingKey {
            case inputLength = "input_length"
            case outputLength = "output_length"
            case hashIDs = "hash_ids"
        }

        func request(_ place: String) throws(NanoFlowError) -> Request {
            try Self.check(inputLength, "\(place): input_length")
            try Self.check(outputLength, "\(place): output_length")
            let size = MooncakeTrace.tokensPerID
            let count = (inputLength + size - 1) / size
            guard hashIDs.count == count else {
                throw NanoFlowError(
                    .invalidRequest, field: "\(place): hash_ids",
                    limit: "one for each \(size) tokens of input_length: \(count)",
                    given: "\(hashIDs.count)")
            }
            return Request(
                promptTokens: inputLength, answerTokens: outputLength, hashIDs: hashIDs)
        }

        private static func check(_ length: Int, _ field: String) throws(NanoFlowError) {
            guard (1...Workload.maxTokenCount).contains(length) else {
                throw NanoFlowError(
                    .invalidRequest, field: field, limit: "1 to \(Workload.maxTokenCount)",
                    given: "\(length)")
            }
        }
    }
}

// MARK: - Sessions

extension MooncakeTrace {
    /// Ids that a request must have in common with the one that it continues: the first one alone is
    /// mostly an instruction that all begin with.
    private static let leastCommonCount = 2

    /// The requests that continue one another, in the file's order.
    ///
    /// A request continues the last one before it whose ids, but for the last, are the beginning of
    /// its own, and which none has continued yet; otherwise it begins a session.
    package var sessions: [[Request]] {
        var sessions: [[Request]] = []
        var sessionOfRequest: [Int] = []
        var uncontinued = UncontinuedRequests()
        for (index, request) in requests.enumerated() {
            let session = uncontinued.takeLast(beginning: request.hashIDs).map {
                sessionOfRequest[$0]
            }
            if let session {
                sessions[session].append(request)
            } else {
                sessions.append([request])
            }
            sessionOfRequest.append(session ?? sessions.count - 1)
            let ids = request.hashIDs.dropLast()
            if ids.count >= Self.leastCommonCount { uncontinued.add(index, ids) }
        }
        return sessions
    }

    /// The sessions with the most tokens in front of what their last round adds, in the file's order.
    package func longest(_ count: Int) -> [[Request]] {
        let sessions = sessions
        let lengths = sessions.map { $0.dropLast().last?.promptTokens ?? 0 }
        let kept = sessions.indices.sorted { (lengths[$1], $0) < (lengths[$0], $1) }.prefix(count)
        return kept.sorted().map { sessions[$0] }
    }
}

/// The requests that none has continued yet, in a tree by their ids.
private struct UncontinuedRequests {
    private struct Edge: Hashable {
        let node: Int
        let id: Int
    }

    private var nodes: [Edge: Int] = [:]
    private var requests: [Int: [Int]] = [:]

    /// The newest request whose ids are the beginning of these; it is taken out.
    mutating func takeLast(beginning ids: [Int]) -> Int? {
        var node = 0
        var newest: (request: Int, node: Int)?
        for id in ids {
            guard let next = nodes[Edge(node: node, id: id)] else { break }
            node = next
            guard let request = requests[node]?.last else { continue }
            if request > newest?.request ?? -1 { newest = (request, node) }
        }
        guard let newest else { return nil }
        requests[newest.node]?.removeLast()
        return newest.request
    }

    /// Adds a request, newer than all others.
    mutating func add(_ request: Int, _ ids: some Sequence<Int>) {
        var node = 0
        for id in ids {
            let edge = Edge(node: node, id: id)
            let next = nodes[edge] ?? nodes.count + 1
            nodes[edge] = next
            node = next
        }
        requests[node, default: []].append(request)
    }
}

// MARK: - Scaling

extension MooncakeTrace {
    /// A request as it is replayed, with its lengths scaled.
    package struct Round: Sendable {
        package let promptTokens: Int
        package let answerTokens: Int
        private let hashIDs: [Int]
        private let scale: Int
        private let vocabulary: [Int]

        fileprivate init(_ request: Request, scale: Int, vocabulary: [Int]) {
            promptTokens = request.scaledPrompt(scale)
            answerTokens = request.scaledAnswer(scale)
            (hashIDs, self.scale, self.vocabulary) = (request.hashIDs, scale, vocabulary)
        }

        /// Token ids that depend on nothing but the hashes: as many for each as it stands for now.
        package var prompt: [Int] {
            var tokens: [Int] = []
            tokens.reserveCapacity(promptTokens)
            for id in hashIDs {
                var generator = SplitMix64(seed: UInt64(bitPattern: Int64(id)))
                for _ in 0..<min(scale, promptTokens - tokens.count) {
                    tokens.append(
                        vocabulary[Int.random(in: 0..<vocabulary.count, using: &generator)])
                }
            }
            return tokens
        }
    }

    /// The sessions with all lengths scaled down by one factor, so that all fit the context.
    ///
    /// A hash stands for a whole number of tokens; answers have at least one and at most
    /// ``RoundsRun/maxAnswerTokens``.
    /// - Parameters:
    ///   - sessions: Of a trace.
    ///   - contextLength: Tokens that a prompt and its answer may have together.
    ///   - vocabulary: The token ids that prompts are made of.
    /// - Returns: The rounds by session.
    /// - Throws: ``NanoFlowError`` where a prompt has too many hashes for any factor.
    package static func scaled(
        _ sessions: [[Request]], contextLength: Int, vocabulary: [Int]
    ) throws(NanoFlowError) -> [[Round]] {
        precondition(!vocabulary.isEmpty, "Prompts are made of tokens.")
        let scale = (1...tokensPerID).last { scale in
            sessions.allSatisfy { session in
                session.allSatisfy {
                    $0.scaledPrompt(scale) + $0.scaledAnswer(scale) <= contextLength
                }
            }
        }
        guard let scale else {
            let longest = sessions.joined().map(\.hashIDs.count).max() ?? 0
            throw NanoFlowError(
                .contextLengthExceeded, field: "mooncake",
                limit: "prompts of at most \(contextLength - 1) hash_ids", given: "\(longest)",
                message: "A prompt of the trace has \(longest) hash_ids: with one token for each "
                    + "and one for the answer, more than the context of \(contextLength) tokens.")
        }
        return sessions.map { session in
            session.map { Round($0, scale: scale, vocabulary: vocabulary) }
        }
    }

    /// The sessions scaled to the model's context, with prompts of its ordinary tokens.
    ///
    /// - Throws: ``NanoFlowError`` as ``scaled(_:contextLength:vocabulary:)``.
    package static func conversations(
        _ sessions: [[Request]], for llm: LLM
    ) throws(NanoFlowError) -> [Conversation] {
        let tokenizer = llm.engine.tokenizer
        let ordinary = (0..<tokenizer.vocabularyCount).filter { !tokenizer.isSpecial($0) }
        return try scaled(sessions, contextLength: llm.maxModelLength, vocabulary: ordinary)
            .map(Conversation.session)
    }
}

extension MooncakeTrace.Request {
    /// The prompt's length where a hash stands for `scale` tokens.
    fileprivate func scaledPrompt(_ scale: Int) -> Int {
        (promptTokens * scale + MooncakeTrace.tokensPerID - 1) / MooncakeTrace.tokensPerID
    }

    fileprivate func scaledAnswer(_ scale: Int) -> Int {
        min(
            max(1, answerTokens * scale / MooncakeTrace.tokensPerID), RoundsRun.maxAnswerTokens)
    }
}
