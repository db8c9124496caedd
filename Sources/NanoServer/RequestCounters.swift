import NanoDevice
import NanoFlow

/// What has come to the server, and what of it was turned away.
final class RequestCounters: Sendable {
    struct Values: Sendable {
        /// Choices that a request asked for.
        var choices = Histogram([1, 2, 5, 10, 20])
        /// Requests that were answered with an error, by its code.
        var rejections: [String: Int] = [:]
    }

    private let values = Locked(Values())

    var current: Values { values.withLock { $0 } }

    func countRequest(choices: Int) {
        values.withLock { $0.choices.add(Double(choices)) }
    }

    func countRejection(_ code: String) {
        assert(ErrorResponse.codes.contains(code), "The metric knows every code.")
        values.withLock { $0.rejections[code, default: 0] += 1 }
    }
}
