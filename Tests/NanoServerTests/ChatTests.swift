import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Testing

@Suite struct ChatTests {
    private let path = "/v1/chat/completions"
    private let hello = #""messages":[{"role":"user","content":"Hello"}]"#

    @Test func anAnswerHasTheShapeThatClientsRead() async throws {
        try await TestModel.serve { client in
            let answer = try await client.answer(path, "{\(hello),\"max_tokens\":4}")
            #expect(answer["id"].string?.hasPrefix("chatcmpl-") == true)
            #expect(answer["object"].string == "chat.completion")
            let choice = answer["choices"][0]
            #expect(
                choice.keys == ["index", "message", "logprobs", "finish_reason", "stop_reason"])
            #expect(choice["message"].keys == ["role", "content", "refusal"])
            #expect(choice["message"]["role"].string == "assistant")
            #expect(choice["message"]["content"].string != nil)
        }
    }

    @Test func contentIsTextPartsOrNullAndDevelopersAreTheSystem() async throws {
        try await TestModel.serve { client in
            func answer(_ messages: String) async throws -> JSONValue {
                let fields = #""temperature":0,"max_completion_tokens":16"#
                let body = "{\"messages\":[\(messages)],\(fields)}"
                return try await client.answer(path, body)["choices"][0]["message"]["content"]
            }
            let text = try await answer(#"{"role":"user","content":"Hello"}"#)
            let part = #"{"type":"text","text":"#
            #expect(
                try await answer(#"{"role":"user","content":[\#(part)"He"},\#(part)"llo"}]}"#)
                    == text)
            let ask = #",{"role":"user","content":"Hello"}"#
            for (one, other) in [
                (#"{"role":"developer","content":"x"}"#, #"{"role":"system","content":"x"}"#),
                (#"{"role":"assistant","content":null}"#, #"{"role":"assistant","content":""}"#),
            ] {
                let expected = try await answer(other + ask)
                #expect(try await answer(one + ask) == expected)
            }
            _ = try await answer(#"{"role":"tool","tool_call_id":"x","content":"4"}"# + ask)
        }
    }

    @Test func withoutALimitAnAnswerMayFillTheContext() async throws {
        try await TestModel.serve { client in
            let answer = try await client.answer(path, "{\(hello),\"ignore_eos\":true}")
            #expect(answer["choices"][0]["finish_reason"].string == "length")
            let total = try #require(answer["usage"]["total_tokens"].number)
            #expect(
                (Double(TestModel.contextLength) - 1...Double(TestModel.contextLength)) ~= total)
        }
    }

    @Test func aStreamIsTheWholeAnswerInPieces() async throws {
        try await TestModel.serve { client in
            let fields = "\(hello),\"temperature\":0,\"max_tokens\":40,\"n\":2"
            let whole = try await client.answer(path, "{\(fields)}")
            let events = try await client.stream(
                path, "{\(fields),\"stream\":true,\"stream_options\":{\"include_usage\":true}}")
            #expect(Set(events.map { $0["id"] }).count == 1)
            #expect(events.allSatisfy { $0["object"].string == "chat.completion.chunk" })
            for choice in 0..<2 {
                let parts = events.map { $0["choices"][0] }
                    .filter { $0["index"].number == Double(choice) }
                #expect(parts.first?["delta"]["role"].string == "assistant")
                #expect(parts.first?["delta"]["content"].string == "")
                #expect(parts.dropFirst().allSatisfy { $0["delta"]["role"] == .null })
                let reasons = parts.map { $0["finish_reason"] }
                #expect(reasons.last == whole["choices"][choice]["finish_reason"])
                #expect(reasons.dropLast().allSatisfy { $0 == .null })
                let content = whole["choices"][choice]["message"]["content"].string
                #expect(text(events, choice: Double(choice)) == content)
            }
            #expect(events.last?["choices"] == .list([]))
            #expect(events.last?["usage"] == whole["usage"])
            #expect(events.dropLast().allSatisfy { $0["usage"] == .null })
        }
    }

    @Test func continuousUsageCountsUpInEveryChunk() async throws {
        try await TestModel.serve { client in
            let options = #"{"include_usage":true,"continuous_usage_stats":true}"#
            let events = try await client.stream(
                path,
                """
                {\(hello),"max_tokens":8,"ignore_eos":true,"stream":true,"stream_options":\(options)}
                """)
            let counts = events.dropFirst().compactMap { $0["usage"]["completion_tokens"].number }
            #expect(counts.count == events.count - 1)
            #expect(counts == counts.sorted())
            #expect(counts.last == 8)
        }
    }

    @Test func logprobsGoWithTheirTokensStreamedOrWhole() async throws {
        try await TestModel.serve { client in
            let fields = """
                \(hello),"temperature":0,"max_tokens":5,"ignore_eos":true,"logprobs":true,
                "top_logprobs":2
                """
            let whole = try await client.answer(path, "{\(fields)}")
            let entries = whole["choices"][0]["logprobs"]["content"].list
            #expect(entries.count == 5)
            for entry in entries {
                #expect(entry.keys == ["token", "logprob", "bytes", "top_logprobs"])
                #expect(entry["top_logprobs"].list.count == 2)
                // Greedy: the token is the most likely one.
                #expect(entry["top_logprobs"][0]["logprob"] == entry["logprob"])
            }
            let events = try await client.stream(path, "{\(fields),\"stream\":true}")
            let streamed = events.flatMap { $0["choices"][0]["logprobs"]["content"].list }
            #expect(streamed == entries)
        }
    }

    @Test func aStreamIsAnnouncedAsOne() async throws {
        try await TestModel.serve { client in
            let response = try await client.post(path, "{\(hello),\"stream\":true}")
            #expect(response.headers[.contentType]?.hasPrefix("text/event-stream") == true)
            #expect(response.headers[.cacheControl] == "no-cache")
        }
    }

    @Test func jsonIsTakenUnderItsNamesAndUnderNone() async throws {
        try await TestModel.serve { client in
            for type in [
                "application/json", "Application/JSON; charset=utf-8", "application/ld+json", "",
                "text/plain", "application/x-www-form-urlencoded",
            ] {
                let response = try await client.post(
                    path, "{\(hello),\"max_tokens\":1}", headers: [.contentType: type])
                #expect(response.status == .ok, "\(type)")
            }
            for type in ["application/xml", "multipart/form-data; boundary=x", "image/png"] {
                let response = try await client.post(
                    path, "{\(hello),\"max_tokens\":1}", headers: [.contentType: type])
                #expect(response.status == .unsupportedMediaType, "\(type)")
            }
        }
    }
}
