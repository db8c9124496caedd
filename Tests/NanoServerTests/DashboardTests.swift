import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import NanoFlow
import NanoTestSupport
import Testing

/// The dashboard that is there to deploy beside the server.
@Suite struct DashboardTests {
    @Test func theDashboardAsksForWhatTheServerHas() async throws {
        let file = Fixture.packageFolder.appendingPathComponent("Deploy/grafana-dashboard.json")
        let dashboard = try JSONValue(parsing: String(contentsOf: file, encoding: .utf8))
        let llm = try await TestModel.open()
        // What is a share of the machine's peak is shown only where that has been measured.
        llm.engine.measureRoofs()
        let types = try await TestModel.serve(llm, .router) { client in
            let response = try await client.execute(uri: "/metrics", method: .get)
            return Self.types(String(buffer: response.body))
        }
        await llm.shutdown()
        let names = Set(Self.texts(dashboard).flatMap(Self.metricNames))
        #expect(names.count > 30)
        for name in names.sorted() {
            #expect(Self.isThere(name, types), "\(name) is no metric of the server")
        }
    }

    /// The texts of a document, expressions and variables' queries among them.
    private static func texts(_ value: JSONValue) -> [String] {
        switch value {
        case .string(let text): [text]
        case .list(let values): values.flatMap(texts)
        case .object(let members): members.values.flatMap(texts)
        case .null, .bool, .number: []
        }
    }

    private static func metricNames(_ text: String) -> [String] {
        text.matches(of: /(?:vllm|nanoflow):[a-z0-9_]+/).map { String($0.output) }
    }

    /// The types of the metrics, by their names.
    private static func types(_ metrics: String) -> [String: String] {
        var types: [String: String] = [:]
        for line in metrics.split(separator: "\n") where line.hasPrefix("# TYPE ") {
            let words = line.split(separator: " ")
            if words.count == 4 { types[String(words[2])] = String(words[3]) }
        }
        return types
    }

    /// A histogram has samples under its name with an ending only.
    private static func isThere(_ name: String, _ types: [String: String]) -> Bool {
        if let type = types[name] { return type != "histogram" }
        return ["_bucket", "_sum", "_count"].contains { ending in
            name.hasSuffix(ending) && types[String(name.dropLast(ending.count))] == "histogram"
        }
    }
}
