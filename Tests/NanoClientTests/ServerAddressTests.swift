import Foundation
import NanoClient
import NanoFlow
import Testing

/// Where requests go, and what they say.
@Suite struct ServerAddressTests {
    @Test(arguments: [
        "http://127.0.0.1:8000", "http://127.0.0.1:8000/", "http://127.0.0.1:8000/v1",
        "http://127.0.0.1:8000/v1/",
    ])
    func oneServerWrittenInFourWays(text: String) throws {
        #expect(try ServerAddress(text).base == "http://127.0.0.1:8000")
    }

    @Test func aPathBeforeTheRoutesIsKept() throws {
        #expect(try ServerAddress("https://host/a/v1").base == "https://host/a")
    }

    @Test(arguments: [
        "", "127.0.0.1:8000", "ftp://host", "http://", "http://host?a=b", "http://a:b@host",
        "http://host:port",
    ])
    func whatIsNoAddress(text: String) {
        #expect(throws: NanoFlowError.self) { try ServerAddress(text) }
    }

    @Test func aBodyAsksForAnExactLength() throws {
        let prompt = OnlinePrompt.tokens([5, 6])
        let whole = CompletionBody(model: "m\"", vocabulary: 0..<10, omitting: [])
        #expect(
            String(decoding: try whole.json(prompt, outputLength: 3), as: UTF8.self)
                == #"{"ignore_eos":true,"max_tokens":3,"min_tokens":3,"model":"m\"","prompt":[5,6],"#
                + #""stream":true,"stream_options":{"include_usage":true},"temperature":0}"#)
        let plain = CompletionBody(
            model: "m", vocabulary: 0..<10, omitting: [.ignoreEOS, .minTokens])
        #expect(
            String(decoding: try plain.json(.text("hi"), outputLength: 3), as: UTF8.self)
                == #"{"max_tokens":3,"model":"m","prompt":"hi","stream":true,"#
                + #""stream_options":{"include_usage":true},"temperature":0}"#)
    }
}
