import Foundation
import NanoFlow
import Testing

/// Files of conversations: what is read, and what is refused with its line.
@Suite struct DialoguesTests {
    private static func line(_ turns: [(String, String)]) -> String {
        let history = turns.map { #"{"user": "\#($0.0)", "bot": "\#($0.1)"}"# }
        return #"{"id": 1, "history": [\#(history.joined(separator: ", "))]}"#
    }

    private static func read(_ text: String) throws(NanoFlowError) -> Dialogues {
        try Dialogues(Data(text.utf8), name: "d.jsonl")
    }

    @Test func theLongestHistoriesAreKeptInTheFilesOrder() throws {
        let lines = [
            Self.line([("a", "bb"), ("c", "d")]), Self.line([("e", "f")]),
            Self.line([("g", "hhhhh"), ("i", "j")]), Self.line([("k", "lll"), ("m", "n")]),
        ]
        let dialogues = try Self.read(lines.joined(separator: "\n\n") + "\n")
        #expect(dialogues.dialogues.count == 4)
        // A last round is no history: the second dialogue has none.
        #expect(dialogues.longest(2).map { $0[0].question } == ["g", "k"])
        #expect(dialogues.longest(9).map { $0[0].question } == ["a", "e", "g", "k"])
        #expect(dialogues.longest(1)[0].map(\.answer) == ["hhhhh", "j"])
    }

    @Test(arguments: [
        ("", "d.jsonl"), ("\n \n", "d.jsonl"), ("{", "d.jsonl, line 1"),
        (#"{"history": []}"#, "d.jsonl, line 1"),
        (#"{"history": [{"user": "a"}]}"#, "d.jsonl, line 1"),
        (#"{"history": [{"user": "a", "bot": "b"}]}"# + "\n[]", "d.jsonl, line 2"),
        ("\u{0}", "d.jsonl, line 1"),
    ])
    func whatIsNoDialogueIsRefused(text: String, field: String) {
        let error = #expect(throws: NanoFlowError.self) { try Self.read(text) }
        #expect(error?.field == field)
    }

    @Test func tooManyDialoguesAreRefused() {
        let text = String(repeating: "{\n", count: Dialogues.maxDialogueCount + 1)
        let error = #expect(throws: NanoFlowError.self) { try Self.read(text) }
        #expect(error?.field == "d.jsonl")
    }

    @Test func aMissingFileIsNamed() {
        let error = #expect(throws: NanoFlowError.self) {
            try Dialogues(file: "/nowhere/d.jsonl")
        }
        #expect(error?.field == "/nowhere/d.jsonl")
    }
}
