import Synchronization

/// Whether the server still takes requests, and how many it is answering.
///
/// A request counts from its head on, before it looks whether the server drains; so in one order of all
/// that happens here either it sees that, or it is seen by who waits for the last one.
final class ServerState: Sendable {
    private let draining = Atomic<Bool>(false)
    private let inFlight = Atomic<Int>(0)

    var isDraining: Bool { draining.load(ordering: .sequentiallyConsistent) }
    var answering: Int { inFlight.load(ordering: .sequentiallyConsistent) }

    func beginDraining() { draining.store(true, ordering: .sequentiallyConsistent) }

    func begin() { inFlight.wrappingAdd(1, ordering: .sequentiallyConsistent) }
    func end() { inFlight.wrappingSubtract(1, ordering: .sequentiallyConsistent) }
}
