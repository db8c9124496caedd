import NanoDevice
package import NanoFlow

/// Says what tuning has measured, what it has chosen and why.
package struct TuningReport {
    private let result: TuneResult
    private let fingerprint: PlanFingerprint
    private let workload: String
    private var tuning: Tuning { result.tuning }

    package init(_ result: TuneResult, _ fingerprint: PlanFingerprint, workload: String) {
        (self.result, self.fingerprint, self.workload) = (result, fingerprint, workload)
    }

    package var document: ReportDocument {
        var document = ReportDocument(title: "Pipeline plans for \(fingerprint.model)")
        document.blocks =
            summary + choices + candidates + pipeline + roofs + operations + interference + method
        return document
    }

    // MARK: - Parts

    private var summary: [ReportDocument.Block] {
        let errors = tuning.predictionErrors
        return [
            .paragraph(
                "On \(fingerprint.machine) with the kernels \(fingerprint.kernels), for the workload "
                    + "\(workload), tuned in \(decimal(tuning.seconds, 0)) s."),
            .paragraph(workloadInWords),
            .paragraph(
                errors.isEmpty
                    ? "There was no time to run a plan: all times are predictions."
                    : "Predictions are off by \(percent(errors.median, 1)) in the median, by "
                        + "\(percent(errors.max() ?? 0, 1)) at most, over \(errors.count) plans "
                        + "that were run."),
            .heading("Tokens in one step"),
            .table(
                ["at most", "tokens/s in sequence", "tokens/s with the plans found"],
                rows: tuning.tokenBudgets.map {
                    [
                        "\($0.tokens)" + ($0.tokens == tuning.tokenBudget ? ", chosen" : ""),
                        decimal($0.sequential, 0), decimal($0.tuned, 0),
                    ]
                }),
            .paragraph(
                "Predicted for the whole workload. Of those within 2 % of the fastest the largest is "
                    + "taken: a larger batch reads the weights less often, whatever noise says."),
        ]
    }

    /// What the workload's time goes into, in sequence.
    private var workloadInWords: String {
        let covered = tuning.shapes.reduce(0) { $0 + $1.timeShare }
        let reading = tuning.shapes.reduce(0) { $0 + $1.timeShare * $1.readingShare } / covered
        let products = tuning.shapes.reduce(0) { $0 + $1.timeShare * $1.productShare } / covered
        let overlapped = tuning.shapes.filter { $0.winner.numbers != nil }
        let share = overlapped.reduce(0) { $0 + $1.timeShare }
        return "In sequence \(percent(reading)) of its time reads keys and values and "
            + "\(percent(products)) computes matrix products of the layers. "
            + "\(tuning.shapes.count) classes of batches take \(percent(covered)) of its time; in "
            + "\(overlapped.count) of them, \(percent(share)) of the time, it pays to cut the batch."
    }

    private var choices: [ReportDocument.Block] {
        [
            .heading("What was chosen, and why")
        ]
            + tuning.shapes.map { shape in
                .paragraph(
                    "\(shape.entry.shape.text) (\(percent(shape.timeShare)) of the time): "
                        + PlanReason(shape, tuning.device, layerCount: result.layerCount).text)
            }
    }

    private var candidates: [ReportDocument.Block] {
        let rows = tuning.shapes.flatMap { shape in
            shape.candidates.enumerated().map { index, candidate -> [String] in
                [
                    (index == 0 ? shape.entry.shape.text + ": " : "    ")
                        + (candidate.numbers?.text ?? "sequential")
                        + (index == shape.chosen ? " (chosen)" : ""),
                    milliseconds(candidate.predictedSeconds),
                    candidate.measuredSeconds.map(milliseconds) ?? "-",
                    "\(candidate.samples.count)",
                    candidate.samples.count > 1
                        ? percent(candidate.samples.relativeSpread, 1) : "-",
                    decimal(shape.gain(index), 3),
                ]
            }
        }
        return [
            .heading("Candidates"),
            .table(
                ["plan", "predicted ms", "measured ms", "runs", "spread", "gain"], rows: rows),
            .paragraph(
                "Times of a step. The gain over the sequential plan weighs prediction and "
                    + "measurement by how far each is usually off; a batch is cut where it is at "
                    + "least \(decimal(Tuning.Shape.leastGain, 2)). The spread is that of the middle half of the runs."
            ),
        ]
    }

    private var pipeline: [ReportDocument.Block] {
        guard let shape = tuning.shown else { return [] }
        let lanes = shape.winner.plan.lanes.map { lane in
            "\(lane.name): " + lane.layer.map(\.text).joined(separator: " ")
        }
        let drawing = result.pipeline.map {
            ReportDocument.Block.figure(
                $0, caption: "One layer of a step as it ran: \(shape.entry.shape.text)")
        }
        return [.heading("The pipeline"), .preformatted(lanes.joined(separator: "\n"))]
            + (drawing.map { [$0] } ?? [])
    }

    private var roofs: [ReportDocument.Block] {
        [
            .heading("Roofs"),
            .table(
                ["roof", "measured"],
                rows: [
                    ["arithmetic", "\(decimal(result.roofs.operations / 1e9, 0)) GOP/s"],
                    ["reading", "\(decimal(result.roofs.bytes / 1e9, 1)) GB/s"],
                ]),
        ]
    }

    private var operations: [ReportDocument.Block] {
        let products = result.operationRates
        let chart = LineChart(
            title: ("rows of the batch (logarithmic)", "GOP/s of the matrix products"),
            series: products.map { LineChart.Series(name: $0.kind.rawValue, points: $0.rates) },
            roof: (result.roofs.operations / 1e9, "peak"))
        return [
            .heading("Operations alone"), .figure(chart.svg, caption: "Matrix products by rows"),
            .table(
                ["operation", "fewest rows", "most rows"],
                rows: products.compactMap { product in
                    guard let first = product.rates.first, let last = product.rates.last else {
                        return nil
                    }
                    return [
                        product.kind.rawValue,
                        "\(decimal(first.value, 0)) GOP/s at \(decimal(first.place, 0))",
                        "\(decimal(last.value, 0)) GOP/s at \(decimal(last.place, 0))",
                    ]
                }),
            .paragraph(result.attentionInWords),
        ] + fewerUnits
    }

    private var fewerUnits: [ReportDocument.Block] {
        let rows = tuning.device.fewerUnits.map { entry in
            [
                "\(entry.units) of \(tuning.profile.unitCount)", percent(entry.product),
                percent(entry.memory),
            ]
        }
        return rows.isEmpty
            ? []
            : [
                .table(["execution units", "products", "reading"], rows: rows),
                .paragraph("Speed alone on fewer units, as a part of that on all."),
            ]
    }

    private var interference: [ReportDocument.Block] {
        let rows = (tuning.device.coIssues + tuning.device.shares).map { entry in
            [
                entry.sharing.text, decimal(entry.reading, 2), decimal(entry.factors.product, 2),
                decimal(entry.factors.memory, 2),
            ]
        }
        return [
            .heading("Operations beside each other"),
            .table(
                ["sharing", "reading / products", "products take", "reading takes"], rows: rows),
            .paragraph(
                "While both run, as multiples of their times alone. Reading takes less than it does "
                    + "alone since the products have asked for what it reads. The second column is "
                    + "how much there is to read: seconds alone for each second of products."),
        ]
    }

    private var method: [ReportDocument.Block] {
        let missing = tuning.missingCount
        return [
            .heading("How it was measured"),
            .paragraph(
                "The profile is \(tuning.profile.measurements.count) made-up steps of "
                    + "\(tuning.profile.layerCount) layers, run in turns, "
                    + "\(tuning.profile.measurements.reduce(0) { $0 + $1.samples.count }) times in "
                    + "all; the middle half of a step's runs lies "
                    + "\(percent(tuning.profile.measurements.map(\.spread).median, 1)) apart "
                    + "in the median. Each is timed against one small step that runs before and after "
                    + "it, so that a machine whose speed drifts does not change the ratios. Times in "
                    + "this report are at the speed at which that step takes "
                    + "\(decimal(tuning.device.referenceSeconds * 1e3, 1)) ms."),
            .paragraph(
                missing == 0
                    ? "All steps of the profile were run."
                    : "\(missing) steps of the profile were not: the next tuning runs them."),
        ]
    }
}

extension SearchSpace.Sharing {
    /// "co-issue at rate 1.50", or "50 % of the units".
    fileprivate var text: String {
        prefetchRate > 0
            ? "co-issue at rate \(decimal(prefetchRate, 2))"
            : "\(percent(memoryShare)) of the units read"
    }
}

private func milliseconds(_ seconds: Double) -> String { decimal(seconds * 1e3, 1) }

/// A share as "12 %".
func percent(_ share: Double, _ digits: Int = 0) -> String { "\(decimal(share * 100, digits)) %" }
