import HTTPTypes
import Hummingbird
import HummingbirdTesting
import NanoServer
import Testing

@Suite struct KeyTests {
    private static let body = #"{"prompt":[5],"max_tokens":1}"#

    private func status(
        _ client: any TestClientProtocol, _ path: String, _ method: HTTPRequest.Method,
        _ authorization: String?
    ) async throws -> HTTPResponse {
        var headers = HTTPFields()
        headers[.authorization] = authorization
        let response = try await client.execute(
            uri: path, method: method, headers: headers,
            body: method == .post ? ByteBuffer(string: Self.body) : nil)
        return response.head
    }

    @Test func everyRouteButThreeAsksForAKey() async throws {
        var configuration = ServerConfiguration()
        configuration.apiKeys = ["first", "zweiter Schlüssel"]
        try await TestModel.serve(configuration: configuration) { client in
            for path in ["/health", "/ready", "/"] {
                #expect(try await status(client, path, .get, nil).status == .ok, "\(path)")
            }
            let guarded: [(String, HTTPRequest.Method)] = [
                ("/metrics", .get), ("/version", .get), ("/v1/models", .get),
                ("/v1/models/tiny", .get), ("/nanoflow/engine", .get),
                ("/nanoflow/timeline", .get), ("/tokenize", .post), ("/detokenize", .post),
                ("/v1/completions", .post), ("/v1/chat/completions", .post), ("/nowhere", .get),
            ]
            for (path, method) in guarded {
                for wrong in [
                    nil, "", "first", "Basic first", "Bearer", "Bearer ", "Bearer firs",
                    "Bearer firstfirst",
                ] {
                    let head = try await status(client, path, method, wrong)
                    #expect(head.status == .unauthorized, "\(path) with \(wrong ?? "nothing")")
                    #expect(head.headerFields[.wwwAuthenticate] == "Bearer")
                }
            }
            for right in ["Bearer first", "bearer first", "Bearer zweiter Schlüssel"] {
                #expect(try await status(client, "/v1/completions", .post, right).status == .ok)
            }
        }
    }

    @Test func aLongKeyIsRefusedBeforeItIsCompared() async throws {
        var configuration = ServerConfiguration()
        configuration.apiKeys = ["first"]
        try await TestModel.serve(configuration: configuration) { client in
            let key = "Bearer " + String(repeating: "x", count: 1 << 20)
            let head = try await status(client, "/v1/models", .get, key)
            #expect(head.status == .requestHeaderFieldsTooLarge)
        }
    }
}
