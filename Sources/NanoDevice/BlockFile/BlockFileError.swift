import Glibc

/// Why a block file cannot be opened: what was asked of it, and what was found.
package struct BlockFileError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The kinds of failure; each asks something else of the user.
    package enum Code: Sendable, Hashable {
        /// The system refused a call.
        case system
        /// A folder, a link or a device stands in the file's place.
        case notARegularFile
        case otherOwner
        /// Another process has the file open.
        case inUse
        case tooSmall
        case insufficientMemory
        case noUring
    }

    package let code: Code
    /// The file or directory.
    package let path: String
    /// What about it is at fault.
    package let field: String
    /// What would have been accepted.
    package let limit: String
    /// What was found or given.
    package let given: String

    package var description: String {
        "\(path): The \(field) must be \(limit). Given: \(given)."
    }

    /// The failure that `errno` tells of.
    static func system(_ path: String, field: String, limit: String) -> BlockFileError {
        BlockFileError(
            code: .system, path: path, field: field, limit: limit,
            given: String(cString: strerror(errno)))
    }
}

/// Why a record was not written, or could not be read.
package enum BlockFileFault: Error, Hashable, Sendable, CustomStringConvertible {
    /// The file system, or the user's share of it, is full.
    case noSpace
    /// The system's error number.
    case ioError(Int32)
    /// The record's bytes are not those that were written.
    case wrongChecksum
    /// The slot holds another record than the one that was asked for, or none.
    case wrongRecord
    /// The file ended before the record did.
    case shortTransfer

    init(errno number: Int32) {
        self = number == ENOSPC || number == EDQUOT ? .noSpace : .ioError(number)
    }

    package var description: String {
        switch self {
        case .noSpace: "no space is left"
        case .ioError(let number): String(cString: strerror(number))
        case .wrongChecksum: "the record is damaged"
        case .wrongRecord: "the slot holds another record"
        case .shortTransfer: "the file ended too early"
        }
    }
}
