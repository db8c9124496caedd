/// Why a model's file cannot be used: the field at fault, where it is, what was allowed and what
/// the file holds.
///
/// Bad input, never our bug. `description` is one line for the person who chose the file.
package struct ModelLoadingError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The path as it was given.
    package let file: String
    /// The part of the format at fault: `version`, `general.alignment`, `tensor "a".offset`.
    package let field: String
    /// Where the field starts in the file, in bytes; nil when it has no place there.
    package let byteOffset: Int?
    /// What would have been accepted; nil when the sentence says all there is.
    package let limit: String?
    /// What the file holds; nil when there is nothing to show.
    package let given: String?
    /// A sentence in plain English, without a full stop.
    package let reason: String

    package init(
        file: String, field: String, byteOffset: Int? = nil, limit: String? = nil,
        given: String? = nil, _ reason: String
    ) {
        self.file = file
        self.field = field
        self.byteOffset = byteOffset
        self.limit = limit
        self.given = given
        self.reason = reason
    }

    package var description: String {
        let place = byteOffset.map { " at byte \($0)" } ?? ""
        let facts = [given.map { "given \($0)" }, limit.map { "allowed \($0)" }].compactMap(\.self)
        let detail = facts.isEmpty ? "" : " (" + facts.joined(separator: ", ") + ")"
        return "\(file): \(field)\(place): \(reason)\(detail)"
    }
}

/// A name out of a file as it may stand in a message: quoted, escaped and cut to 80 characters.
func quoted(_ name: some StringProtocol) -> String {
    let short = name.prefix(80)
    return String(short).debugDescription + (short.endIndex == name.endIndex ? "" : "…")
}
