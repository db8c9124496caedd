import Hummingbird
import HummingbirdTesting
import Testing

@Suite struct CompletionTests {
    private let path = "/v1/completions"

    @Test func aCompletionHasTheShapeThatClientsRead() async throws {
        try await TestModel.serve { client in
            let answer = try await client.answer(
                path, #"{"model":"tiny","prompt":"Hello","max_tokens":5,"ignore_eos":true}"#)
            #expect(
                answer.keys == [
                    "id", "object", "created", "model", "system_fingerprint", "choices", "usage",
                    "metrics",
                ])
            #expect(answer["id"].string?.hasPrefix("cmpl-") == true)
            #expect(answer["object"].string == "text_completion")
            #expect(answer["model"].string == "tiny")
            let choice = answer["choices"][0]
            #expect(
                choice.keys == ["index", "text", "logprobs", "finish_reason", "stop_reason"])
            #expect(choice["stop_reason"] == .null)
            let metrics = answer["metrics"]
            let first = try #require(metrics["time_to_first_token_ms"].number)
            #expect(first >= (metrics["queue_time_ms"].number ?? .infinity))
            #expect((metrics["generation_time_ms"].number ?? 0) > 0)
            #expect(choice["finish_reason"].string == "length")
            #expect(choice["logprobs"] == .null)
            let usage = answer["usage"]
            #expect(usage["completion_tokens"].number == 5)
            let prompt = try #require(usage["prompt_tokens"].number)
            #expect(usage["total_tokens"].number == prompt + 5)
            #expect(usage["prompt_tokens_details"]["cached_tokens"].number == 0)
        }
    }

    @Test func usageTellsWhatWasCached() async throws {
        try await TestModel.serve { client in
            let prompt = (0..<150).map { $0 % 200 + 5 }
            func cached(_ more: String) async throws -> Double? {
                let answer = try await client.answer(
                    path, #"{"prompt":\#(prompt),"max_tokens":2,"n":2,"cache_salt":"own"\#(more)}"#)
                return answer["usage"]["prompt_tokens_details"]["cached_tokens"].number
            }
            #expect(try await cached("") == 0)
            #expect(try await cached("") == 128)
            let events = try await client.stream(
                path,
                #"{"prompt":\#(prompt),"max_tokens":2,"cache_salt":"own","stream":true,"#
                    + #""stream_options":{"include_usage":true}}"#)
            let usage = try #require(events.last)["usage"]
            #expect(usage["prompt_tokens_details"]["cached_tokens"].number == 128)
            let other = try await client.answer(
                path, #"{"prompt":\#(prompt),"max_tokens":2,"cache_salt":"another"}"#)
            #expect(other["usage"]["prompt_tokens_details"]["cached_tokens"].number == 0)
            for wrong in [#""cache_salt":5"#, #""priority":101"#, #""priority":"high""#] {
                let refused = try await client.post(path, #"{"prompt":"x",\#(wrong)}"#)
                #expect(refused.status == .badRequest, "\(wrong)")
            }
            let urgent = try await client.answer(
                path, #"{"prompt":\#(prompt),"max_tokens":2,"priority":-3}"#)
            #expect(urgent["usage"]["completion_tokens"].number == 2)
        }
    }

    @Test func theDefaultIsSixteenTokensOrWhatTheContextLeaves() async throws {
        try await TestModel.serve { client in
            let short = try await client.answer(path, #"{"prompt":[5],"ignore_eos":true}"#)
            #expect(short["usage"]["completion_tokens"].number == 16)
            let long = Array(repeating: 5, count: TestModel.contextLength - 3)
            let last = try await client.answer(path, #"{"prompt":\#(long),"ignore_eos":true}"#)
            let count = try #require(last["usage"]["completion_tokens"].number)
            #expect((1...3).contains(count))
        }
    }

    @Test(arguments: [
        (#""Hi""#, 1), (#"["Hi","Ho","Hu"]"#, 3), ("[5,6,7]", 1), ("[[5,6],[7]]", 2),
    ])
    func promptsComeAsTextOrTokensOneOrMany(prompt: String, count: Int) async throws {
        try await TestModel.serve { client in
            let answer = try await client.answer(
                path, #"{"prompt":\#(prompt),"max_tokens":2,"temperature":0,"n":2}"#)
            let choices = answer["choices"].list
            #expect(choices.map { $0["index"].number } == (0..<2 * count).map(Double.init))
        }
    }

    @Test func promptsTogetherGiveWhatEachGivesAlone() async throws {
        try await TestModel.serve { client in
            let fields = #""max_tokens":20,"temperature":0,"ignore_eos":true"#
            let prompts = [[5, 6, 7], [8], [9, 10, 11, 12]]
            let together = try await client.answer(path, #"{"prompt":\#(prompts),\#(fields)}"#)
            for (index, prompt) in prompts.enumerated() {
                let alone = try await client.answer(path, #"{"prompt":\#(prompt),\#(fields)}"#)
                #expect(alone["choices"][0]["text"] == together["choices"][index]["text"])
            }
            let usage = together["usage"]
            #expect(usage["prompt_tokens"].number == 8)
            #expect(usage["completion_tokens"].number == 60)
        }
    }

    @Test func logprobsAreParallelListsStreamedOrWhole() async throws {
        try await TestModel.serve { client in
            let fields = #""prompt":"abc","max_tokens":4,"temperature":0,"logprobs":3"#
            let answer = try await client.answer(path, "{\(fields),\"ignore_eos\":true}")
            let logprobs = answer["choices"][0]["logprobs"]
            #expect(logprobs.keys == ["tokens", "token_logprobs", "top_logprobs", "text_offset"])
            for key in logprobs.keys {
                #expect(logprobs[key].list.count == 4, "\(key)")
            }
            #expect(logprobs["text_offset"][0].number == 0)
            for (token, top) in zip(logprobs["tokens"].list, logprobs["top_logprobs"].list) {
                #expect(top.keys.contains(try #require(token.string)))
                #expect((1...4).contains(top.keys.count))
            }
            let events = try await client.stream(
                path, "{\(fields),\"ignore_eos\":true,\"stream\":true}")
            for key in logprobs.keys {
                let streamed = events.flatMap { $0["choices"][0]["logprobs"][key].list }
                #expect(streamed == logprobs[key].list, "\(key)")
            }
        }
    }

    @Test func specialTokensAloneAreAPrompt() async throws {
        try await TestModel.serve { client in
            let answer = try await client.answer(
                "/v1/completions",
                #"{"prompt":"<|im_end|><|endoftext|>","max_tokens":3,"ignore_eos":true}"#)
            #expect(answer["usage"]["prompt_tokens"].number == 2)
            #expect(answer["usage"]["completion_tokens"].number == 3)
        }
    }

    @Test func aSeedRepeatsAndDistinguishesChoices() async throws {
        try await TestModel.serve { client in
            func texts(_ seed: Int64, n: Int) async throws -> [JSONValue] {
                let body = """
                    {"prompt":"abc","max_tokens":24,"seed":\(seed),"n":\(n),"ignore_eos":true}
                    """
                return try await client.answer(path, body)["choices"].list.map { $0["text"] }
            }
            for seed in [0, -1, Int64.min, Int64.max] {
                let three = try await texts(seed, n: 3)
                #expect(try await texts(seed, n: 3) == three)
                #expect(try await texts(seed, n: 1) == [three[0]])
                #expect(Set(three).count == 3)
            }
        }
    }

    @Test func aStopTokenEndsTheCompletion() async throws {
        try await TestModel.serve { client in
            let all = Array(0..<16)
            let answer = try await client.answer(
                path,
                #"{"prompt":"abc","max_tokens":200,"seed":1,"stop_token_ids":\#(all)}"#)
            #expect(answer["choices"][0]["finish_reason"].string != nil)
        }
    }

    @Test func explicitNullsAndUnknownFieldsAreAccepted() async throws {
        let nulls = [
            "model", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k",
            "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty", "seed", "stop",
            "stop_token_ids", "ignore_eos", "n", "stream", "stream_options", "logprobs", "user",
            "echo", "suffix", "best_of", "logit_bias", "tools", "tool_choice", "response_format",
            "prompt_logprobs", "min_tokens", "chat_template",
        ].map { "\"\($0)\":null" }.joined(separator: ",")
        let neutral = """
            "user":"u","metadata":{"a":"b"},"store":true,"service_tier":"auto","echo":false,
            "suffix":"","best_of":1,"logit_bias":{},"tools":[],"tool_choice":"auto",
            "response_format":{"type":"text"},"min_tokens":0,"length_penalty":1.0,
            "skip_special_tokens":true,"repetition_penalty":1.0,"never_heard_of":{"x":[1e400]}
            """
        try await TestModel.serve { client in
            for fields in [nulls, neutral, #""tools":[{}],"tool_choice":"none""#] {
                let answer = try await client.answer(path, "{\"prompt\":\"abc\",\(fields)}")
                #expect(answer["choices"].list.count == 1)
            }
        }
    }
}
