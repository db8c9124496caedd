import NanoDevice
import Synchronization

/// What others may see of the engine while it runs: its thread writes, any reads.
package final class EngineMonitor: Sendable {
    package let metrics: ServingMetrics
    private let published: Locked<EngineStatus>
    private let window = Locked(LoadWindow())
    private let measuredRoofs = Locked<PipelineDrawing.Roofs?>(nil)
    private let progress = Atomic<UInt64>(monotonicNanoseconds())

    init(_ start: EngineStatus, maxModelLength: Int) {
        published = Locked(start)
        metrics = ServingMetrics(maxModelLength: maxModelLength)
    }

    /// What runs and waits, and what has been counted, after the last step.
    package internal(set) var status: EngineStatus {
        get { published.withLock { $0 } }
        set { published.withLock { $0 = newValue } }
    }

    func add(_ load: StepLoad, now: UInt64) {
        window.withLock { $0.add(load, now: now) }
    }

    /// What has been computed in the ten seconds before `now`.
    func load(now: UInt64) -> StepLoad { window.withLock { $0.sum(now: now) } }

    func setRoofs(_ roofs: PipelineDrawing.Roofs) {
        measuredRoofs.withLock { $0 = roofs }
    }

    /// What the machine does at most; nil: not measured.
    package var roofs: PipelineDrawing.Roofs? { measuredRoofs.withLock { $0 } }

    func noteProgress() {
        progress.store(monotonicNanoseconds(), ordering: .relaxed)
    }

    /// ``monotonicNanoseconds()`` when a step or a transfer last ended, or an idle engine was given
    /// something to do.
    package var lastProgress: UInt64 { progress.load(ordering: .relaxed) }
}
