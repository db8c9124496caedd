import Foundation
import NanoOptions
import Testing

@Suite struct ConfigurationFileTests {
    private static func entries(_ text: String) throws -> [ConfigurationFile.Entry] {
        try ConfigurationFile(path: "f.yaml", bytes: Array(text.utf8)).entries
    }

    @Test func valuesAndListsAreReadAsTheyAreWritten() throws {
        let entries = try Self.entries(
            """
            # The model.
            model: "/models/a b.gguf"
            port: 0080   # not 80
            kv-disk-size: 8G
            served-model-name: no
            api-key:
              - first
              - 'second: #2'
            """)
        #expect(
            entries.map(\.key) == ["model", "port", "kv-disk-size", "served-model-name", "api-key"])
        #expect(
            entries.map(\.values) == [
                ["/models/a b.gguf"], ["0080"], ["8G"], ["no"], ["first", "second: #2"],
            ])
        #expect(entries.map(\.line) == [2, 3, 4, 5, 6])
    }

    @Test func jsonIsRead() throws {
        let entries = try Self.entries(#"{"port": 8000, "api-key": ["a", "b"], "auto-tune": true}"#)
        #expect(entries.map(\.values) == [["8000"], ["a", "b"], ["true"]])
    }

    @Test(arguments: ["", "# port: 8000\n", "---\n{}\n", "\n\n"])
    func aFileMaySayNothing(_ text: String) throws {
        #expect(try Self.entries(text).isEmpty)
    }

    @Test(arguments: [
        (
            "port: 1\nport: 2",
            "f.yaml, line 2: port must be there once. Given: a second time, after line 1."
        ),
        ("port:", "f.yaml, line 1: port must be a value or a list of values. Given: nothing."),
        (
            "a: 1\nport: ~",
            "f.yaml, line 2: port must be a value or a list of values. Given: nothing."
        ),
        (
            "port: {a: 1}",
            "f.yaml, line 1: port must be a value or a list of values. Given: a mapping."
        ),
        (
            "k: [a, [b]]",
            "f.yaml, line 1: k must be a list of values. Given: a list with something else in it."
        ),
        (
            "k:\n- a\n-",
            "f.yaml, line 3: k must be a list of values. Given: a list with something else in it."
        ),
        ("a: &x 1\nb: *x", "f.yaml, line 2: b must be written out. Given: an alias."),
        (
            "- port",
            "f.yaml, line 1: the file must be a mapping, such as port: 8000. Given: something else."
        ),
        (
            "port",
            "f.yaml, line 1: the file must be a mapping, such as port: 8000. Given: something else."
        ),
        ("[a]: 1", "f.yaml, line 1: the key must be a word. Given: something else."),
        ("a: 1\n---\na: 2", "f.yaml, line 2: the file must be one document. Given: a second one."),
        (
            "a: 1\nb: [1\nc: 2",
            "f.yaml, line 3: the text must be YAML. Given: did not find expected ',' or ']'."
        ),
        (
            "a: 1\n\tb: 2",
            "f.yaml, line 2: the text must be YAML. Given: found a tab character that violates indentation."
        ),
    ])
    func whatIsNoConfigurationIsRefusedWithItsLine(_ text: String, _ message: String) {
        #expect { try Self.entries(text) } throws: { "\($0)" == message }
    }

    @Test func damagedFilesAreRefused() {
        let texts: [[UInt8]] = [
            [0x61, 0x3A, 0x20, 0xFF], [0x61, 0x3A, 0x20, 0x00], [0x61, 0x3A, 0x20, 0xC3],
            Array(repeating: UInt8(ascii: "["), count: 1 << 20),
            Array(repeating: UInt8(ascii: "{"), count: 1 << 20),
        ]
        for bytes in texts {
            #expect(throws: ConfigurationError.self) {
                try ConfigurationFile(path: "f.yaml", bytes: bytes)
            }
        }
    }

    @Test func anyCutOrChangedByteIsReadOrRefused() {
        let text = Array("a: [1, 'x']\nb: \"q\\n\"\n# c\nd: |\n  e\n&f g: *f\n".utf8)
        var generator = Generator(state: 7)
        for count in 0...text.count {
            _ = try? ConfigurationFile(path: "f.yaml", bytes: Array(text[..<count]))
        }
        for _ in 0..<2000 {
            var changed = text
            for _ in 0..<3 {
                changed[Int.random(in: text.indices, using: &generator)] = .random(
                    in: .min ... .max, using: &generator)
            }
            _ = try? ConfigurationFile(path: "f.yaml", bytes: changed)
        }
    }

    @Test func filesThatCannotBeReadAreNamed() throws {
        try TemporaryFolder.use { folder in
            let path = folder + "/f.yaml"
            #expect { try ConfigurationFile(path: path) } throws: {
                "\($0)" == "\(path): the file must be readable. Given: No such file or directory."
            }
            #expect { try ConfigurationFile(path: folder) } throws: {
                "\($0)" == "\(folder): the file must be readable. Given: Is a directory."
            }
            try Data(count: ConfigurationFile.maxByteCount + 1).write(
                to: URL(fileURLWithPath: path))
            #expect { try ConfigurationFile(path: path) } throws: {
                "\($0)" == "\(path): the file must be at most 1048576 bytes long. Given: more."
            }
        }
    }
}
