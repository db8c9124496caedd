import Foundation
package import NanoFlow

/// Where a server with OpenAI's routes is.
package struct ServerAddress: Sendable, Hashable {
    /// Without a slash at the end, and without the `/v1` that all routes have.
    package let base: String

    /// - Parameter text: As `http://127.0.0.1:8000`; `/v1` may follow.
    /// - Throws: ``NanoFlowError`` for what is no HTTP URL, or has a query.
    package init(_ text: String) throws(NanoFlowError) {
        guard let parts = URLComponents(string: text),
            ["http", "https"].contains(parts.scheme?.lowercased()), parts.host?.isEmpty == false,
            parts.query == nil, parts.fragment == nil, parts.user == nil, parts.password == nil
        else {
            throw NanoFlowError(
                .invalidConfiguration, field: "url", limit: "like http://127.0.0.1:8000",
                given: text)
        }
        var base = text[...]
        while base.hasSuffix("/") { base.removeLast() }
        if base.hasSuffix("/v1") { base.removeLast(3) }
        while base.hasSuffix("/") { base.removeLast() }
        self.base = String(base)
    }

    var models: String { "\(base)/v1/models" }
    var completions: String { "\(base)/v1/completions" }
}
