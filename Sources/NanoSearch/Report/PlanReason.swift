import NanoFlow

/// Why a plan won, in words and with the numbers that decided.
struct PlanReason {
    private let shape: Tuning.Shape
    private let device: MeasuredDevice
    /// Of the model.
    private let layerCount: Int

    init(_ shape: Tuning.Shape, _ device: MeasuredDevice, layerCount: Int) {
        (self.shape, self.device, self.layerCount) = (shape, device, layerCount)
    }

    var text: String {
        let base =
            "in sequence \(percent(shape.readingShare)) of the step reads keys and values, "
            + "\(percent(shape.productShare)) computes the layers' products. "
        return base + (shape.winner.numbers.map(overlapped) ?? sequential)
    }

    private func overlapped(_ numbers: PlanNumbers) -> String {
        var text = "Cut: \(numbers.text). "
        if let cutSeconds {
            let cost = cutSeconds / shape.candidates[0].predictedSeconds - 1
            text +=
                cost < 0.005
                ? "Cutting alone costs next to nothing; "
                : "Cutting alone would cost \(percent(cost, 1)), since smaller batches use the "
                    + "weights less often; "
        }
        if numbers.memoryShare == 0, numbers.prefetchRate > 0 {
            let factors = device.coIssue(rate: numbers.prefetchRate, reading: shape.reading)
            text +=
                "beside products reading takes \(decimal(factors.memory, 2)) of its time alone, "
                + "and they take \(decimal(factors.product, 2)) of theirs. "
        } else {
            text += "a part of the units reads while the others compute. "
        }
        return text + outcome(shape.chosen)
    }

    private var sequential: String {
        guard shape.search.potential >= Tuning.Shape.leastGain else {
            return "Not cut: were all reading hidden behind the rest, the step would be "
                + "\(percent(shape.search.potential - 1, 1)) faster at most."
        }
        guard shape.candidates.count > 1 else {
            guard let best = shape.search.ranked.first(where: { $0.numbers != nil }) else {
                return "Not cut: no other plan can run this batch."
            }
            let loss = best.seconds / shape.candidates[0].predictedSeconds - 1
            return "Not cut: of \(shape.search.evaluatedCount) plans the best other one would be "
                + "\(percent(max(0, loss), 1)) slower."
        }
        let best = shape.candidates.indices.dropFirst().max { shape.gain($0) < shape.gain($1) } ?? 1
        return "Not cut: the best other plan, \(shape.candidates[best].numbers?.text ?? ""), "
            + "gains less than \(percent(Tuning.Shape.leastGain - 1)). " + outcome(best)
    }

    /// As "Predicted 5.1 % faster, measured 6.3 % faster in 4 runs".
    private func outcome(_ index: Int) -> String {
        let (base, candidate) = (shape.candidates[0], shape.candidates[index])
        func change(_ ratio: Double) -> String {
            "\(percent(abs(ratio - 1), 1)) \(ratio >= 1 ? "faster" : "slower")"
        }
        let predicted = change(base.predictedSeconds / candidate.predictedSeconds)
        guard let seconds = candidate.measuredSeconds, let other = base.measuredSeconds else {
            return "Predicted \(predicted); there was no time to run it."
        }
        let runs = candidate.samples.count
        return "Predicted \(predicted), measured \(change(other / seconds)) in \(runs) "
            + "\(runs == 1 ? "run" : "runs")."
    }

    /// The winner's nano-batches one after the other.
    private var cutSeconds: Double? {
        guard let numbers = shape.winner.numbers else { return nil }
        var predictor = StepPredictor(
            shape.entry.batch, layerCount: layerCount, graph: { .decoder(layerCount: $0) },
            on: device)
        return predictor.seconds(.nanoBatched(.decoder(layerCount: layerCount), numbers))
    }
}

extension Tuning.Shape {
    private var productSeconds: Double { kinds.sum(\.isProduct) }

    private var readingSeconds: Double { kinds.sum { $0.resource == .memory } }

    /// Of a sequential step, what reads keys and values.
    var readingShare: Double { readingSeconds / kinds.sum() }

    /// Of a sequential step, what computes products of the layers.
    var productShare: Double { productSeconds / kinds.sum() }

    /// Seconds alone of what is read for each second alone of the products.
    var reading: Double { readingSeconds / productSeconds }
}
