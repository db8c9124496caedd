import Foundation
import NanoFlow

/// Round numbers along an axis that begins at 0.
struct AxisTicks {
    private let step: Double
    private let count: Int

    /// - Parameter highest: What the axis must reach, above 0.
    init(to highest: Double) {
        precondition(highest > 0 && highest.isFinite, "An axis has a length.")
        let unit = pow(10, log10(highest / 8).rounded(.up))
        step = [0.1, 0.2, 0.5].map { $0 * unit }.first { highest / $0 <= 8 } ?? unit
        count = Int((highest / step).rounded(.up))
    }

    /// Where the axis ends, at a tick.
    var end: Double { step * Double(count) }

    var values: [Double] { (0...count).map { step * Double($0) } }

    /// The number with as many decimals as the ticks need.
    func text(_ value: Double) -> String {
        decimal(value, max(0, Int((-log10(step)).rounded(.up))))
    }
}
