import Foundation
import NanoFlow

/// The bytes of a request's body, checked so that decoding them is safe and has one meaning.
struct JSONBody {
    private let data: Data

    /// - Throws: ``RequestError`` unless the bytes are JSON as RFC 8259 has it, in UTF-8, nested at
    ///   most ``JSONScanner/maxDepth`` deep.
    init(_ bytes: [UInt8]) throws(RequestError) {
        guard String(validating: bytes, as: UTF8.self) != nil else {
            throw .invalidJSON("it is not UTF-8.")
        }
        var scanner = JSONScanner(bytes)
        try scanner.scan()
        data = Data(scanner.bytes)
    }

    /// - Throws: What the type's own decoding throws.
    func decode<Value: Decodable>(_ type: Value.Type) throws -> Value {
        do {
            return try JSONDecoder().decode(type, from: data)
        } catch let error as DecodingError {
            // The types decode their fields with errors of their own; this is what they left.
            throw RequestError.invalidJSON("\(error)")
        }
    }
}
