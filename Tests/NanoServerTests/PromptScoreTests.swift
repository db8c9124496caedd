import Hummingbird
import HummingbirdTesting
import Testing

/// The prompt's log-probabilities, its echo and its ids.
@Suite struct PromptScoreTests {
    private let path = "/v1/completions"
    private static let prompt = [5, 6, 7, 8, 9, 10]

    @Test func anEchoWithLogprobsScoresPromptAndCompletion() async throws {
        try await TestModel.serve { client in
            let fields = #""prompt":\#(Self.prompt),"temperature":0,"logprobs":2,"ignore_eos":true"#
            let answer = try await client.answer(path, "{\(fields),\"max_tokens\":3,\"echo\":true}")
            let logprobs = answer["choices"][0]["logprobs"]
            for key in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
                #expect(logprobs[key].list.count == 9, "\(key)")
            }
            #expect(logprobs["token_logprobs"][0] == .null)
            #expect(logprobs["top_logprobs"][0] == .null)
            #expect(logprobs["token_logprobs"].list.dropFirst().allSatisfy { $0.number != nil })
            // What follows is what follows without an echo, to the bit.
            let plain = try await client.answer(path, "{\(fields),\"max_tokens\":3}")
            let rest = plain["choices"][0]["logprobs"]["token_logprobs"].list
            #expect(Array(logprobs["token_logprobs"].list.suffix(3)) == rest)
            // A token of the prompt is as likely as it is where it is sampled.
            let forced = try await client.answer(
                path,
                #"{"prompt":[5,6,7,8,9],"max_tokens":1,"temperature":0,"logprobs":1,"#
                    + #""logit_bias":{"10":100}}"#)
            let sampled = forced["choices"][0]["logprobs"]["token_logprobs"][0]
            #expect(sampled == logprobs["token_logprobs"][5])
            // Streamed, the prompt comes first.
            let events = try await client.stream(
                path, "{\(fields),\"max_tokens\":3,\"echo\":true,\"stream\":true}")
            for key in ["tokens", "token_logprobs", "text_offset"] {
                let streamed = events.flatMap { $0["choices"][0]["logprobs"][key].list }
                #expect(streamed == logprobs[key].list, "\(key)")
            }
            let text = events.compactMap { $0["choices"][0]["text"].string }.joined()
            #expect(text == answer["choices"][0]["text"].string)
        }
    }

    @Test func aPromptAloneIsScoredWithNoTokens() async throws {
        try await TestModel.serve { client in
            let answer = try await client.answer(
                path, #"{"prompt":\#(Self.prompt),"max_tokens":0,"echo":true,"logprobs":0}"#)
            let choice = answer["choices"][0]
            #expect(choice["logprobs"]["tokens"].list.count == 6)
            #expect(choice["finish_reason"].string == "length")
            #expect(answer["usage"]["completion_tokens"].number == 0)
        }
    }

    @Test func anEchoStandsBeforeTheCompletion() async throws {
        try await TestModel.serve { client in
            let fields = #""prompt":"ab c","temperature":0,"max_tokens":4,"ignore_eos":true"#
            let plain = try await client.answer(path, "{\(fields)}")
            let echoed = try await client.answer(path, "{\(fields),\"echo\":true}")
            let text = try #require(plain["choices"][0]["text"].string)
            #expect(echoed["choices"][0]["text"].string == "ab c" + text)
            let events = try await client.stream(
                path, "{\(fields),\"echo\":true,\"stream\":true}")
            #expect(events.first?["choices"][0]["text"].string == "ab c")
            let streamed = events.compactMap { $0["choices"][0]["text"].string }.joined()
            #expect(streamed == "ab c" + text)
        }
    }

    @Test func promptLogprobsHaveRanks() async throws {
        try await TestModel.serve { client in
            let answer = try await client.answer(
                path, #"{"prompt":\#(Self.prompt),"max_tokens":1,"prompt_logprobs":2}"#)
            let entries = answer["choices"][0]["prompt_logprobs"].list
            #expect(entries.count == 6)
            #expect(entries[0] == .null)
            for (token, entry) in zip(Self.prompt, entries).dropFirst() {
                let own = entry["\(token)"]
                let rank = try #require(own["rank"].number)
                #expect(entry.keys.count == (rank <= 2 ? 2 : 3))
                #expect(own["decoded_token"].string != nil)
                #expect(entry.keys.contains { entry[$0]["rank"].number == 1 })
            }
            let chat = try await client.answer(
                "/v1/chat/completions",
                #"{"messages":[{"role":"user","content":"Hi"}],"max_tokens":1,"prompt_logprobs":0}"#
            )
            let count = try #require(chat["usage"]["prompt_tokens"].number)
            #expect(chat["prompt_logprobs"].list.count == Int(count))
        }
    }

    @Test func tokenIDsAreGivenWhereAsked() async throws {
        try await TestModel.serve { client in
            let fields =
                #""prompt":\#(Self.prompt),"temperature":0,"max_tokens":3,"ignore_eos":true,"#
                + #""return_token_ids":true"#
            let answer = try await client.answer(path, "{\(fields)}")
            let choice = answer["choices"][0]
            #expect(
                choice["prompt_token_ids"].list.compactMap(\.number) == Self.prompt.map(Double.init)
            )
            #expect(choice["token_ids"].list.count == 3)
            let events = try await client.stream(path, "{\(fields),\"stream\":true}")
            let streamed = events.flatMap { $0["choices"][0]["token_ids"].list }
            #expect(streamed == choice["token_ids"].list)
        }
    }

    @Test func aPromptIsCutFromItsBeginning() async throws {
        try await TestModel.serve { client in
            func ids(_ fields: String) async throws -> [Double] {
                let answer = try await client.answer(
                    path, #"{"max_tokens":1,"return_token_ids":true,\#(fields)}"#)
                return answer["choices"][0]["prompt_token_ids"].list.compactMap(\.number)
            }
            let prompt = #""prompt":\#(Self.prompt)"#
            #expect(try await ids(prompt + #","truncate_prompt_tokens":2"#) == [9, 10])
            #expect(try await ids(prompt + #","truncate_prompt_tokens":99"#).count == 6)
            let long = #""prompt":\#(Array(repeating: 5, count: 2000))"#
            let kept = try await ids(long + #","truncate_prompt_tokens":-1"#)
            #expect(kept.count == TestModel.contextLength - 1)
        }
    }

    @Test func endsAndBiases() async throws {
        try await TestModel.serve { client in
            func answer(_ fields: String) async throws -> JSONValue {
                try await client.answer(
                    path, #"{"prompt":[5,6],"temperature":0,"return_token_ids":true,\#(fields)}"#)
            }
            let biased = try await answer(
                #""max_tokens":4,"logit_bias":{"77":100},"ignore_eos":true"#)
            let ids = biased["choices"][0]["token_ids"].list.compactMap(\.number)
            #expect(ids == [77, 77, 77, 77])
            // The stop token is ruled out until there are three tokens.
            let stopped = try await answer(
                #""max_tokens":9,"logit_bias":{"77":100},"stop_token_ids":[77],"min_tokens":3"#)
            let kept = stopped["choices"][0]["token_ids"].list.compactMap(\.number)
            #expect(kept.count == 4 && kept.last == 77 && !kept.dropLast().contains(77))
            #expect(stopped["choices"][0]["stop_reason"].number == 77)
            #expect(stopped["choices"][0]["finish_reason"].string == "stop")
        }
    }

    @Test func aStopStringIsPartOfTheTextWhereAsked() async throws {
        try await TestModel.serve { client in
            func answer(_ more: String) async throws -> JSONValue {
                let answer = try await client.answer(
                    path,
                    #"{"prompt":[5,6],"temperature":0,"max_tokens":9,"stop":["b"],"#
                        + #""logit_bias":{"\#(Self.letter)":100}\#(more)}"#)
                return answer["choices"][0]
            }
            let cut = try await answer("")
            #expect(cut["text"].string == "")
            #expect(cut["stop_reason"].string == "b")
            let whole = try await answer(#","include_stop_str_in_output":true"#)
            #expect(whole["text"].string == "b")
            let late = try await answer(#","min_tokens":3"#)
            #expect(late["text"].string == "bbb")
        }
    }

    /// The token whose text is "b" in the tiny model.
    private static let letter = 68
}
