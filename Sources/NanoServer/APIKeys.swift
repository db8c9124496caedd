import Crypto
import Foundation

/// The keys that a client may show.
///
/// Kept and compared as SHA-256 digests, all of them to the end: how long a comparison takes says
/// nothing about a key.
struct APIKeys: Sendable {
    private let digests: [[UInt8]]

    var count: Int { digests.count }

    init(_ keys: [String]) {
        digests = keys.map { Self.digest($0) }
    }

    private static func digest(_ key: some StringProtocol) -> [UInt8] {
        Array(SHA256.hash(data: Data(key.utf8)))
    }

    /// The number of the key in an `Authorization` field; nil: any request may pass.
    ///
    /// - Throws: ``RequestError/unauthorized`` for a missing or wrong one.
    func tenant(authorization: String?) throws(RequestError) -> Int? {
        guard !digests.isEmpty else { return nil }
        let parts = (authorization ?? "").split(separator: " ", maxSplits: 1)
        guard parts.count == 2, parts[0].lowercased() == "bearer" else { throw .unauthorized }
        let given = Self.digest(parts[1].drop { $0 == " " })
        var found: Int?
        for (index, digest) in digests.enumerated() {
            let difference = zip(digest, given).reduce(UInt8(0)) { $0 | ($1.0 ^ $1.1) }
            if difference == 0 { found = index }
        }
        guard let found else { throw .unauthorized }
        return found
    }
}
