package import Foundation

/// A trace in the format of Chrome's trace viewer, which Perfetto opens, too: a thread for each unit.
///
/// "Trace Event Format", Google, 2016.
package struct ChromeTrace: Encodable, Sendable {
    private let traceEvents: [Entry]
    private let displayTimeUnit = "ms"

    private enum Entry: Encodable {
        case complete(PipelineTrace.Event, kernel: String)
        case thread(Int, name: String)

        private enum Keys: String, CodingKey {
            case name, cat, ph, ts, dur, pid, tid, args
        }

        private enum Arguments: String, CodingKey {
            case name, step, layer, tiles, operations, bytes, kernel
            case nanoBatch = "nano_batch"
        }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: Keys.self)
            try container.encode(0, forKey: .pid)
            switch self {
            case .complete(let event, let kernel):
                try container.encode("X", forKey: .ph)
                try container.encode(event.name, forKey: .name)
                try container.encode(event.kind.resource.rawValue, forKey: .cat)
                try container.encode(event.start * 1e6, forKey: .ts)
                try container.encode((event.end - event.start) * 1e6, forKey: .dur)
                try container.encode(event.unit, forKey: .tid)
                var arguments = container.nestedContainer(
                    keyedBy: Arguments.self, forKey: .args)
                try arguments.encode(event.step, forKey: .step)
                try arguments.encodeIfPresent(event.layer, forKey: .layer)
                try arguments.encode(event.nanoBatch, forKey: .nanoBatch)
                try arguments.encode(event.tileCount, forKey: .tiles)
                try arguments.encode(event.work.operations.rounded(), forKey: .operations)
                try arguments.encode(event.work.bytes.rounded(), forKey: .bytes)
                try arguments.encode(kernel, forKey: .kernel)
            case .thread(let unit, let name):
                try container.encode("M", forKey: .ph)
                try container.encode("thread_name", forKey: .name)
                try container.encode(unit, forKey: .tid)
                var arguments = container.nestedContainer(
                    keyedBy: Arguments.self, forKey: .args)
                try arguments.encode(name, forKey: .name)
            }
        }
    }

    /// - Parameters:
    ///   - trace: What to write.
    ///   - kernel: The name of the kernels that ran.
    package init(_ trace: PipelineTrace, kernel: String) {
        traceEvents =
            (0..<trace.unitCount).map { .thread($0, name: "execution unit \($0)") }
            + trace.events.map { .complete($0, kernel: kernel) }
    }

    /// The file's contents.
    package func encoded() throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return try encoder.encode(self)
    }
}
