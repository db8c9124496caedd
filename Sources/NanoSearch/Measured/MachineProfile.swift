import Foundation
package import NanoFlow

/// What made-up steps of a model took on this machine: all that predictions are made from.
package struct MachineProfile: Codable, Sendable, Hashable {
    package static let version = 1

    package var version = MachineProfile.version
    package let fingerprint: PlanFingerprint
    /// Of the model's layers, how many were run: enough that no cache holds their weights.
    package let layerCount: Int
    package let unitCount: Int
    package private(set) var measurements: [Measurement] = []

    /// One step, run several times; times in units of the reference's, as ``SteadyRunner`` has them.
    package struct Measurement: Codable, Sendable, Hashable {
        package let step: ProfileCase
        package var samples: [StepTimes]

        /// Middle values, each by itself.
        package var median: StepTimes {
            var kinds: [NanoFlow.Operation.Kind: Double] = [:]
            for kind in Set(samples.flatMap(\.kinds.keys)) {
                kinds[kind] = samples.map { $0.kinds[kind] ?? 0 }.median
            }
            var median = StepTimes(
                kinds: kinds, waitingSeconds: samples.map(\.waitingSeconds).median)
            median.seconds = samples.map(\.seconds).median
            return median
        }

        /// How far the middle half of the samples lies apart, as a part of their median.
        package var spread: Double { samples.map(\.seconds).relativeSpread }
    }

    package init(_ fingerprint: PlanFingerprint, layerCount: Int, unitCount: Int) {
        (self.fingerprint, self.layerCount, self.unitCount) = (fingerprint, layerCount, unitCount)
    }

    package subscript(_ step: ProfileCase) -> Measurement? {
        measurements.first { $0.step == step }
    }

    package mutating func add(_ times: StepTimes, to step: ProfileCase) {
        if let index = measurements.firstIndex(where: { $0.step == step }) {
            measurements[index].samples.append(times)
        } else {
            measurements.append(Measurement(step: step, samples: [times]))
        }
    }
}

extension MachineProfile {
    /// What an earlier run has left; nil where there is nothing of use: no file, a damaged one, or
    /// one of another model, machine or version.
    package static func read(
        _ path: String, for fingerprint: PlanFingerprint, layerCount: Int, unitCount: Int
    ) -> MachineProfile? {
        guard let data = FileManager.default.contents(atPath: path),
            let profile = try? JSONDecoder().decode(MachineProfile.self, from: data),
            profile.version == version, profile.fingerprint == fingerprint,
            profile.layerCount == layerCount, profile.unitCount == unitCount
        else { return nil }
        return profile
    }

    /// Writes the file whole or not at all.
    ///
    /// - Throws: What the system reports.
    package func write(to path: String) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        try encoder.encode(self).write(to: URL(fileURLWithPath: path), options: .atomic)
    }
}

extension [Double] {
    /// How far the middle half lies apart, as a part of the median.
    package var relativeSpread: Double {
        guard count > 1 else { return 0 }
        let sorted = sorted()
        let outside = count / 4
        return (sorted[count - 1 - outside] - sorted[outside]) / median
    }
}
