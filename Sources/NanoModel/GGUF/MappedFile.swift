import Glibc

/// The bytes of one file, read-only, of a size fixed when it was opened.
///
/// The file is mapped privately. A file that another process truncates while it is mapped raises
/// SIGBUS when the lost pages are read: no check can prevent that, which is why the loader copies
/// all it needs at load and then lets the mapping go.
package final class MappedFile: Sendable {
    /// The path as it was given, for messages.
    package let path: String
    // Never written and alive until deinit, so any thread may read it.
    private nonisolated(unsafe) let bytes: UnsafeRawBufferPointer
    private let isMapped: Bool

    package var byteCount: Int { bytes.count }

    /// Maps a regular file.
    ///
    /// - Throws: ``ModelLoadingError`` when the path cannot be opened or is not a regular file.
    package init(path: String) throws(ModelLoadingError) {
        // Without O_NONBLOCK, opening a named pipe would wait for a writer for ever.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else {
            throw Self.systemError(path, "cannot open the model file")
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            throw Self.systemError(path, "cannot read the size of the model file")
        }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw ModelLoadingError(
                file: path, field: "file", limit: "a regular file",
                "the model is a folder or a device")
        }
        let size = Int(status.st_size)
        self.path = path
        isMapped = size > 0
        guard size > 0 else {
            bytes = UnsafeRawBufferPointer(start: nil, count: 0)
            return
        }
        guard let base = mmap(nil, size, PROT_READ, MAP_PRIVATE, descriptor, 0),
            base != MAP_FAILED
        else {
            throw Self.systemError(path, "cannot map the model file into memory")
        }
        bytes = UnsafeRawBufferPointer(start: base, count: size)
    }

    /// Holds a copy of `contents`; a checker of memory sees a read past its end.
    package init(copying contents: [UInt8], path: String) {
        let copy = UnsafeMutableRawBufferPointer.allocate(
            byteCount: contents.count, alignment: 64)
        copy.copyBytes(from: contents)
        self.path = path
        isMapped = false
        bytes = UnsafeRawBufferPointer(copy)
    }

    deinit {
        if isMapped {
            munmap(UnsafeMutableRawPointer(mutating: bytes.baseAddress), bytes.count)
        } else {
            bytes.deallocate()
        }
    }

    /// Returns the little-endian integer at `offset`, at any alignment.
    func load<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type, at offset: Int) -> T {
        precondition(
            offset >= 0 && offset <= byteCount - MemoryLayout<T>.size,
            "a read of \(T.self) at byte \(offset) leaves a file of \(byteCount) bytes")
        return T(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: type))
    }

    /// Calls `body` with the bytes of `range`; they are valid during the call only.
    package func withUnsafeBytes<Result, Failure>(
        in range: Range<Int>, _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        precondition(
            range.lowerBound >= 0 && range.upperBound <= byteCount,
            "bytes \(range) leave a file of \(byteCount) bytes")
        defer { extendLifetime(self) }
        return try body(UnsafeRawBufferPointer(rebasing: bytes[range]))
    }

    /// Takes the pages inside `range` out of this process; what is read again is mapped again.
    package func letGo(_ range: Range<Int>) {
        guard isMapped, let base = bytes.baseAddress else { return }
        let page = Int(sysconf(Int32(_SC_PAGESIZE)))
        let first = (range.lowerBound + page - 1) / page * page
        let end = min(range.upperBound, byteCount) / page * page
        guard first < end else { return }
        madvise(UnsafeMutableRawPointer(mutating: base + first), end - first, MADV_DONTNEED)
    }

    /// Returns the UTF-8 text of `range`, or nil when the bytes are not UTF-8.
    func text(in range: Range<Int>) -> String? {
        withUnsafeBytes(in: range) { String(validating: $0, as: UTF8.self) }
    }

    func error(
        _ field: String, at offset: Int?, limit: String? = nil, given: String? = nil,
        _ reason: String
    ) -> ModelLoadingError {
        // A key out of a hostile file may be 64 KiB long.
        ModelLoadingError(
            file: path, field: String(field.prefix(160)), byteOffset: offset, limit: limit,
            given: given, reason)
    }

    private static func systemError(_ path: String, _ reason: String) -> ModelLoadingError {
        ModelLoadingError(
            file: path, field: "file", given: String(cString: strerror(errno)), reason)
    }
}
