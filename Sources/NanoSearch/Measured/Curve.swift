/// A quantity measured at some places, with straight lines between them.
package struct Curve: Sendable {
    /// By ascending place.
    private(set) var points: [(place: Double, value: Double)] = []

    /// Several values at one place count as their median.
    package init(_ values: [Double: [Double]]) {
        points = values.map { ($0.key, $0.value.median) }.sorted { $0.place < $1.place }
    }

    /// Beyond the last place it goes on as between the last two; before the first it stays the same.
    package func callAsFunction(_ place: Double) -> Double {
        guard let first = points.first, let last = points.last else { return 0 }
        if place <= first.place || points.count == 1 { return first.value }
        let upper = points.firstIndex { $0.place >= place } ?? points.count - 1
        let (a, b) = (points[upper - 1], points[upper])
        let slope = (b.value - a.value) / (b.place - a.place)
        return place > last.place
            ? last.value + max(0, slope) * (place - last.place)
            : a.value + slope * (place - a.place)
    }
}

/// A time that is made of two parts, each proportional to a number: a x + b y.
package struct TwoPartTime: Sendable, Hashable {
    package private(set) var perX = 0.0
    package private(set) var perY = 0.0

    /// The parts with the least sum of squared relative errors; neither is negative.
    package init(_ samples: [(x: Double, y: Double, seconds: Double)]) {
        var (xx, xy, yy, x1, y1) = (0.0, 0.0, 0.0, 0.0, 0.0)
        for sample in samples where sample.seconds > 0 {
            let (x, y) = (sample.x / sample.seconds, sample.y / sample.seconds)
            (xx, xy, yy) = (xx + x * x, xy + x * y, yy + y * y)
            (x1, y1) = (x1 + x, y1 + y)
        }
        let determinant = xx * yy - xy * xy
        if determinant > 1e-9 * xx * yy {
            perX = (x1 * yy - y1 * xy) / determinant
            perY = (y1 * xx - x1 * xy) / determinant
        }
        guard perX <= 0 || perY <= 0 else { return }
        // One part alone; the reading or the arithmetic where both would do.
        (perX, perY) = yy > 0 && (perY > 0 || perX <= 0) ? (0, y1 / yy) : (xx > 0 ? x1 / xx : 0, 0)
    }

    package func callAsFunction(_ x: Double, _ y: Double) -> Double { perX * x + perY * y }
}

extension [Double] {
    /// The middle one, or the mean of the two in the middle; 0 where there is none.
    package var median: Double {
        guard !isEmpty else { return 0 }
        let sorted = sorted()
        let middle = count / 2
        return count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
    }
}
