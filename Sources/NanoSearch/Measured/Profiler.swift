package import NanoFlow

/// Fills a machine's profile.
///
/// Steps take turns, so that what disturbs the machine for a while meets all of them: a round runs
/// each once. Those whose times lie too far apart get more rounds. What an earlier run has measured
/// counts.
package struct Profiler {
    /// Rounds that every step gets, and that one whose times lie apart gets at most.
    private static let rounds = (least: 2, most: 6)
    /// Wider than this, as a part of the median, a step is run again.
    private static let widestSpread = 0.08

    private let cases: [ProfileCase]
    private let graph: OperationGraph

    /// - Parameters:
    ///   - cases: What to run.
    ///   - layerCount: With so many layers.
    package init(_ cases: [ProfileCase], layerCount: Int) {
        self.cases = cases
        graph = .decoder(layerCount: layerCount)
    }

    /// Steps that are still to run in the next round.
    private func open(_ profile: MachineProfile, round: Int) -> [ProfileCase] {
        cases.filter { step in
            guard let measurement = profile[step] else { return true }
            return measurement.samples.count <= round
                && (round < Self.rounds.least || measurement.spread > Self.widestSpread)
        }
    }

    /// Runs what is missing.
    ///
    /// - Parameters:
    ///   - profile: What there is; filled.
    ///   - runner: Runs the steps.
    ///   - hasTime: Asked before each step; the profile is left as it is once it says no.
    ///   - progress: Told how far it is, 0...1, after each step.
    package func fill(
        _ profile: inout MachineProfile, with runner: inout SteadyRunner<some StepRunner>,
        hasTime: () -> Bool, progress: (MachineProfile, Double) -> Void
    ) {
        let all = cases.count * Self.rounds.least
        var done = cases.reduce(0) {
            $0 + min(Self.rounds.least, profile[$1]?.samples.count ?? 0)
        }
        for round in 0..<Self.rounds.most {
            for step in open(profile, round: round) {
                guard hasTime() else { return }
                guard
                    let times = runner.run(
                        step.batch, step.plan(graph), layerCount: graph.layerCount,
                        units: step.units)
                else { continue }
                profile.add(times, to: step)
                done += 1
                progress(profile, min(1, Double(done) / Double(all)))
            }
        }
    }
}
