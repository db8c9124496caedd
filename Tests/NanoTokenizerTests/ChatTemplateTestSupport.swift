import Foundation
import NanoTokenizer

/// What Python's jinja2 made of templates; Scripts/make_chat_template_goldens.py writes it.
struct ChatTemplateGoldens: Decodable {
    struct Rendering: Decodable {
        let template: String
        let conversation: String
        let text: String?
        let raised: String?
        let error: String?
    }

    struct Expression: Decodable {
        let source: String
        let text: String?
        let raised: String?
        let error: String?
    }

    let conversations: [String: TaggedValue]
    let expressionVariables: TaggedValue
    let renderings: [Rendering]
    let expressions: [Expression]

    static let fixtures = URL(filePath: #filePath).deletingLastPathComponent()
        .appending(path: "Fixtures")

    static func load() throws -> ChatTemplateGoldens {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let data = try Data(contentsOf: fixtures.appending(path: "chat_templates.json"))
        return try decoder.decode(ChatTemplateGoldens.self, from: data)
    }

    /// The source of every committed template, by name.
    static func sources() throws -> [String: String] {
        let folder = fixtures.appending(path: "chat_templates")
        let files = try FileManager.default.contentsOfDirectory(
            at: folder, includingPropertiesForKeys: nil)
        var sources: [String: String] = [:]
        for file in files where file.pathExtension == "jinja" {
            sources[file.deletingPathExtension().lastPathComponent] = try String(
                contentsOf: file, encoding: .utf8)
        }
        return sources
    }
}

/// JSON whose dictionaries are lists, since JSONDecoder forgets the order of keys:
/// `["dict", [key, value], ...]`, `["list", value, ...]` and `["float", number]`.
struct TaggedValue: Decodable {
    let value: TemplateValue

    init(from decoder: any Decoder) throws {
        if var items = try? decoder.unkeyedContainer() {
            value = try Self.decode(&items)
            return
        }
        let scalar = try decoder.singleValueContainer()
        if scalar.decodeNil() {
            value = .none
        } else if let boolean = try? scalar.decode(Bool.self) {
            value = .boolean(boolean)
        } else if let integer = try? scalar.decode(Int.self) {
            value = .integer(integer)
        } else {
            value = .string(try scalar.decode(String.self))
        }
    }

    private static func decode(
        _ items: inout any UnkeyedDecodingContainer
    ) throws -> TemplateValue {
        let tag = try items.decode(String.self)
        if tag == "float" { return .number(try items.decode(Double.self)) }
        var values: [TemplateValue] = []
        var entries: [TemplateEntry] = []
        while !items.isAtEnd {
            if tag == "list" {
                values.append(try items.decode(TaggedValue.self).value)
            } else {
                var pair = try items.nestedUnkeyedContainer()
                let key = try pair.decode(String.self)
                entries.append(TemplateEntry(key, try pair.decode(TaggedValue.self).value))
            }
        }
        return tag == "list" ? .list(values) : .dictionary(entries)
    }

    /// The value as the variables of a rendering.
    var variables: [String: TemplateValue] {
        guard case .dictionary(let entries) = value else { return [:] }
        return Dictionary(entries.map { ($0.key, $0.value) }) { $1 }
    }
}

/// The date at which the goldens were made.
let goldenDate = TemplateDate(year: 2024, month: 7, day: 26, hour: 15, minute: 4, second: 5)

/// How a rendering ended, in the words of the goldens.
enum TemplateOutcome: Equatable, CustomStringConvertible {
    case text([UInt8])
    case raised(String)
    case error(String)

    init(text: String?, raised: String?, error: String?) {
        if let text {
            self = .text(Array(text.utf8))
        } else if let raised {
            self = .raised(raised)
        } else {
            self = .error(error ?? "")
        }
    }

    /// Parses and renders.
    init(
        _ source: String, _ variables: [String: TemplateValue],
        limits: ChatTemplateLimits = ChatTemplateLimits()
    ) {
        do throws(ChatTemplateError) {
            let text = try ChatTemplate(source, limits: limits).render(variables) { goldenDate }
            self = .text(Array(text.utf8))
        } catch {
            switch error.kind {
            case .raised: self = .raised(error.message)
            case .syntax: self = .error("syntax")
            case .evaluation: self = .error("evaluation")
            case .limit: self = .error("limit")
            }
        }
    }

    var description: String {
        switch self {
        case .text(let bytes): String(decoding: bytes, as: UTF8.self)
        case .raised(let message): "raised: \(message)"
        case .error(let kind): "error: \(kind)"
        }
    }
}
