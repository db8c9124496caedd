import CNanoKernels
import Foundation

/// Attention in double precision on what the cache holds, and how far a kernel may be off.
///
/// With `rounded` the query is rounded to the cache's type too. Of a kernel's errors there remain:
/// - those of a score, (D + 8) roundings of the sum of its absolute terms and those of the
///   exponential, which may be rougher where weights are rounded to 8 bits. If no score is off by
///   more than e, no weight is by more than a factor exp(2 e), since what the weights are divided by
///   carries the other half.
/// - those of adding up the values, a rounding a token and some more.
/// - with `rounded` those of the weights: 2^-8 of each in bf16, and in int8 half a step, 1 / 510 of
///   the block's largest weight times scale.
struct AttentionReference {
    var values: [Double] = []
    var tolerances: [Double] = []

    init(_ sequence: AttentionCase, positions: some Sequence<Int>, rounded: Bool) {
        let width = sequence.headDim
        func held(_ x: [Float]) -> [[Double]] {
            stride(from: 0, to: x.count, by: width).map {
                Self.rounded(Array(x[$0..<($0 + width)]), to: sequence.type)
            }
        }
        let (keys, values) = (held(sequence.keys), held(sequence.values))
        for position in positions {
            for head in 0..<(AttentionCase.kvHeads * sequence.heads) {
                let start = position * sequence.queryStride + head * width
                let given = Array(sequence.query[start..<(start + width)])
                let seen = (0...position).map {
                    $0 * AttentionCase.kvHeads + head / sequence.heads
                }
                addRow(
                    query: rounded
                        ? Self.rounded(given, to: sequence.type) : given.map(Double.init),
                    keys: seen.map { keys[$0] }, values: seen.map { values[$0] },
                    scale: Double(sequence.scale), roundedTo: rounded ? sequence.type : NK_KV_F32)
            }
        }
    }

    private static func rounded(_ x: [Float], to type: nk_kv_type) -> [Double] {
        switch type {
        case NK_KV_BF16: roundedToBF16(x).map(Double.init)
        case NK_KV_INT8: roundedToInt8(x)
        default: x.map(Double.init)
        }
    }

    private mutating func addRow(
        query: [Double], keys: [[Double]], values: [[Double]], scale: Double,
        roundedTo type: nk_kv_type
    ) {
        var scores: [Double] = []
        var scoreError = 0.0
        for key in keys {
            var (sum, size) = (0.0, 0.0)
            for (q, k) in zip(query, key) {
                sum += q * k
                size += abs(q * k)
            }
            scores.append(sum * scale)
            scoreError = max(scoreError, size * scale * Double(query.count + 8) * unitRoundoff)
        }
        let maximum = scores.max() ?? 0
        let weights = scores.map { exp($0 - maximum) }
        let sum = weights.reduce(0, +)
        let exponentialError = type == NK_KV_F32 ? 4e-7 : 4.2e-6
        addValues(
            weights: weights.map { $0 / sum }, values: values,
            scoreFactor: exp(2 * (scoreError + exponentialError)), roundedTo: type)
    }

    private mutating func addValues(
        weights: [Double], values: [[Double]], scoreFactor: Double, roundedTo type: nk_kv_type
    ) {
        var errors = Self.weightErrors(weights: weights, values: values, type: type)
        let roundings = Double(weights.count + 16) * unitRoundoff
        for (token, weight) in weights.enumerated() {
            errors[token] =
                (scoreFactor - 1) * weight + scoreFactor * (errors[token] + roundings * weight)
        }
        for d in values[0].indices {
            var (sum, tolerance) = (0.0, 0.0)
            for (token, row) in values.enumerated() {
                sum += weights[token] * row[d]
                tolerance += errors[token] * abs(row[d])
            }
            self.values.append(sum)
            tolerances.append(tolerance)
        }
    }

    /// How far rounding to the cache's type takes each weight.
    private static func weightErrors(
        weights: [Double], values: [[Double]], type: nk_kv_type
    ) -> [Double] {
        if type == NK_KV_BF16 { return weights.map { $0 * 0x1p-8 } }
        guard type == NK_KV_INT8 else { return weights.map { _ in 0 } }
        let scales = values.map { ($0.map(abs).max() ?? 0) / 127 }
        return stride(from: 0, to: weights.count, by: 64).flatMap { first in
            let block = first..<min(first + 64, weights.count)
            let largest = block.map { weights[$0] * scales[$0] }.max() ?? 0
            // The factor that makes a weight a number up to 255 is rounded twice, like the product.
            let halfStep = largest / 510 * (1 + 1024 * unitRoundoff)
            return block.map { scales[$0] > 0 ? halfStep / scales[$0] : 0 }
        }
    }

    /// The largest error as a part of its tolerance; infinite if one is NaN.
    func worst(of out: [Float]) -> Double {
        precondition(out.count == values.count)
        return zip(out, zip(values, tolerances))
            .map { Double($0) == $1.0 ? 0 : abs(Double($0) - $1.0) / $1.1 }
            .reduce(0) { $1.isNaN ? .infinity : max($0, $1) }
    }
}
