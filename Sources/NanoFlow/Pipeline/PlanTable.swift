import NanoDevice

/// What a plan is chosen by.
package struct BatchShape: Sendable, Hashable {
    package let decodeTokens: Int
    package let prefillTokens: Int
    /// Positions that a decode attends to, on average; 0 without decodes.
    package let meanContext: Int

    package init(_ batch: Batch) {
        let decodes = batch.items.filter { $0.positions.count == 1 }
        decodeTokens = decodes.count
        prefillTokens = batch.tokenCount - decodes.count
        let contexts = decodes.reduce(0) { $0 + $1.positions.upperBound }
        meanContext = decodes.isEmpty ? 0 : contexts / decodes.count
    }
}

/// Plans by classes of batch shapes; the first class that a batch belongs to counts.
///
/// What belongs to none runs in sequence.
package struct PlanTable: Codable, Sendable, Hashable {
    package var entries: [Entry]
    /// Of how many tokens steps are formed; nil: of as many as the engine has room for.
    package var tokenBudget: TokenBudget?

    /// Tokens of a step at most, found best for an engine with room for `limit`.
    package struct TokenBudget: Codable, Sendable, Hashable {
        package var tokens: Int
        package var limit: Int

        package init(tokens: Int, limit: Int) { (self.tokens, self.limit) = (tokens, limit) }
    }

    /// Inclusive bounds; nil: none.
    package struct ShapeClass: Codable, Sendable, Hashable {
        package var minDecodeTokens: Int?
        package var maxDecodeTokens: Int?
        package var minPrefillTokens: Int?
        package var maxPrefillTokens: Int?
        package var minMeanContext: Int?
        package var maxMeanContext: Int?

        package init() {}

        package func contains(_ shape: BatchShape) -> Bool {
            func holds(_ value: Int, _ lower: Int?, _ upper: Int?) -> Bool {
                value >= lower ?? .min && value <= upper ?? .max
            }
            return holds(shape.decodeTokens, minDecodeTokens, maxDecodeTokens)
                && holds(shape.prefillTokens, minPrefillTokens, maxPrefillTokens)
                && holds(shape.meanContext, minMeanContext, maxMeanContext)
        }

        /// A rule, not a measurement: with less to read there is little to hide, and the weights are
        /// still read once for each nano-batch.
        package static var enoughToRead: ShapeClass {
            var shape = ShapeClass()
            (shape.minDecodeTokens, shape.minMeanContext) = (64, 128)
            return shape
        }

        package init(from decoder: any Decoder) throws {
            // A bound misspelt would be no bound.
            for key in try decoder.container(keyedBy: AnyKey.self).allKeys
            where CodingKeys(stringValue: key.stringValue) == nil {
                throw DecodingError.dataCorrupted(
                    DecodingError.Context(
                        codingPath: decoder.codingPath,
                        debugDescription: "\"\(key.stringValue)\" is no bound of a shape"))
            }
            let container = try decoder.container(keyedBy: CodingKeys.self)
            minDecodeTokens = try container.decodeIfPresent(Int.self, forKey: .minDecodeTokens)
            maxDecodeTokens = try container.decodeIfPresent(Int.self, forKey: .maxDecodeTokens)
            minPrefillTokens = try container.decodeIfPresent(Int.self, forKey: .minPrefillTokens)
            maxPrefillTokens = try container.decodeIfPresent(Int.self, forKey: .maxPrefillTokens)
            minMeanContext = try container.decodeIfPresent(Int.self, forKey: .minMeanContext)
            maxMeanContext = try container.decodeIfPresent(Int.self, forKey: .maxMeanContext)
        }

        private struct AnyKey: CodingKey {
            let stringValue: String
            let intValue: Int? = nil

            init?(stringValue: String) { self.stringValue = stringValue }
            init?(intValue: Int) { nil }
        }

        package enum CodingKeys: String, CodingKey {
            case minDecodeTokens = "min_decode_tokens"
            case maxDecodeTokens = "max_decode_tokens"
            case minPrefillTokens = "min_prefill_tokens"
            case maxPrefillTokens = "max_prefill_tokens"
            case minMeanContext = "min_mean_context"
            case maxMeanContext = "max_mean_context"
        }
    }

    /// A plan with the shapes that it is for.
    package struct Entry: Codable, Sendable, Hashable {
        package var shape: ShapeClass
        package var plan: PipelinePlan
        /// Of a step, where somebody has predicted or measured it.
        package var predictedSeconds: Double?
        package var measuredSeconds: Double?

        package init(shape: ShapeClass = ShapeClass(), plan: PipelinePlan) {
            (self.shape, self.plan) = (shape, plan)
        }

        package enum CodingKeys: String, CodingKey {
            case shape, plan
            case predictedSeconds = "predicted_seconds"
            case measuredSeconds = "measured_seconds"
        }
    }

    package init(entries: [Entry] = [], tokenBudget: TokenBudget? = nil) {
        (self.entries, self.tokenBudget) = (entries, tokenBudget)
    }

    /// One plan for all shapes.
    package init(_ plan: PipelinePlan) { entries = [Entry(plan: plan)] }

    /// "12 shapes of batches".
    package var description: String {
        "\(entries.count) \(entries.count == 1 ? "shape" : "shapes") of batches"
    }

    /// Tokens of a step at most in an engine with room for `limit`.
    ///
    /// What is best with more room nobody has found out.
    package func tokenBudget(limit: Int) -> Int {
        guard let tokenBudget, limit <= tokenBudget.limit else { return limit }
        return min(tokenBudget.tokens, limit)
    }

    package func plan(for shape: BatchShape) -> PipelinePlan? {
        entries.first { $0.shape.contains(shape) }?.plan
    }

    /// What may do until plans have been searched for: overlap where there is enough to read and
    /// enough to compute beside it.
    package static func generated(_ graph: OperationGraph) -> PlanTable {
        PlanTable(entries: [Entry(shape: .enoughToRead, plan: .overlapped(graph))])
    }
}

/// Which plans the engine runs.
package enum PipelineMode: String, Sendable, Hashable, CaseIterable, Codable {
    /// One operation after the other on all rows.
    case sequential
    /// Cut into nano-batches, still one after the other.
    case nanoBatched = "nano-batched"
    /// Memory-bound operations of one nano-batch beside the products of the other.
    case overlapped
    /// What the plan table says for the shape of each batch.
    case auto
}
