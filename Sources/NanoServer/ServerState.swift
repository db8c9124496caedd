import Synchronization

/// Whether the server still takes requests, and how many it is answering.
final class ServerState: Sendable {
    private let draining = Atomic<Bool>(false)
    private let inFlight = Atomic<Int>(0)

    var isDraining: Bool { draining.load(ordering: .relaxed) }
    var answering: Int { inFlight.load(ordering: .relaxed) }

    func beginDraining() { draining.store(true, ordering: .relaxed) }

    func begin() { inFlight.wrappingAdd(1, ordering: .relaxed) }
    func end() { inFlight.wrappingSubtract(1, ordering: .relaxed) }
}
