/// What the engine will take of the memory, arena by arena, worked out before it is taken.
///
/// The sum bounds what of the process is in memory for as long as it runs.
package struct MemoryBudget: Sendable, Hashable {
    /// One arena.
    package struct Entry: Sendable, Hashable {
        package let name: String
        package let byteCount: Int
        /// Whether it is one run of memory that is taken at start; else it is what a part of the program
        /// comes to at most.
        package let isArena: Bool
    }

    package private(set) var entries: [Entry]
    /// What machine and control group leave.
    package let availableByteCount: Int

    package init(availableByteCount: Int) {
        entries = []
        self.availableByteCount = availableByteCount
    }

    package mutating func add(_ name: String, _ byteCount: Int, isArena: Bool = true) {
        entries.append(Entry(name: name, byteCount: byteCount, isArena: isArena))
    }

    package var arenas: [Entry] { entries.filter(\.isArena) }

    package var totalByteCount: Int { entries.reduce(0) { $0 + $1.byteCount } }

    /// One line an arena, then the sum and what there is.
    package var description: String {
        let lines = entries.map { "  \(pad($0.name, 24))\(pad(bytes($0.byteCount), -12))" }
        return
            (lines + [
                "  \(pad("sum", 24))\(pad(bytes(totalByteCount), -12))",
                "  \(pad("available", 24))\(pad(bytes(availableByteCount), -12))",
            ]).joined(separator: "\n")
    }

    /// Throws ``NanoFlowError`` with the arithmetic when the sum does not fit.
    package func check() throws(NanoFlowError) {
        guard totalByteCount > availableByteCount else { return }
        let sum = entries.map { "\($0.name) \(bytes($0.byteCount))" }.joined(separator: " + ")
        throw NanoFlowError(
            .insufficientMemory, field: "memory", limit: bytes(availableByteCount),
            given: bytes(totalByteCount),
            message: "The engine needs \(sum) = \(bytes(totalByteCount)), but this machine or its "
                + "control group leaves \(bytes(availableByteCount)). A smaller --kv-cache-memory, "
                + "--max-model-len or --max-num-batched-tokens needs less.")
    }
}

/// A size with a binary unit and one decimal.
package func bytes(_ count: Int) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)]
    for (unit, shift) in units where count >= 1 << shift {
        let tenths = (count * 10) >> shift
        return "\(tenths / 10).\(tenths % 10) \(unit)"
    }
    return "\(count) B"
}

/// The text padded to `width`; a negative width aligns to the right.
private func pad(_ text: String, _ width: Int) -> String {
    let fill = String(repeating: " ", count: max(0, abs(width) - text.count))
    return width < 0 ? fill + text : text + fill
}
