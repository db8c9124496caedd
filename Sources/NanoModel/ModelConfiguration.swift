/// The shape of a decoder model: what the operations need to know beside the weights.
package struct ModelConfiguration: Sendable, Hashable {
    /// The architecture families, by the names in `general.architecture`.
    package enum Architecture: String, Sendable, Hashable, CaseIterable {
        case llama
        case qwen2
    }

    package let architecture: Architecture
    /// `general.name`, or the architecture's name where the file has none.
    package let name: String
    package let layerCount: Int
    /// Width of the residual stream.
    package let hiddenSize: Int
    package var feedForwardSize: Int
    /// Query heads.
    package let headCount: Int
    /// Key and value heads; each serves `headCount / kvHeadCount` query heads.
    package let kvHeadCount: Int
    package let headDimension: Int
    /// Dimensions of a head that are rotated; even.
    package let rotaryDimension: Int
    package let ropeBase: Float
    /// Positions are divided by this (linear scaling); 1 is none.
    package let ropePositionDivisor: Float
    package let normEpsilon: Float
    package let vocabularyCount: Int
    /// Tokens that the model was trained to see at once.
    package let contextLength: Int

    /// Query heads that share a KV head.
    package var groupHeadCount: Int { headCount / kvHeadCount }
    /// Outputs of the fused query, key and value projection.
    package var qkvSize: Int { (headCount + 2 * kvHeadCount) * headDimension }
    /// True where RoPE turns neighbours (2i, 2i + 1), which is how GGUF stores llama's q and k.
    package var hasInterleavedRope: Bool { architecture == .llama }
}

extension ModelConfiguration {
    /// Reads the metadata of a GGUF file; every value is checked before it is used.
    ///
    /// - Throws: ``ModelLoadingError`` for a missing or senseless value, and for an architecture or
    ///   a feature (experts, RoPE scalings other than linear and llama3) that is not supported.
    package init(_ file: GGUFFile) throws(ModelLoadingError) {
        let name = try file.string("general.architecture")
        guard let architecture = Architecture(rawValue: name) else {
            throw ModelLoadingError(
                file: file.path, field: "general.architecture",
                limit: Architecture.allCases.map(\.rawValue).joined(separator: " or "),
                given: quoted(name), "this architecture is not supported")
        }
        try Self.refuseUnsupported(file, name)
        let heads = try file.integer("\(name).attention.head_count", in: 1...4096)
        let hidden = try file.integer("\(name).embedding_length", in: 2...(1 << 20))
        let dimension: Int
        if let length = try file.integerIfPresent("\(name).attention.key_length", in: 2...256) {
            dimension = length
        } else {
            dimension = try Self.quotient(file, "\(name).attention.head_count", hidden, heads)
        }
        self.architecture = architecture
        self.name = try file.stringIfPresent("general.name") ?? name
        layerCount = try file.integer("\(name).block_count", in: 1...1024)
        hiddenSize = hidden
        feedForwardSize = try file.integer("\(name).feed_forward_length", in: 1...(1 << 20))
        headCount = heads
        kvHeadCount =
            try file.integerIfPresent("\(name).attention.head_count_kv", in: 1...heads) ?? heads
        headDimension = dimension
        rotaryDimension =
            try file.integerIfPresent("\(name).rope.dimension_count", in: 2...dimension)
            ?? dimension
        ropeBase = try file.floatIfPresent("\(name).rope.freq_base", in: 1...1e12) ?? 10_000
        ropePositionDivisor = try Self.linearScaling(file, name)
        normEpsilon = try file.float("\(name).attention.layer_norm_rms_epsilon", in: 0...1)
        contextLength = try file.integer("\(name).context_length", in: 2...(1 << 24))
        vocabularyCount = try file.tensor(named: "token_embd.weight").rowCount
        try checkDivisions(file)
    }

    private func checkDivisions(_ file: GGUFFile) throws(ModelLoadingError) {
        let prefix = architecture.rawValue
        _ = try Self.quotient(
            file, "\(prefix).attention.head_count_kv", headCount, kvHeadCount)
        guard groupHeadCount <= 16 else {
            throw ModelLoadingError(
                file: file.path, field: "\(prefix).attention.head_count_kv",
                limit: "at most 16 query heads for each", given: "\(groupHeadCount)",
                "too many query heads share a key-value head")
        }
        for (field, value) in [
            ("attention.key_length", headDimension), ("rope.dimension_count", rotaryDimension),
        ] where value % 2 != 0 || value > 256 {
            throw ModelLoadingError(
                file: file.path, field: "\(prefix).\(field)", limit: "an even number up to 256",
                given: "\(value)", "rotary embedding turns pairs of dimensions")
        }
        guard
            try file.integerIfPresent("\(prefix).attention.value_length", in: 1...4096)
                ?? headDimension == headDimension
        else {
            throw ModelLoadingError(
                file: file.path, field: "\(prefix).attention.value_length",
                limit: "\(headDimension), as the keys", "keys and values must be of one length")
        }
    }

    private static func quotient(
        _ file: GGUFFile, _ field: String, _ whole: Int, _ part: Int
    ) throws(ModelLoadingError) -> Int {
        guard whole % part == 0 else {
            throw ModelLoadingError(
                file: file.path, field: field, limit: "a divisor of \(whole)", given: "\(part)",
                "the heads do not divide evenly")
        }
        return whole / part
    }

    private static func refuseUnsupported(
        _ file: GGUFFile, _ name: String
    ) throws(ModelLoadingError) {
        if let experts = try file.integerIfPresent("\(name).expert_count", in: 0...(1 << 20)),
            experts > 0
        {
            throw ModelLoadingError(
                file: file.path, field: "\(name).expert_count", limit: "0", given: "\(experts)",
                "mixtures of experts are not supported")
        }
    }

    private static func linearScaling(
        _ file: GGUFFile, _ name: String
    ) throws(ModelLoadingError) -> Float {
        let type = try file.stringIfPresent("\(name).rope.scaling.type") ?? "none"
        switch type {
        case "none":
            return 1
        case "linear":
            return try file.float("\(name).rope.scaling.factor", in: 1...1024)
        default:
            throw ModelLoadingError(
                file: file.path, field: "\(name).rope.scaling.type", limit: "none or linear",
                given: quoted(type), "this RoPE scaling is not supported")
        }
    }
}
