import NanoFlow

/// A key of a JSON object, whatever it is called.
struct JSONField: CodingKey, ExpressibleByStringLiteral {
    let stringValue: String
    var intValue: Int? { nil }

    init(stringValue: String) {
        self.stringValue = stringValue
    }

    init?(intValue: Int) {
        nil
    }

    init(stringLiteral value: String) {
        stringValue = value
    }
}

/// What stands at a place in a JSON text, as much of it as an error message needs.
enum JSONShape: Decodable, Hashable, CustomStringConvertible {
    case null
    case bool(Bool)
    case number(Double)
    case string(isEmpty: Bool)
    case list(isEmpty: Bool)
    case object(isEmpty: Bool)
    case unreadable

    init(from decoder: any Decoder) throws {
        if let list = try? decoder.unkeyedContainer() {
            self = .list(isEmpty: list.isAtEnd)
        } else if let object = try? decoder.container(keyedBy: JSONField.self) {
            self = .object(isEmpty: object.allKeys.isEmpty)
        } else {
            let value = try decoder.singleValueContainer()
            if value.decodeNil() {
                self = .null
            } else if let bool = try? value.decode(Bool.self) {
                self = .bool(bool)
            } else if let number = try? value.decode(Double.self) {
                self = .number(number)
            } else if let string = try? value.decode(String.self) {
                self = .string(isEmpty: string.isEmpty)
            } else {
                self = .unreadable
            }
        }
    }

    var description: String {
        switch self {
        case .null: "null"
        case .bool(let value): "\(value)"
        case .number(let value): Int(exactly: value).map(String.init) ?? "\(value)"
        case .string: "a string"
        case .list: "a list"
        case .object: "an object"
        case .unreadable: "a number out of range"
        }
    }
}

/// An object of a request, with its place in it for error messages.
struct JSONObject {
    let container: KeyedDecodingContainer<JSONField>
    let path: String

    init(_ decoder: any Decoder) throws {
        path = decoder.codingPath.reduce("") { path, key in
            if let index = key.intValue { return path + "[\(index)]" }
            return path.isEmpty ? key.stringValue : path + "." + key.stringValue
        }
        let container = try? decoder.container(keyedBy: JSONField.self)
        guard let container else {
            let given = try JSONShape(from: decoder)
            throw NanoFlowError(
                .invalidRequest, field: path.isEmpty ? "body" : path, limit: "an object",
                given: "\(given)")
        }
        self.container = container
    }

    /// The field's place, as error messages spell it.
    func name(_ field: JSONField) -> String {
        path.isEmpty ? field.stringValue : "\(path).\(field.stringValue)"
    }

    /// What stands in the field; `.null` where it is absent.
    func shape(_ field: JSONField) -> JSONShape {
        (try? container.decodeIfPresent(JSONShape.self, forKey: field)) ?? .null
    }

    /// The field's value; nil where it is absent or null.
    ///
    /// - Throws: ``NanoFlowError`` that says what was `expected` where it is something else.
    func value<Value: Decodable>(_ field: JSONField, _ expected: String) throws -> Value? {
        do {
            return try container.decodeIfPresent(Value.self, forKey: field)
        } catch let error where !(error is NanoFlowError || error is RequestError) {
            // Foundation's own error for a number that does not fit is not a DecodingError.
            throw NanoFlowError(
                .invalidRequest, field: name(field), limit: expected, given: "\(shape(field))")
        }
    }

    func integer(_ field: JSONField) throws -> Int? {
        try value(field, "an integer")
    }

    func number(_ field: JSONField) throws -> Double? {
        try value(field, "a finite number")
    }

    func flag(_ field: JSONField) throws -> Bool {
        try value(field, "true or false") ?? false
    }
}
