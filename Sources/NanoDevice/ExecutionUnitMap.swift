/// Which CPU each execution unit is pinned to.
package struct ExecutionUnitMap: Sendable, Hashable, CustomStringConvertible {
    package let unitCount: Int
    /// CPU of each unit; nil when there are more units than CPUs, and none is pinned.
    package let cpus: [Int]?

    /// The map of ``ExecutionUnits`` started with the same arguments.
    package init(unitCount: Int, cpus: [Int]) {
        self.unitCount = unitCount
        self.cpus = unitCount <= cpus.count ? Array(cpus.prefix(unitCount)) : nil
    }

    /// CPU that a unit is pinned to.
    package func cpu(ofUnit unit: Int) -> Int? { cpus?[unit] }

    /// "units 0-1 on CPUs 0-1, unit 2 on CPU 4".
    package var description: String {
        guard let cpus else { return "\(unitCount) units on any CPU (there are fewer CPUs)" }
        var runs: [Range<Int>] = []
        for unit in cpus.indices {
            if let run = runs.last, cpus[unit] == cpus[run.upperBound - 1] + 1 {
                runs[runs.count - 1] = run.lowerBound..<unit + 1
            } else {
                runs.append(unit..<unit + 1)
            }
        }
        return runs.map { run in
            let (first, last) = (run.lowerBound, run.upperBound - 1)
            return first == last
                ? "unit \(first) on CPU \(cpus[first])"
                : "units \(first)-\(last) on CPUs \(cpus[first])-\(cpus[last])"
        }.joined(separator: ", ")
    }
}
