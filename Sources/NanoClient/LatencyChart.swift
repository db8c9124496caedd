import NanoFlow

/// A sweep's figure as NanoFlow's paper draws it: normalised latency over request rate, with a line
/// at what is allowed.
///
/// There is no background, and all colours stand out from white and from black alike.
package struct LatencyChart: Sendable {
    private static let (left, top, width, height) = (64.0, 46.0, 560.0, 300.0)
    private static let ink = "#7b7f86"

    private struct Line {
        let name: String
        let colour: String
        let value: @Sendable (Distribution) -> Double
    }

    private static let lines = [
        Line(name: "P99", colour: "#a371d4") { $0.p99 },
        Line(name: "mean", colour: "#d9822b") { $0.mean },
        Line(name: "median", colour: "#3f8ae0") { $0.median },
    ]

    private let curve: LatencyCurve
    private let title: String
    private let xTicks: AxisTicks
    private let yTicks: AxisTicks

    /// - Parameters:
    ///   - curve: What is drawn.
    ///   - title: Stands above.
    package init(_ curve: LatencyCurve, title: String) {
        self.curve = curve
        self.title = title
        let highest = curve.points.flatMap { point in
            Self.lines.map { $0.value(point.latency) }
        }.max()
        // Under overload latency grows with the run's length, and what matters would be flat.
        let limit = LatencyCurve.limit
        yTicks = AxisTicks(to: min(max(highest ?? 0, 1.2 * limit), 2.5 * limit))
        xTicks = AxisTicks(to: curve.points.last?.rate ?? 1)
    }

    private func x(_ rate: Double) -> Double { Self.left + Self.width * rate / xTicks.end }

    private func y(_ latency: Double) -> Double {
        Self.top + Self.height * (1 - latency / yTicks.end)
    }

    /// The picture as SVG 1.1.
    package var svg: String {
        let (right, bottom) = (Self.left + Self.width, Self.top + Self.height)
        return """
            <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 410" width="720" height="410" \
            font-family="sans-serif" font-size="12" fill="\(Self.ink)">
            <title>\(escaped(title))</title>
            <clipPath id="frame"><rect x="\(n(Self.left - 4))" y="\(n(Self.top))" \
            width="\(n(Self.width + 8))" height="\(n(Self.height + 4))"/></clipPath>
            <text x="\(n(Self.left))" y="18" font-size="14">\(escaped(title))</text>
            <text x="\(n(Self.left))" y="36">normalised latency, ms/token</text>
            <text x="\(n((Self.left + right) / 2))" y="\(n(bottom + 42))" \
            text-anchor="middle">request rate, requests/s</text>
            \((grid + series + legend).joined(separator: "\n"))
            \(limitLine)
            </svg>

            """
    }

    private var grid: [String] {
        let (right, bottom) = (Self.left + Self.width, Self.top + Self.height)
        let across = yTicks.values.map { value in
            "<path d=\"M\(n(Self.left)) \(n(y(value))) H\(n(right))\" stroke=\"\(Self.ink)\" "
                + "opacity=\"\(value == 0 ? "0.9" : "0.25")\"/>"
                + "<text x=\"\(n(Self.left - 8))\" y=\"\(n(y(value) + 4))\" text-anchor=\"end\">"
                + "\(yTicks.text(value))</text>"
        }
        let up = xTicks.values.map { value in
            "<path d=\"M\(n(x(value))) \(n(bottom)) v5\" stroke=\"\(Self.ink)\"/>"
                + "<text x=\"\(n(x(value)))\" y=\"\(n(bottom + 20))\" text-anchor=\"middle\">"
                + "\(xTicks.text(value))</text>"
        }
        return across + up
    }

    private var series: [String] {
        Self.lines.map { line in
            let places = curve.points.map { "\(n(x($0.rate))),\(n(y(line.value($0.latency))))" }
            let dots = curve.points.map { point in
                let value = line.value(point.latency)
                return "<circle cx=\"\(n(x(point.rate)))\" cy=\"\(n(y(value)))\" r=\"3.5\" "
                    + "fill=\"\(line.colour)\"><title>\(line.name) at \(decimal(point.rate, 2)) "
                    + "requests/s: \(decimal(value, 1)) ms/token</title></circle>"
            }
            return "<g clip-path=\"url(#frame)\"><polyline points=\""
                + "\(places.joined(separator: " "))\" fill=\"none\" stroke=\"\(line.colour)\" "
                + "stroke-width=\"2\"/>\(dots.joined())</g>"
        }
    }

    private var legend: [String] {
        Self.lines.enumerated().map { index, line in
            let (x, y) = (Self.left + Self.width - 240 + 80 * Double(index), 36.0)
            return "<path d=\"M\(n(x)) \(n(y - 4)) h18\" stroke=\"\(line.colour)\" "
                + "stroke-width=\"2\"/><text x=\"\(n(x + 24))\" y=\"\(n(y))\">\(line.name)</text>"
        }
    }

    private var limitLine: String {
        let y = y(LatencyCurve.limit)
        return "<path d=\"M\(n(Self.left)) \(n(y)) h\(n(Self.width))\" stroke=\"#d64545\" "
            + "stroke-width=\"1.5\" stroke-dasharray=\"6 4\"/>"
            + "<text x=\"\(n(Self.left + Self.width + 8))\" y=\"\(n(y + 4))\" fill=\"#d64545\">"
            + "\(Int(LatencyCurve.limit)) ms</text>"
    }

    private func n(_ value: Double) -> String { decimal(value, 1) }
}
