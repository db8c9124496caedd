import Foundation

/// Readers of the small texts in which Linux describes the machine.
///
/// A text that does not have the expected form reads as nil or empty: a fact that the system does
/// not state is unknown, never an error.
package enum SystemText {
    /// Numbers beyond this are no CPUs or nodes of any machine.
    private static let maxIndex = 65_535

    /// The numbers of a list such as "0-3,8,10-11", ascending; empty for anything else.
    package static func indexList(_ text: String) -> [Int] {
        var indices: Set<Int> = []
        for part in text.split(whereSeparator: { $0 == "," || $0.isWhitespace }) {
            let bounds = part.split(separator: "-", omittingEmptySubsequences: false)
            guard bounds.count <= 2, let first = bounds.first.flatMap({ Int($0) }),
                let last = bounds.last.flatMap({ Int($0) }),
                0 <= first, first <= last, last <= maxIndex
            else { return [] }
            indices.formUnion(first...last)
        }
        return indices.sorted()
    }

    /// The numbers as a list with ranges: [0, 1, 2, 5] is "0-2,5".
    package static func indexRanges(_ indices: [Int]) -> String {
        var ranges: [ClosedRange<Int>] = []
        for index in Set(indices).sorted() {
            if let last = ranges.last, last.upperBound + 1 == index {
                ranges[ranges.count - 1] = last.lowerBound...index
            } else {
                ranges.append(index...index)
            }
        }
        return ranges.map {
            $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)"
        }
        .joined(separator: ",")
    }

    /// Bytes of a size such as "48K" or "32M", as sysfs states caches.
    package static func byteSize(_ text: String) -> Int? {
        let text = text.trimmingCharacters(in: .whitespacesAndNewlines)
        let units = ["K": 10, "M": 20, "G": 30]
        let shift = text.last.flatMap { units[String($0)] }
        guard let count = Int(shift == nil ? text : String(text.dropLast())), count >= 0 else {
            return nil
        }
        let (bytes, overflow) = count.multipliedReportingOverflow(by: 1 << (shift ?? 0))
        return overflow ? nil : bytes
    }

    /// The word in brackets of a choice such as "always [madvise] never".
    package static func chosenWord(_ text: String) -> String? {
        guard let open = text.firstIndex(of: "["),
            let close = text[open...].firstIndex(of: "]")
        else { return nil }
        let word = text[text.index(after: open)..<close]
        return word.isEmpty ? nil : String(word)
    }

    /// The figures of `/proc/meminfo` or a node's `meminfo` by name: bytes where the text says kB,
    /// else plain counts.
    package static func memoryFigures(_ text: String) -> [String: Int] {
        var figures: [String: Int] = [:]
        for line in text.split(separator: "\n") {
            // "MemTotal:       24684096 kB"; a node's lines begin with "Node 0 ".
            let fields = line.split(separator: " ")
            guard let name = fields.firstIndex(where: { $0.hasSuffix(":") }),
                name + 1 < fields.count, let count = Int(fields[name + 1])
            else { continue }
            let unit = fields.last == "kB" ? 1024 : 1
            let (value, overflow) = count.multipliedReportingOverflow(by: unit)
            if !overflow { figures[String(fields[name].dropLast())] = value }
        }
        return figures
    }

    /// The first value of a key in a text of "key : value" lines, such as `/proc/cpuinfo`.
    package static func firstValue(of key: String, in text: String) -> String? {
        for line in text.split(separator: "\n") {
            guard let colon = line.firstIndex(of: ":"),
                line[..<colon].trimmingCharacters(in: .whitespaces) == key
            else { continue }
            let value = line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
            return value.isEmpty ? nil : value
        }
        return nil
    }

    /// CPUs' worth of time that a v2 group's `cpu.max` grants, "150000 100000" being 1.5; nil for
    /// "max 100000", which is no quota.
    package static func cpuQuota(_ text: String) -> Double? {
        let fields = text.split(whereSeparator: \.isWhitespace).map { Double($0) }
        guard fields.count == 2, let quota = fields[0], let period = fields[1] else { return nil }
        return cpuQuota(microseconds: quota, period: period)
    }

    /// The same of a v1 group's two files; a quota of -1 is none.
    package static func cpuQuota(microseconds quota: Double, period: Double) -> Double? {
        guard quota > 0, period > 0, (quota / period).isFinite else { return nil }
        return quota / period
    }

    /// The text of a file of the system; empty where there is none.
    static func read(_ path: String) -> String {
        guard let data = FileManager.default.contents(atPath: path) else { return "" }
        return String(decoding: data, as: UTF8.self)
    }
}
