import HTTPTypes
import Hummingbird
import HummingbirdTesting
import NanoServer
import Testing

@Suite struct RouteTests {
    @Test func healthAndModelsAnswer() async throws {
        try await TestModel.serve { client in
            try await client.execute(uri: "/health", method: .get) { response in
                #expect(response.status == .ok)
                #expect(String(buffer: response.body) == #"{"status":"ok"}"#)
            }
            let list = try await client.execute(uri: "/v1/models", method: .get)
            let models = try JSONValue(parsing: String(buffer: list.body))
            #expect(models["object"].string == "list")
            #expect(models["data"].list.map { $0["id"].string } == ["tiny"])
            #expect(models["data"][0]["max_model_len"].number == Double(TestModel.contextLength))
            let one = try await client.execute(uri: "/v1/models/tiny", method: .get)
            let model = try JSONValue(parsing: String(buffer: one.body))
            #expect(model["id"].string == "tiny")
            #expect(model["object"].string == "model")
        }
    }

    @Test func aModelNameWithASlashIsFoundEscapedOrNot() async throws {
        let generator = ScriptedGenerator { AsyncThrowingStream { $0.finish() } }
        let server = NanoServer(
            generator: generator, configuration: ServerConfiguration(servedModelName: "org/tiny"))
        try await server.application().test(.router) { client in
            for path in ["/v1/models/org/tiny", "/v1/models/org%2Ftiny"] {
                try await client.execute(uri: path, method: .get) { #expect($0.status == .ok) }
            }
        }
    }

    @Test(arguments: ["/", "/v1", "/v1/completion", "/v1/completions/x", "/../etc/passwd"])
    func anUnknownPathIs404(path: String) async throws {
        try await TestModel.serve { client in
            let response = try await client.execute(uri: path, method: .get)
            #expect(response.status == .notFound)
            let error = try JSONValue(parsing: String(buffer: response.body))["error"]
            #expect(error["type"].string == "NotFoundError")
            #expect(error.keys == ["message", "type", "param", "code"])
        }
    }

    @Test(arguments: [
        ("/health", "POST", "GET"), ("/v1/models", "DELETE", "GET"),
        ("/v1/models/tiny", "PUT", "GET"), ("/v1/completions", "GET", "POST"),
        ("/v1/chat/completions", "BREW", "POST"),
    ])
    func aKnownPathWithAnotherMethodIs405(
        path: String, method: String, allowed: String
    )
        async throws
    {
        try await TestModel.serve { client in
            let method = try #require(HTTPRequest.Method(rawValue: method))
            let response = try await client.execute(uri: path, method: method)
            #expect(response.status == .methodNotAllowed)
            #expect(response.headers[.allow] == allowed)
        }
    }

    @Test func aRequestKeepsItsIDAndGetsOneWhereItHasNone() async throws {
        try await TestModel.serve { client in
            let field = try #require(HTTPField.Name("X-Request-Id"))
            let given = try await client.execute(
                uri: "/health", method: .get, headers: [field: "abc-1"])
            #expect(given.headers[field] == "abc-1")
            let fresh = try await client.execute(uri: "/health", method: .get)
            #expect(fresh.headers[field]?.isEmpty == false)
            let tooLong = try await client.execute(
                uri: "/nowhere", method: .get,
                headers: [field: String(repeating: "x", count: 129)])
            #expect(tooLong.headers[field]?.count == 36)
        }
    }
}
