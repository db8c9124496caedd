import Foundation
import NanoFlow

/// Lines over a logarithmic axis, as SVG.
struct LineChart {
    struct Series {
        let name: String
        /// By ascending place, which is above 0.
        let points: [(place: Double, value: Double)]
    }

    /// What the axes are of.
    let title: (place: String, value: String)
    let series: [Series]
    /// A line across, with its name.
    var roof: (value: Double, name: String)?

    private static let (left, top, width, height) = (70.0, 20.0, 640.0, 300.0)
    private static let colours = [
        "#2b6cb0", "#c05621", "#2f855a", "#8a4fa3", "#b83280", "#4c4c4c", "#d69e2e",
    ]

    private var places: [Double] { series.flatMap(\.points).map(\.place) }

    private var top: Double {
        let values = series.flatMap(\.points).map(\.value) + [roof?.value ?? 0]
        return max(1e-9, values.max() ?? 0) * 1.08
    }

    private func x(_ place: Double) -> Double {
        let (low, high) = (log(places.min() ?? 1), log(places.max() ?? 1))
        return Self.left + Self.width * (high > low ? (log(place) - low) / (high - low) : 0)
    }

    private func y(_ value: Double) -> Double {
        Self.top + Self.height * (1 - value / top)
    }

    var svg: String {
        let (right, bottom) = (Self.left + Self.width, Self.top + Self.height)
        return """
            <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 380" width="900" height="380" \
            font-family="sans-serif" font-size="12" fill="#222222">
            <path d="M\(point(Self.left, Self.top)) V\(decimal(bottom, 1)) H\(decimal(right, 1))" \
            fill="none" stroke="#888888"/>
            \((placeTicks + valueTicks).joined(separator: "\n"))
            <text x="\(decimal(Self.left + Self.width / 2, 0))" y="\(decimal(bottom + 44, 0))" \
            text-anchor="middle">\(escaped(title.place))</text>
            <text x="\(decimal(Self.left, 0))" y="12">\(escaped(title.value))</text>
            \(roofLine)
            \(lines.joined(separator: "\n"))
            </svg>
            """
    }

    private func point(_ x: Double, _ y: Double) -> String { "\(decimal(x, 1)) \(decimal(y, 1))" }

    private var placeTicks: [String] {
        let bottom = Self.top + Self.height
        var last = -100.0
        return Set(places).sorted().compactMap { place in
            guard x(place) - last > 30 else { return nil }
            last = x(place)
            return "<text x=\"\(decimal(last, 1))\" y=\"\(decimal(bottom + 20, 0))\" "
                + "text-anchor=\"middle\">\(decimal(place, 0))</text>"
        }
    }

    private var valueTicks: [String] {
        (0...4).map { tick in
            let value = top * Double(tick) / 4
            return "<text x=\"\(decimal(Self.left - 8, 0))\" y=\"\(decimal(y(value) + 4, 1))\" "
                + "text-anchor=\"end\">\(decimal(value, top < 10 ? 2 : 0))</text>"
        }
    }

    private var roofLine: String {
        guard let roof else { return "" }
        let y = y(roof.value)
        return "<path d=\"M\(point(Self.left, y)) H\(decimal(Self.left + Self.width, 1))\" "
            + "stroke=\"#c53030\" stroke-dasharray=\"6 4\"/>"
            + "<text x=\"\(decimal(Self.left + Self.width + 8, 0))\" "
            + "y=\"\(decimal(y + 4, 1))\" fill=\"#c53030\">\(escaped(roof.name))</text>"
    }

    private var lines: [String] {
        series.enumerated().map { index, series in
            let colour = Self.colours[index % Self.colours.count]
            let path = series.points.map { point(x($0.place), y($0.value)) }
            let legend = Self.top + 40 + 20 * Double(index)
            return "<polyline points=\"\(path.joined(separator: " "))\" fill=\"none\" "
                + "stroke=\"\(colour)\" stroke-width=\"2\"/>"
                + "<text x=\"\(decimal(Self.left + Self.width + 8, 0))\" "
                + "y=\"\(decimal(legend, 0))\" fill=\"\(colour)\">\(escaped(series.name))</text>"
        }
    }
}
