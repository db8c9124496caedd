import NanoClient
import Testing

/// What is measured of a stream: times by text, tokens by usage.
@Suite struct StreamedAnswerTests {
    private static func chunk(
        _ text: String, finish: String = "null", usage: String = "null"
    )
        -> String
    {
        """
        {"id": "c", "choices": [{"index": 0, "text": "\(text)", "finish_reason": \(finish)}],
        "usage": \(usage)}
        """
    }

    private static func usage(_ prompt: Int, _ completion: Int) -> String {
        "{\"prompt_tokens\": \(prompt), \"completion_tokens\": \(completion), \"total_tokens\": 0}"
    }

    private static func measure(_ events: [(Double, String)]) throws -> MeasuredCompletion {
        var answer = StreamedAnswer()
        for (time, event) in events { try answer.add(Array(event.utf8), at: time) }
        return try answer.measured(sent: 1)
    }

    @Test func chunksWithoutTextOrWithManyTokens() throws {
        let measured = try Self.measure([
            (1.5, Self.chunk("")), (2, Self.chunk("a")), (2.5, Self.chunk("b c d")),
            (3, Self.chunk("", finish: "\"length\"")),
            (4, "{\"choices\": [], \"usage\": \(Self.usage(7, 5))}"), (5, "[DONE]"),
        ])
        #expect(
            measured
                == MeasuredCompletion(
                    sent: 1, textTimes: [2, 2.5], end: 3, promptTokens: 7, completionTokens: 5))
    }

    @Test func theLastOfContinuousUsageCounts() throws {
        let measured = try Self.measure([
            (2, Self.chunk("a", usage: Self.usage(7, 1))),
            (3, Self.chunk("b", finish: "\"stop\"", usage: Self.usage(7, 4))),
        ])
        #expect(measured.completionTokens == 4)
        #expect(measured.end == 3)
    }

    @Test(arguments: [
        (["{\"error\": {\"message\": \"engine stopped\"}}"], "engine stopped"),
        (["{\"error\": \"engine stopped\"}"], "engine stopped"),
        (["{\"object\": \"error\", \"message\": \"too long\"}"], "too long"),
        (["{}"], "no completion"), (["<html>"], "no completion"), (["[1]"], "no completion"),
        ([], "ended before"), ([chunk("a")], "ended before"), (["[DONE]"], "ended before"),
        ([chunk("a", finish: "\"stop\"")], "no usage"),
        ([chunk("", finish: "\"stop\"", usage: usage(7, 0))], "no tokens"),
        ([chunk("", finish: "\"stop\"", usage: "{\"prompt_tokens\": 7}")], "no tokens"),
    ])
    func whatIsWrongIsSaid(events: [String], reason: String) {
        let failure = #expect(throws: RequestFailure.self) {
            try Self.measure(events.map { (2, $0) })
        }
        #expect(failure?.description.contains(reason) == true, "\(failure as Any)")
    }
}
