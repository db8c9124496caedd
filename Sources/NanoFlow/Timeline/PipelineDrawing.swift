import NanoDevice

/// One layer's pipeline as a picture: lanes for each unit and for each resource, nano-batches in
/// colours.
package struct PipelineDrawing: Sendable {
    /// What the machine does at most.
    package struct Roofs: Sendable {
        /// Operations and bytes a second, of all units together.
        package let operations: Double
        package let bytes: Double

        package init(operations: Double, bytes: Double) {
            (self.operations, self.bytes) = (operations, bytes)
        }

        /// Measures what the engine's threads do at most at its precision; they must be idle.
        package init(measuredWith settings: EngineSettings) {
            let (threads, cpus) = (settings.threadCount, Machine.current().allowedCPUs)
            operations = PeakMeasurement.operations(
                settings.precision.peakKind, threads: threads, cpus: cpus)
            bytes = PeakMeasurement.readBandwidth(threads: threads, cpus: cpus)
        }
    }

    private let excerpt: PipelineTrace.Excerpt
    private let unitCount: Int
    private let roofs: Roofs
    private let title: String

    /// - Parameters:
    ///   - excerpt: What to draw.
    ///   - unitCount: Units of the trace.
    ///   - roofs: What utilisation is a share of.
    ///   - title: Stands above the picture.
    package init(
        _ excerpt: PipelineTrace.Excerpt, unitCount: Int, roofs: Roofs, title: String
    ) {
        self.excerpt = excerpt
        self.unitCount = unitCount
        self.roofs = roofs
        self.title = title
    }

    // MARK: - Where things stand

    private static let left = 150.0
    private static let width = 1050.0
    private static let laneHeight = 26.0
    private static let unitGap = 12.0
    private static let chartHeight = 44.0
    private static let top = 64.0
    private static let binCount = 105

    private func x(_ seconds: Double) -> Double {
        Self.left + Self.width * (seconds - excerpt.start) / (excerpt.end - excerpt.start)
    }

    private func y(unit: Int, _ resource: ResourceClass) -> Double {
        let lane = resource == .compute ? 0.0 : 1.0
        return Self.top + Double(unit) * (2 * Self.laneHeight + Self.unitGap)
            + lane * Self.laneHeight
    }

    private var chartTop: Double { y(unit: unitCount, .compute) + 6 }
    private var bottom: Double { chartTop + 2 * (Self.chartHeight + 14) }

    // MARK: - The picture

    /// The picture as SVG 1.1.
    package var svg: String {
        let parts = [header, lanes, events, charts, axis, legend]
        return parts.joined(separator: "\n") + "\n</svg>\n"
    }

    private var header: String {
        let height = Int(bottom + 70)
        let rates = excerpt.rates
        let (step, layer) = (excerpt.step, excerpt.layer)
        let subtitle =
            "step \(step), from the first tile of layer \(layer) to its last: "
            + "\(decimal((excerpt.end - excerpt.start) * 1e3, 2)) ms; arithmetic "
            + "\(percent(rates.operations / roofs.operations)) of "
            + "\(decimal(roofs.operations / 1e9, 0)) GOP/s, memory "
            + "\(percent(rates.bytes / roofs.bytes)) of \(decimal(roofs.bytes / 1e9, 1)) GB/s"
        return """
            <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1240 \(height)" width="1240" \
            height="\(height)" font-family="sans-serif" font-size="12">
            <rect width="1240" height="\(height)" fill="#ffffff"/>
            <text x="20" y="26" font-size="17" font-weight="bold">\(escaped(title))</text>
            <text x="20" y="46" fill="#444444">\(subtitle)</text>
            """
    }

    private var lanes: String {
        var lines: [String] = []
        for unit in 0..<unitCount {
            for resource in [ResourceClass.compute, .memory] {
                let y = y(unit: unit, resource)
                lines.append(
                    rectangle(
                        Self.left, y + 1, Self.width, Self.laneHeight - 2, "#f2f2f2"))
                lines.append(
                    "<text x=\"\(Int(Self.left) - 10)\" y=\"\(decimal(y + 17, 0))\" "
                        + "text-anchor=\"end\">unit \(unit), \(resource.rawValue)</text>")
            }
        }
        return lines.joined(separator: "\n")
    }

    private var events: String {
        let bars = excerpt.bars(shortestGap: 0.6 * (excerpt.end - excerpt.start) / Self.width)
        let rectangles = bars.map { bar -> String in
            let y = y(unit: bar.unit, bar.kind.resource)
            let opacity = bar.layer == excerpt.layer ? "1" : "0.4"
            return "<rect x=\"\(decimal(x(bar.start), 1))\" y=\"\(decimal(y + 1, 0))\" "
                + "width=\"\(decimal(max(0.5, x(bar.end) - x(bar.start)), 1))\" "
                + "height=\"\(Int(Self.laneHeight) - 2)\" fill=\"\(Self.colour(bar.nanoBatch))\" "
                + "opacity=\"\(opacity)\"><title>\(bar.name), layer "
                + "\(bar.layer.map(String.init) ?? "none")</title></rect>"
        }
        return (rectangles + labels).joined(separator: "\n")
    }

    /// A name over each operation that is wide enough to carry it.
    private var labels: [String] {
        excerpt.extents.compactMap { extent in
            let name = extent.kind.rawValue.replacing("Projection", with: "")
            let width = x(extent.end) - x(extent.start)
            guard width > 7.5 * Double(name.count) else { return nil }
            let y = y(unit: extent.unit, extent.kind.resource) + 17
            return "<text x=\"\(decimal((x(extent.start) + x(extent.end)) / 2, 1))\" "
                + "y=\"\(decimal(y, 0))\" text-anchor=\"middle\" stroke=\"#ffffff\" "
                + "stroke-width=\"3\" paint-order=\"stroke\">\(name)</text>"
        }
    }

    private var charts: String {
        let bins = excerpt.bins(count: Self.binCount)
        let seconds = (excerpt.end - excerpt.start) / Double(Self.binCount)
        let compute = bins.map { $0.operations / seconds / roofs.operations }
        let memory = bins.map { $0.bytes / seconds / roofs.bytes }
        return chart("arithmetic", compute, chartTop, "#4c4c4c") + "\n"
            + chart("memory", memory, chartTop + Self.chartHeight + 14, "#8a4fa3")
    }

    private func chart(
        _ name: String, _ shares: [Double], _ top: Double, _ colour: String
    ) -> String {
        let base = top + Self.chartHeight
        var points = ["\(decimal(Self.left, 1)),\(decimal(base, 1))"]
        let step = Self.width / Double(shares.count)
        for (index, share) in shares.enumerated() {
            let y = decimal(base - min(1.1, share) * Self.chartHeight, 1)
            let left = Self.left + Double(index) * step
            points += ["\(decimal(left, 1)),\(y)", "\(decimal(left + step, 1)),\(y)"]
        }
        points.append("\(decimal(Self.left + Self.width, 1)),\(decimal(base, 1))")
        let mean = shares.reduce(0, +) / Double(max(1, shares.count))
        return """
            \(rectangle(Self.left, top, Self.width, Self.chartHeight, "#f2f2f2"))
            <polygon points="\(points.joined(separator: " "))" fill="\(colour)" opacity="0.75"/>
            <text x="\(Int(Self.left) - 10)" y="\(decimal(top + 20, 0))" text-anchor="end">\(name)</text>
            <text x="\(Int(Self.left) - 10)" y="\(decimal(top + 36, 0))" text-anchor="end" \
            font-weight="bold">\(percent(mean))</text>
            """
    }

    private var axis: String {
        let milliseconds = (excerpt.end - excerpt.start) * 1e3
        return (0...5).map { tick in
            let share = Double(tick) / 5
            return "<text x=\"\(decimal(Self.left + share * Self.width, 0))\" "
                + "y=\"\(decimal(bottom + 14, 0))\" text-anchor=\"middle\" fill=\"#444444\">"
                + "\(decimal(share * milliseconds, 2)) ms</text>"
        }.joined(separator: "\n")
    }

    private var legend: String {
        let nanoBatches = Set(excerpt.events.map(\.nanoBatch)).sorted()
        let y = bottom + 34
        var entries = nanoBatches.map { nanoBatch -> String in
            let x = Self.left + Double(nanoBatch) * 130
            return rectangle(x, y, 14, 14, Self.colour(nanoBatch))
                + "<text x=\"\(decimal(x + 20, 0))\" y=\"\(decimal(y + 12, 0))\">"
                + "nano-batch \(nanoBatch)</text>"
        }
        entries.append(
            "<text x=\"\(decimal(Self.left + Self.width, 0))\" y=\"\(decimal(y + 12, 0))\" "
                + "text-anchor=\"end\" fill=\"#444444\">pale: other layers; memory counts when attention "
                + "uses what products have asked for</text>")
        return entries.joined(separator: "\n")
    }

    private static func colour(_ nanoBatch: Int) -> String {
        let colours = ["#5b8fd6", "#f0a04b", "#67b36a", "#d97a8c", "#9a86c9", "#c9b04b"]
        return colours[nanoBatch % colours.count]
    }

    private func rectangle(
        _ x: Double, _ y: Double, _ width: Double, _ height: Double, _ fill: String
    ) -> String {
        "<rect x=\"\(decimal(x, 1))\" y=\"\(decimal(y, 1))\" width=\"\(decimal(width, 1))\" "
            + "height=\"\(decimal(height, 1))\" fill=\"\(fill)\"/>"
    }

    private func percent(_ share: Double) -> String { "\(decimal(share * 100, 0)) %" }
}

extension PipelineTrace.Excerpt {
    /// Events of one operation by one unit with hardly anything between them, as one.
    func bars(shortestGap: Double) -> [PipelineTrace.Event] {
        var bars: [PipelineTrace.Event] = []
        var open: [ResourceClass: Int] = [:]
        var unit = -1
        for event in events {
            if event.unit != unit { open = [:] }
            unit = event.unit
            if let index = open[event.kind.resource], bars[index].continues(with: event),
                event.start - bars[index].end < shortestGap
            {
                bars[index] = bars[index].extended(to: event)
            } else {
                open[event.kind.resource] = bars.count
                bars.append(event)
            }
        }
        return bars
    }

    /// From the first event of each operation on each unit to its last.
    var extents: [PipelineTrace.Event] {
        bars(shortestGap: .infinity).filter { $0.end > $0.start }
    }

    /// What runs in each of `count` equal parts of the interval.
    func bins(count: Int) -> [OperationWork] {
        let length = (end - start) / Double(count)
        var bins = [OperationWork](repeating: OperationWork(), count: count)
        for event in events {
            let first = min(count - 1, max(0, Int((event.start - start) / length)))
            let last = min(count - 1, Int((event.end - start) / length))
            for bin in first...max(first, last) {
                let from = start + Double(bin) * length
                if let part = event.clipped(to: from..<from + length) {
                    bins[bin] = bins[bin] + part.work
                }
            }
        }
        return bins
    }
}

extension PipelineTrace.Event {
    fileprivate func continues(with next: Self) -> Bool {
        kind == next.kind && layer == next.layer && nanoBatch == next.nanoBatch
    }

    fileprivate func extended(to next: Self) -> Self {
        Self(
            unit: unit, start: start, end: next.end, step: step, kind: kind, layer: layer,
            nanoBatch: nanoBatch, tileCount: tileCount + next.tileCount, work: work + next.work)
    }
}
