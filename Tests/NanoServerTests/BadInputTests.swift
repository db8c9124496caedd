import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Testing

/// A request that must be refused, and how.
struct BadInput: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let path: String
    let body: String
    let status: Int
    let param: String?

    static func chat(
        _ name: String, _ fields: String, param: String? = nil, status: Int = 400
    ) -> BadInput {
        let hello = #""messages":[{"role":"user","content":"Hello"}]"#
        return BadInput(
            testDescription: name, path: "/v1/chat/completions", body: "{\(hello),\(fields)}",
            status: status, param: param)
    }

    static func messages(_ name: String, _ messages: String, param: String) -> BadInput {
        BadInput(
            testDescription: name, path: "/v1/chat/completions", body: "{\"messages\":\(messages)}",
            status: 400, param: param)
    }

    static func completion(
        _ name: String, _ body: String, param: String? = nil, status: Int = 400
    ) -> BadInput {
        BadInput(
            testDescription: name, path: "/v1/completions", body: body, status: status, param: param
        )
    }
}

@Suite struct BadInputTests {
    static let syntax: [BadInput] = [
        .completion("nothing", ""),
        .completion("cut off", #"{"prompt":"a"#),
        .completion("not JSON", "prompt=a"),
        .completion("a trailing comma", #"{"prompt":"a",}"#),
        .completion("a second value", #"{"prompt":"a"}{}"#),
        .completion("a list", "[]", param: "body"),
        .completion("a string", #""a""#, param: "body"),
        .completion("a key twice", #"{"prompt":"a","n":1,"n":2}"#),
        .completion("a key twice, once in escapes", #"{"prompt":"a","n":1,"\u006e":2}"#),
        .completion("a key twice further in", #"{"prompt":"a","x":[{"y":{"z":1,"z":1}}]}"#),
        .completion("NaN", #"{"prompt":"a","temperature":NaN}"#),
        .completion("a raw NUL", "{\"prompt\":\"a\0b\"}"),
        .completion("a bad escape", #"{"prompt":"\q"}"#),
        .completion("deep lists", String(repeating: "[", count: 100_000)),
        .completion(
            "deep objects", String(repeating: "{\"a\":", count: 100_000) + "1"),
        .completion(
            "a deep unknown field",
            "{\"prompt\":\"a\",\"x\":" + String(repeating: "[", count: 70)
                + String(repeating: "]", count: 70) + "}"),
        .completion(
            "10 MB", "{\"prompt\":\"" + String(repeating: "a ", count: 5_000_000) + "\"}",
            status: 413),
    ]

    static let prompts: [BadInput] = [
        .completion("no prompt", "{}", param: "prompt"),
        .completion("a null prompt", #"{"prompt":null}"#, param: "prompt"),
        .completion("an empty prompt", #"{"prompt":""}"#, param: "prompt"),
        .completion("an empty list", #"{"prompt":[]}"#, param: "prompt"),
        .completion("a list of empty lists", #"{"prompt":[[]]}"#, param: "prompt"),
        .completion("a number", #"{"prompt":7}"#, param: "prompt"),
        .completion("a mixed list", #"{"prompt":["a",1]}"#, param: "prompt"),
        .completion("a negative token", #"{"prompt":[-1]}"#, param: "prompt"),
        .completion("a token beyond the vocabulary", #"{"prompt":[288]}"#, param: "prompt"),
        .completion("a token of 2^31", #"{"prompt":[2147483648]}"#, param: "prompt"),
        .completion("a token of 2^63", #"{"prompt":[9223372036854775808]}"#, param: "prompt"),
        .completion("a fractional token", #"{"prompt":[1.5]}"#, param: "prompt"),
        .completion(
            "300 prompts", "{\"prompt\":\(Array(repeating: [5], count: 300))}", param: "prompt"),
        .messages("no messages", "null", param: "messages"),
        .messages("empty messages", "[]", param: "messages"),
        .messages("messages as text", #""hi""#, param: "messages"),
        .messages("a message that is a number", "[3]", param: "messages[0]"),
        .messages("no role", #"[{"content":"a"}]"#, param: "messages[0].role"),
        .messages("a wrong role", #"[{"role":"boss","content":"a"}]"#, param: "messages[0].role"),
        .messages(
            "a number as content", #"[{"role":"user","content":3}]"#, param: "messages[0].content"),
        .messages(
            "an image", #"[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]"#,
            param: "messages[0].content[0].type"),
        .messages(
            "a tool without an id", #"[{"role":"tool","content":"a"}]"#,
            param: "messages[0].tool_call_id"),
        .messages(
            "tool calls as a number", #"[{"role":"assistant","tool_calls":0}]"#,
            param: "messages[0].tool_calls"),
        .messages(
            "tool calls", #"[{"role":"assistant","tool_calls":[{"id":"x"}]}]"#,
            param: "messages[0].tool_calls"),
    ]

    static let parameters: [BadInput] = [
        .chat("an unknown model", #""model":"gpt-9""#, param: "model", status: 404),
        .chat("a model that is a number", #""model":9"#, param: "model"),
        .chat("max_tokens -1", #""max_tokens":-1"#, param: "max_tokens"),
        .chat("max_tokens 0", #""max_tokens":0"#, param: "max_tokens"),
        .chat("max_tokens 2^63", #""max_tokens":9223372036854775808"#, param: "max_tokens"),
        .chat("max_tokens 1e400", #""max_tokens":1e400"#, param: "max_tokens"),
        .chat("max_tokens 1.5", #""max_tokens":1.5"#, param: "max_tokens"),
        .chat("max_tokens as text", #""max_tokens":"9""#, param: "max_tokens"),
        .chat("temperature -1", #""temperature":-1"#, param: "temperature"),
        .chat("temperature 1e9", #""temperature":1e9"#, param: "temperature"),
        .chat("temperature 1e400", #""temperature":1e400"#, param: "temperature"),
        .chat("top_p 0", #""top_p":0"#, param: "top_p"),
        .chat("top_p 2", #""top_p":2"#, param: "top_p"),
        .chat("top_k -5", #""top_k":-5"#, param: "top_k"),
        .chat("min_p 2", #""min_p":2"#, param: "min_p"),
        .chat("repetition_penalty 0", #""repetition_penalty":0"#, param: "repetition_penalty"),
        .chat("presence_penalty 3", #""presence_penalty":3"#, param: "presence_penalty"),
        .chat("frequency_penalty -3", #""frequency_penalty":-3"#, param: "frequency_penalty"),
        .chat("seed 2^63", #""seed":9223372036854775808"#, param: "seed"),
        .chat("n 0", #""n":0"#, param: "n"),
        .chat("n 10^9", #""n":1000000000"#, param: "n"),
        .chat("an empty stop", #""stop":"""#, param: "stop"),
        .chat("stop as a number", #""stop":1"#, param: "stop"),
        .chat("many stops", #""stop":\#(Array(repeating: "a", count: 100_000))"#, param: "stop"),
        .chat("a stop token beyond", #""stop_token_ids":[288]"#, param: "stop_token_ids"),
        .chat(
            "top_logprobs 10^6", #""logprobs":true,"top_logprobs":1000000"#, param: "top_logprobs"),
        .chat("top_logprobs alone", #""top_logprobs":2"#, param: "top_logprobs"),
        .chat("stream as text", #""stream":"yes""#, param: "stream"),
        .chat("stream_options as text", #""stream_options":"yes""#, param: "stream_options"),
        .completion("logprobs -1", #"{"prompt":"a","logprobs":-1}"#, param: "logprobs"),
        .completion("logprobs 99", #"{"prompt":"a","logprobs":99}"#, param: "logprobs"),
        .chat("logit_bias 1e308", #""logit_bias":{"5":1e308}"#, param: "logit_bias"),
        .chat("logit_bias of a word", #""logit_bias":{"five":1}"#, param: "logit_bias"),
        .chat("logit_bias of no token", #""logit_bias":{"288":1}"#, param: "logit_bias"),
        .chat("logit_bias as a list", #""logit_bias":[1]"#, param: "logit_bias"),
        .chat("min_tokens -1", #""min_tokens":-1"#, param: "min_tokens"),
        .chat("min_tokens above max", #""min_tokens":3,"max_tokens":2"#, param: "min_tokens"),
        .chat("prompt_logprobs 21", #""prompt_logprobs":21"#, param: "prompt_logprobs"),
        .chat(
            "prompt_logprobs in a stream", #""prompt_logprobs":0,"stream":true"#,
            param: "prompt_logprobs"),
        .chat(
            "truncate_prompt_tokens 0", #""truncate_prompt_tokens":0"#,
            param: "truncate_prompt_tokens"),
        .chat("one token twice", #""logit_bias":{"5":1,"05":2}"#, param: "logit_bias"),
        .chat(
            "max_tokens beside the other", #""max_completion_tokens":1,"max_tokens":"x""#,
            param: "max_tokens"),
        .completion(
            "negative alternatives of an echo",
            #"{"prompt":"a b","echo":true,"logprobs":1,"max_tokens":1,"prompt_logprobs":-1}"#,
            param: "prompt_logprobs"),
        .completion("echo as text", #"{"prompt":"a","echo":"yes"}"#, param: "echo"),
    ]

    static let unsupported: [BadInput] = [
        .chat("tools", #""tools":[{"type":"function"}]"#, param: "tools"),
        .chat("JSON", #""response_format":{"type":"json_object"}"#, param: "response_format"),
        .chat("bad_words", #""bad_words":["a"]"#, param: "bad_words"),
        .chat("allowed tokens", #""allowed_token_ids":[5]"#, param: "allowed_token_ids"),
        .chat(
            "template arguments", #""chat_template_kwargs":{"tokenize":true}"#,
            param: "chat_template_kwargs"),
        .chat("a template", #""chat_template":"{{ 1 }}""#, param: "chat_template"),
        .chat("no special tokens", #""skip_special_tokens":false"#, param: "skip_special_tokens"),
        .chat("an echo", #""echo":true"#, param: "echo"),
        .completion("best_of", #"{"prompt":"a","best_of":3}"#, param: "best_of"),
        .completion("suffix", #"{"prompt":"a","suffix":"b"}"#, param: "suffix"),
    ]

    @Test(arguments: syntax + prompts + parameters + unsupported)
    func isRefusedWithASentenceAndTheServerGoesOn(input: BadInput) async throws {
        try await TestModel.serve { client in
            let response = try await client.post(input.path, input.body)
            let text = String(buffer: response.body)
            #expect(response.status.code == input.status, "\(text)")
            let error = try JSONValue(parsing: text)["error"]
            let types = [400: "BadRequestError", 404: "NotFoundError", 413: "ContentTooLargeError"]
            #expect(error["type"].string == types[input.status])
            #expect(error["param"].string == input.param)
            #expect(error["message"].string?.hasSuffix(".") == true)
            if isMerelyUnsupported(input) {
                #expect(error["message"].string?.hasSuffix("is not supported yet.") == true)
            }
            let good = try await client.answer("/v1/completions", #"{"prompt":"a","max_tokens":1}"#)
            #expect(good["choices"].list.count == 1)
        }
    }

    private func isMerelyUnsupported(_ input: BadInput) -> Bool {
        Self.unsupported.contains { $0.testDescription == input.testDescription }
    }

    @Test func rawBytesThatAreNotUTF8AreRefused() async throws {
        try await TestModel.serve { client in
            for bytes: [UInt8] in [[0xFF], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xF0, 0x9F]] {
                let body = Array("{\"prompt\":\"".utf8) + bytes + Array("\"}".utf8)
                let response = try await client.execute(
                    uri: "/v1/completions", method: .post, body: ByteBuffer(bytes: body))
                #expect(response.status == .badRequest)
            }
        }
    }

    @Test func anEscapedNULIsACharacterLikeAnother() async throws {
        try await TestModel.serve { client in
            let answer = try await client.answer(
                "/v1/completions", #"{"prompt":"a\u0000b","max_tokens":1,"echo":true}"#)
            #expect(answer["choices"][0]["text"].string?.hasPrefix("a\0b") == true)
        }
    }

    @Test func escapedLoneSurrogatesBecomeReplacementCharacters() async throws {
        try await TestModel.serve { client in
            func text(_ prompt: String) async throws -> JSONValue {
                try await client.answer(
                    "/v1/completions", #"{"prompt":"\#(prompt)","temperature":0}"#)["choices"]
            }
            for (escaped, plain) in [
                (#"a\ud83d b\uDE00"#, "a\u{FFFD} b\u{FFFD}"),
                (#"a\ud83d\ude00 \\ud800"#, #"a😀 \\ud800"#),
            ] {
                let expected = try await text(plain)
                #expect(try await text(escaped) == expected)
            }
        }
    }

    @Test func aPromptBeyondTheContextNamesBothNumbers() async throws {
        try await TestModel.serve { client in
            let long = Array(repeating: 5, count: TestModel.contextLength + 88)
            let short = Array(repeating: 5, count: 12)
            for (prompt, fields) in [(long, ""), (short, ",\"max_tokens\":588")] {
                let response = try await client.post(
                    "/v1/completions", "{\"prompt\":\(prompt)\(fields)}")
                #expect(response.status == .badRequest)
                let error = try JSONValue(parsing: String(buffer: response.body))["error"]
                #expect(error["code"].string == "context_length_exceeded")
                #expect(error["message"].string?.contains("512") == true)
                let given = fields.isEmpty ? "600" : "588"
                #expect(error["message"].string?.contains(given) == true)
            }
        }
    }

    @Test func mutatedBodiesNeverFailTheServer() async throws {
        let seed: UInt64 = 7
        try await TestModel.serve { client in
            var state = seed
            func random(_ count: Int) -> Int {
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                return Int(state >> 33) % count
            }
            let good = Array(
                #"{"messages":[{"role":"user","content":"a\ud83d\ude00"}],"max_tokens":1,"n":1,"stop":["x"],"seed":-3,"logprobs":true}"#
                    .utf8)
            for round in 0..<500 {
                var body = good
                for _ in 0...random(3) {
                    switch random(3) {
                    case 0: body[random(body.count)] = UInt8(random(256))
                    case 1: body.remove(at: random(body.count))
                    default: body.insert(body[random(body.count)], at: random(body.count))
                    }
                }
                let response = try await client.execute(
                    uri: "/v1/chat/completions", method: .post, body: ByteBuffer(bytes: body))
                #expect(response.status.code < 500, "seed \(seed), round \(round)")
            }
        }
    }
}
