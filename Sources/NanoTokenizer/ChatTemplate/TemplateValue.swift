/// A value that a caller hands to a chat template: JSON, with an order of keys, and undefined.
package indirect enum TemplateValue: Sendable, Hashable {
    /// Python's `None`, JSON's `null`.
    case none
    /// As if the name had not been given.
    case undefined
    /// A truth value.
    case boolean(Bool)
    /// A whole number.
    case integer(Int)
    /// A floating-point number.
    case number(Double)
    /// A text.
    case string(String)
    /// A list.
    case list([TemplateValue])
    /// A dictionary in the order in which its keys print; of equal keys, the last one counts.
    case dictionary([TemplateEntry])
}

/// One key of a ``TemplateValue/dictionary(_:)`` and what it maps to.
package struct TemplateEntry: Sendable, Hashable {
    /// The key.
    package let key: String
    /// The value.
    package let value: TemplateValue

    /// Creates an entry.
    package init(_ key: String, _ value: TemplateValue) {
        self.key = key
        self.value = value
    }
}

extension TemplateValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral,
    ExpressibleByFloatLiteral, ExpressibleByBooleanLiteral, ExpressibleByArrayLiteral,
    ExpressibleByDictionaryLiteral
{
    package init(stringLiteral value: String) { self = .string(value) }
    package init(integerLiteral value: Int) { self = .integer(value) }
    package init(floatLiteral value: Double) { self = .number(value) }
    package init(booleanLiteral value: Bool) { self = .boolean(value) }
    package init(arrayLiteral elements: TemplateValue...) { self = .list(elements) }
    package init(dictionaryLiteral elements: (String, TemplateValue)...) {
        self = .dictionary(elements.map { TemplateEntry($0.0, $0.1) })
    }
}
