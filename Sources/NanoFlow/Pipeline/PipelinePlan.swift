import NanoDevice

/// How a batch is cut into nano-batches and in which order, and beside what, execution units run
/// their operations: the pipeline of one layer, which is repeated over all of them.
///
/// A plan is data. Sequential, nano-batched and overlapped runs differ in nothing else.
package struct PipelinePlan: Codable, Sendable, Hashable {
    /// Each nano-batch's share of the rows.
    package var nanoBatches: [Double]
    /// Kinds that run on all rows at once, so that their weights are read once.
    package var whole: [Operation.Kind]
    package var lanes: [Lane]
    package var units: [Share]

    /// An order of operations; units take them from the front.
    package struct Lane: Codable, Sendable, Hashable {
        package var name: String
        /// Before the layers.
        package var before: [Place]
        /// For each layer.
        ///
        /// An operation may be that of a layer before: nano-batches then follow each other at a
        /// distance, one a part of a layer behind the other.
        package var layer: [Place]
        /// Behind the layers.
        package var after: [Place]

        package init(
            name: String, before: [Place] = [], layer: [Place], after: [Place] = []
        ) {
            (self.name, self.before, self.layer, self.after) = (name, before, layer, after)
        }
    }

    /// A nano-operation of a lane.
    ///
    /// As text: `kind.nanoBatch`, with `-1` behind it for that of the layer before.
    package struct Place: Sendable, Hashable {
        package var kind: Operation.Kind
        package var nanoBatch: Int
        package var layerOffset: Int

        package init(_ kind: Operation.Kind, _ nanoBatch: Int, layerOffset: Int = 0) {
            (self.kind, self.nanoBatch, self.layerOffset) = (kind, nanoBatch, layerOffset)
        }
    }

    /// What a share of the execution units does.
    package struct Share: Codable, Sendable, Hashable {
        /// Of all units; the shares sum up to 1.
        package var share: Double
        /// Names of lanes by preference.
        ///
        /// A unit takes what is ready in the first one, or else in the next. Lanes that are not
        /// named come last.
        package var lanes: [String]
        /// Co-issue of the second lane beside the first.
        ///
        /// How much of what the second lane's operations read is asked for while the first lane's
        /// products run: 1 spreads it evenly over them; 0: no co-issue.
        package var prefetchRate: Double
        /// Bytes asked for and not yet read, at most: a part of the second-level cache.
        package var windowByteCount: Int

        package init(
            share: Double = 1, lanes: [String], prefetchRate: Double = 0, windowByteCount: Int = 0
        ) {
            (self.share, self.lanes) = (share, lanes)
            (self.prefetchRate, self.windowByteCount) = (prefetchRate, windowByteCount)
        }

        package enum CodingKeys: String, CodingKey {
            case share, lanes
            case prefetchRate = "prefetch_rate"
            case windowByteCount = "window_bytes"
        }
    }

    package init(
        nanoBatches: [Double], whole: [Operation.Kind] = [], lanes: [Lane], units: [Share]
    ) {
        (self.nanoBatches, self.whole) = (nanoBatches, whole)
        (self.lanes, self.units) = (lanes, units)
    }

    package enum CodingKeys: String, CodingKey {
        case whole, lanes, units
        case nanoBatches = "nano_batches"
    }
}

extension PipelinePlan.Place: Codable {
    package var text: String {
        "\(kind.rawValue).\(nanoBatch)" + (layerOffset == 0 ? "" : "\(layerOffset)")
    }

    package init?(text: String) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 2, let kind = Operation.Kind(rawValue: String(parts[0])) else {
            return nil
        }
        let numbers = parts[1].split(
            separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
        guard let nanoBatch = numbers.first.flatMap({ Int($0) }), nanoBatch >= 0 else {
            return nil
        }
        self.init(kind, nanoBatch)
        guard numbers.count == 2 else { return }
        guard let distance = Int(numbers[1]), distance > 0 else { return nil }
        layerOffset = -distance
    }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let text = try container.decode(String.self)
        guard let place = Self(text: text) else {
            throw DecodingError.dataCorruptedError(
                in: container,
                debugDescription: "\"\(text)\" names no nano-operation, as \"gateUpProjection.0\".")
        }
        self = place
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(text)
    }
}

// MARK: - What must hold

extension PipelinePlan {
    package static let maxNanoBatchCount = 8
    private static let maxShareCount = 64

    /// Why the plan cannot run a model's operations; nil: it can.
    package func fault(for graph: OperationGraph) -> String? {
        guard (1...Self.maxNanoBatchCount).contains(nanoBatches.count) else {
            return "It has \(nanoBatches.count) nano-batches; there may be 1 to "
                + "\(Self.maxNanoBatchCount)."
        }
        guard Self.areShares(nanoBatches) else {
            return "The shares of its nano-batches, \(nanoBatches), are not positive with sum 1."
        }
        guard (1...Self.maxShareCount).contains(units.count) else {
            return "It has \(units.count) shares of units; there may be 1 to \(Self.maxShareCount)."
        }
        guard Self.areShares(units.map(\.share)) else {
            return "The shares of its units, \(units.map(\.share)), are not positive with sum 1."
        }
        guard Set(whole).count == whole.count else {
            return "A kind is there twice among those that are whole."
        }
        return laneFault ?? unitFault ?? coverageFault(graph)
    }

    private static func areShares(_ shares: [Double]) -> Bool {
        shares.allSatisfy { $0 > 0 } && abs(shares.reduce(0, +) - 1) < 1e-6
    }

    private var laneFault: String? {
        let names = lanes.map(\.name)
        guard (1...UnitRole.maxLaneCount).contains(names.count) else {
            return "It has \(names.count) lanes; there may be 1 to \(UnitRole.maxLaneCount)."
        }
        guard Set(names).count == names.count else { return "Two of its lanes have one name." }
        let named = Set(units.flatMap(\.lanes))
        return named.subtracting(names).min().map { "There is no lane \"\($0)\" for its units." }
    }

    private var unitFault: String? {
        for unit in units {
            guard !unit.lanes.isEmpty, Set(unit.lanes).count == unit.lanes.count else {
                return "Units must serve lanes, each once. Given: \(unit.lanes)."
            }
            guard (0...64).contains(unit.prefetchRate),
                (0...(1 << 30)).contains(unit.windowByteCount)
            else {
                return "prefetch_rate must be 0 to 64 and window_bytes 0 to 1073741824. Given: "
                    + "\(unit.prefetchRate), \(unit.windowByteCount)."
            }
            guard unit.prefetchRate == 0 || unit.lanes.count > 1 else {
                return "A prefetch_rate needs a second lane."
            }
        }
        return nil
    }

    /// Every nano-operation must stand in one place.
    private func coverageFault(_ graph: OperationGraph) -> String? {
        let kinds = graph.kinds
        for (name, expected, places) in [
            ("before", kinds.before, lanes.flatMap(\.before)),
            ("layer", kinds.layer, lanes.flatMap(\.layer)),
            ("after", kinds.after, lanes.flatMap(\.after)),
        ] {
            var missing = Set<Place>()
            for kind in expected {
                let parts = whole.contains(kind) ? 1 : nanoBatches.count
                for part in 0..<parts { missing.insert(Place(kind, part)) }
            }
            for place in places {
                guard name == "layer" || place.layerOffset == 0 else {
                    return "\(place.text) in \"\(name)\" has no layer before it."
                }
                guard missing.remove(Place(place.kind, place.nanoBatch)) != nil else {
                    return "\(place.text) in \"\(name)\" is there twice, or does not belong there."
                }
                guard place.layerOffset >= -graph.layerCount else {
                    return "\(place.text) reaches back further than the model has layers."
                }
            }
            if let place = missing.min(by: { $0.text < $1.text }) {
                return "\(place.text) is missing in \"\(name)\"."
            }
        }
        return nil
    }
}
