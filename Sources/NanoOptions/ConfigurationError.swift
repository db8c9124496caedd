/// What is wrong with a setting from the environment or a file: one sentence that names it.
package struct ConfigurationError: Error, Hashable, CustomStringConvertible {
    /// The file and the line, or the environment.
    package let place: String
    /// The key, the variable, or what else is meant there.
    package let field: String
    package let limit: String
    package let given: String

    package var description: String { "\(place): \(field) must be \(limit). Given: \(given)." }
}
