import CNanoSystem
import Glibc

/// Runs `body` on a new thread of its own; for the engine loop and the execution units, which
/// run at their own pace and must not borrow the threads of Swift's concurrency.
///
/// The creator calls ``join()`` or ``detach()``, once.
package struct ServiceThread: Sendable {
    private let handle: pthread_t

    package init(
        name: String, stackByteCount: Int = 1 << 20, _ body: @escaping @Sendable () -> Void
    ) {
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        pthread_attr_setstacksize(&attributes, stackByteCount)
        let start = Unmanaged.passRetained(Start(name: name, body: body))
        var handle = pthread_t()
        let status = pthread_create(
            &handle, &attributes,
            { argument in
                guard let argument else { return nil }
                let start = Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
                ns_name_thread(start.name)
                start.body()
                return nil
            }, start.toOpaque())
        pthread_attr_destroy(&attributes)
        precondition(status == 0, "The system refused to start thread \(name): error \(status).")
        self.handle = handle
    }

    /// Lets the thread go: the system takes it back when its body has returned.
    package func detach() {
        pthread_detach(handle)
    }

    /// Waits until the thread's body has returned.
    package func join() {
        pthread_join(handle, nil)
    }
}

private final class Start: Sendable {
    let name: String
    let body: @Sendable () -> Void

    init(name: String, body: @escaping @Sendable () -> Void) {
        self.name = name
        self.body = body
    }
}
