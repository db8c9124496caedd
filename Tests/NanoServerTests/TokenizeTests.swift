import Hummingbird
import HummingbirdTesting
import Testing

@Suite struct TokenizeTests {
    @Test func textBecomesTokensAndBack() async throws {
        try await TestModel.serve { client in
            let answer = try await client.answer(
                "/tokenize",
                #"{"model":"tiny","prompt":"Hello, wörld","return_token_strs":true}"#)
            let tokens = answer["tokens"].list.compactMap(\.number).map { Int($0) }
            #expect(answer["count"].number == Double(tokens.count))
            #expect(answer["max_model_len"].number == Double(TestModel.contextLength))
            #expect(answer["token_strs"].list.count == tokens.count)
            let plain = try await client.answer(
                "/tokenize", #"{"prompt":"Hello, wörld","add_special_tokens":false}"#)
            let ids = plain["tokens"].list.compactMap(\.number).map { Int($0) }
            let back = try await client.answer("/detokenize", #"{"tokens":\#(ids)}"#)
            #expect(back["prompt"].string == "Hello, wörld")
        }
    }

    @Test func anEmptyTextHasNoTokensOfItsOwn() async throws {
        try await TestModel.serve { client in
            let answer = try await client.answer(
                "/tokenize", #"{"prompt":"","add_special_tokens":false}"#)
            #expect(answer["count"].number == 0)
            #expect(answer["token_strs"] == .null)
            let back = try await client.answer("/detokenize", #"{"tokens":[]}"#)
            #expect(back["prompt"].string == "")
        }
    }

    @Test(arguments: [
        ("/tokenize", "{}", "prompt"), ("/tokenize", #"{"prompt":5}"#, "prompt"),
        ("/tokenize", #"{"messages":[]}"#, "messages"),
        ("/tokenize", #"{"model":"other","prompt":"a"}"#, "model"),
        ("/detokenize", "{}", "tokens"), ("/detokenize", #"{"tokens":[5,288]}"#, "tokens[1]"),
        ("/detokenize", #"{"tokens":[-1]}"#, "tokens[0]"),
        ("/detokenize", #"{"tokens":"a"}"#, "tokens"),
    ])
    func badBodiesAreRefused(path: String, body: String, param: String) async throws {
        try await TestModel.serve { client in
            let response = try await client.post(path, body)
            #expect(response.status.kind == .clientError)
            let error = try JSONValue(parsing: String(buffer: response.body))["error"]
            #expect(error["param"].string == param)
        }
    }
}
