import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Testing

/// JSON as the tests read it; what is not there is null.
enum JSONValue: Decodable, Hashable {
    case null
    case bool(Bool)
    case number(Double)
    case string(String)
    case list([JSONValue])
    case object([String: JSONValue])

    init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer()
        if value.decodeNil() {
            self = .null
        } else if let bool = try? value.decode(Bool.self) {
            self = .bool(bool)
        } else if let number = try? value.decode(Double.self) {
            self = .number(number)
        } else if let string = try? value.decode(String.self) {
            self = .string(string)
        } else if let list = try? value.decode([JSONValue].self) {
            self = .list(list)
        } else {
            self = .object(try value.decode([String: JSONValue].self))
        }
    }

    init(parsing text: some StringProtocol) throws {
        self = try JSONDecoder().decode(JSONValue.self, from: Data(text.utf8))
    }

    subscript(key: String) -> JSONValue {
        if case .object(let members) = self { members[key] ?? .null } else { .null }
    }

    subscript(index: Int) -> JSONValue {
        list.indices.contains(index) ? list[index] : .null
    }

    var list: [JSONValue] {
        if case .list(let values) = self { values } else { [] }
    }

    var keys: Set<String> {
        if case .object(let members) = self { Set(members.keys) } else { [] }
    }

    var string: String? {
        if case .string(let value) = self { value } else { nil }
    }

    var number: Double? {
        if case .number(let value) = self { value } else { nil }
    }
}

/// The events of a stream; the last must be `[DONE]` and is left out.
func events(_ body: String) throws -> [JSONValue] {
    var blocks = body.components(separatedBy: "\n\n")
    try #require(blocks.popLast() == "")
    try #require(blocks.popLast() == "data: [DONE]")
    return try blocks.map { block in
        try #require(block.hasPrefix("data: "))
        return try JSONValue(parsing: block.dropFirst("data: ".count))
    }
}

/// The texts of a stream's choice, joined; of chat or completion.
func text(_ events: [JSONValue], choice: Double = 0) -> String {
    let choices = events.flatMap { $0["choices"].list }.filter { $0["index"].number == choice }
    return choices.map { $0["delta"]["content"].string ?? $0["text"].string ?? "" }.joined()
}

extension TestClientProtocol {
    func post(
        _ path: String, _ body: String, headers: HTTPFields = [:]
    ) async throws -> TestResponse {
        try await execute(
            uri: path, method: .post, headers: headers, body: ByteBuffer(string: body))
    }

    /// The answer to a request that must succeed.
    func answer(_ path: String, _ body: String) async throws -> JSONValue {
        let response = try await post(path, body)
        let text = String(buffer: response.body)
        try #require(response.status == .ok, "\(text)")
        return try JSONValue(parsing: text)
    }

    /// The events of a stream that must succeed.
    func stream(_ path: String, _ body: String) async throws -> [JSONValue] {
        let response = try await post(path, body)
        let text = String(buffer: response.body)
        try #require(response.status == .ok, "\(text)")
        return try events(text)
    }
}
