import Foundation

/// A line of a trace, cut at its commas.
struct CSVLine {
    private let fields: [String]
    let place: String

    init(_ bytes: Data, place: String) {
        fields = String(decoding: bytes, as: UTF8.self)
            .split(separator: ",", omittingEmptySubsequences: false)
            .map { $0.trimmingCharacters(in: .whitespacesAndNewlines) }
        self.place = place
    }

    var isBlank: Bool { fields.allSatisfy(\.isEmpty) }

    /// "" where the line has fewer fields.
    subscript(index: Int) -> String { index < fields.count ? fields[index] : "" }

    func index(of name: String) -> Int? { fields.firstIndex(of: name) }

    func column(_ name: String) throws(NanoFlowError) -> Int {
        guard let index = index(of: name) else {
            throw NanoFlowError(
                .invalidRequest, field: place, limit: "a header with the column \(name)",
                given: abbreviated(fields.joined(separator: ",")))
        }
        return index
    }

    func integer(_ index: Int, _ name: String) throws(NanoFlowError) -> Int {
        guard let value = Int(self[index]), value >= 0 else {
            throw NanoFlowError(
                .invalidRequest, field: "\(place): \(name)", limit: "a whole number, 0 or more",
                given: self[index].isEmpty ? "nothing" : abbreviated(self[index]))
        }
        return value
    }
}

/// A text from a file as an error message can show it.
func abbreviated(_ text: String) -> String { String(text.prefix(80)).debugDescription }
