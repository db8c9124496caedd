import CNanoSystem
import Glibc

/// An open file that is ours alone, with a superblock and room for its slots.
struct OpenedBlockFile {
    let descriptor: Int32
    let path: String
    let slotCount: Int
    let isDirect: Bool
    let openedAs: BlockFile.Opening
}

/// Opens or makes a block file, and throws its records away where they cannot be used.
struct BlockFileOpener {
    private let directory: String
    private let path: String
    private let layout: BlockLayout
    private let byteCount: Int
    private let seed: BlockFingerprint
    private let allowsDirect: Bool

    init(
        directory: String, layout: BlockLayout, byteCount: Int, seed: BlockFingerprint,
        allowsDirect: Bool
    ) {
        self.directory = directory
        path = directory + "/" + BlockFile.fileName
        self.layout = layout
        self.byteCount = byteCount
        self.seed = seed
        self.allowsDirect = allowsDirect
    }

    func open() throws(BlockFileError) -> OpenedBlockFile {
        let slotCount = layout.slotCount(fileByteCount: byteCount)
        guard slotCount > 0 else {
            throw BlockFileError(
                code: .tooSmall, path: path, field: "file's size",
                limit: "at least \(layout.leastFileByteCount) bytes",
                given: "\(byteCount) bytes")
        }
        try makeDirectory()
        let descriptor = try openFile()
        do throws(BlockFileError) {
            try checkOwner(descriptor)
            try lock(descriptor)
            return try prepare(descriptor, slotCount: slotCount)
        } catch {
            close(descriptor)
            throw error
        }
    }

    // MARK: - Whose file it is

    /// Makes the directories of the path that are missing, for the user alone.
    private func makeDirectory() throws(BlockFileError) {
        var made = directory.hasPrefix("/") ? "/" : ""
        for part in directory.split(separator: "/") {
            made += part + "/"
            // Above the last one it may be forbidden to make what is there already.
            _ = mkdir(made, 0o700)
        }
        var status = stat()
        guard stat(directory, &status) == 0 else {
            throw .system(directory, field: "directory", limit: "there, or able to be made")
        }
    }

    private func openFile() throws(BlockFileError) -> Int32 {
        // A pipe in its place must not be waited for.
        let flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK
        let descriptor = Glibc.open(path, flags, 0o600)
        if descriptor >= 0 { return descriptor }
        switch errno {
        case ELOOP: throw notARegularFile("a symbolic link")
        case EISDIR: throw notARegularFile("a folder")
        default: throw .system(path, field: "file", limit: "readable and writable")
        }
    }

    private func notARegularFile(_ given: String) -> BlockFileError {
        BlockFileError(
            code: .notARegularFile, path: path, field: "file", limit: "a regular file",
            given: given)
    }

    private func checkOwner(_ descriptor: Int32) throws(BlockFileError) {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            throw .system(path, field: "file's owner", limit: "known")
        }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw notARegularFile("a device or a pipe")
        }
        guard status.st_uid == geteuid() else {
            throw BlockFileError(
                code: .otherOwner, path: path, field: "file's owner", limit: "user \(geteuid())",
                given: "user \(status.st_uid)")
        }
        guard status.st_mode & 0o7777 == 0o600 || fchmod(descriptor, 0o600) == 0 else {
            throw .system(path, field: "file's mode", limit: "0600")
        }
    }

    private func lock(_ descriptor: Int32) throws(BlockFileError) {
        if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { return }
        guard errno == EWOULDBLOCK else {
            throw .system(path, field: "file", limit: "able to be locked")
        }
        throw BlockFileError(
            code: .inUse, path: path, field: "file", limit: "used by one process",
            given: "locked by another")
    }

    // MARK: - What is in it

    private func prepare(
        _ descriptor: Int32, slotCount: Int
    ) throws(BlockFileError) -> OpenedBlockFile {
        let page = UnsafeMutableRawBufferPointer.allocate(
            byteCount: BlockLayout.pageByteCount, alignment: BlockLayout.pageByteCount)
        defer { page.deallocate() }
        var file = SuperblockFile(descriptor: descriptor, path: path, page: page)
        if allowsDirect { file.goDirect() }
        let superblock = BlockSuperblock(
            seed: seed, payloadByteCount: layout.payloadByteCount, slotCount: slotCount)
        let openedAs = try compare(superblock, in: &file)
        if openedAs != .kept { try file.resize(to: 0) }
        try file.resize(to: layout.fileByteCount(slots: slotCount))
        superblock.store(in: page)
        try file.write()
        // Before the first record: it must not be taken for one of the file that was replaced.
        if case .replaced = openedAs { try file.synchronize() }
        return OpenedBlockFile(
            descriptor: descriptor, path: path, slotCount: slotCount, isDirect: file.isDirect,
            openedAs: openedAs)
    }

    private func compare(
        _ superblock: BlockSuperblock, in file: inout SuperblockFile
    ) throws(BlockFileError) -> BlockFile.Opening {
        switch try file.read() {
        case 0: return .new
        case BlockLayout.pageByteCount:
            let reason = superblock.difference(from: UnsafeRawBufferPointer(file.page))
            return reason.map { .replaced($0) } ?? .kept
        default: return .replaced(.damaged)
        }
    }
}

/// The first page of an open file, moved past the page cache where that can be done.
private struct SuperblockFile {
    let descriptor: Int32
    let path: String
    let page: UnsafeMutableRawBufferPointer
    private(set) var isDirect = false

    init(descriptor: Int32, path: String, page: UnsafeMutableRawBufferPointer) {
        self.descriptor = descriptor
        self.path = path
        self.page = page
    }

    mutating func goDirect() { isDirect = ns_set_direct(descriptor, true) }

    /// Bytes that were read, up to a page.
    mutating func read() throws(BlockFileError) -> Int {
        let count = move { pread($0, $1.baseAddress, $1.count, 0) }
        guard count >= 0 else { throw .system(path, field: "first page", limit: "readable") }
        return count
    }

    mutating func write() throws(BlockFileError) {
        let count = move { pwrite($0, $1.baseAddress, $1.count, 0) }
        guard count == page.count else {
            throw .system(path, field: "first page", limit: "writable")
        }
    }

    func synchronize() throws(BlockFileError) {
        guard fdatasync(descriptor) == 0 else {
            throw .system(path, field: "first page", limit: "able to reach the disk")
        }
    }

    func resize(to byteCount: Int) throws(BlockFileError) {
        guard ftruncate(descriptor, off_t(byteCount)) == 0 else {
            throw .system(
                path, field: "file's size", limit: "able to be \(byteCount) bytes")
        }
    }

    /// A disk with larger pages takes no transfers of ours past the page cache.
    private mutating func move(
        _ body: (Int32, UnsafeMutableRawBufferPointer) -> Int
    ) -> Int {
        let count = body(descriptor, page)
        guard count < 0, errno == EINVAL, isDirect, ns_set_direct(descriptor, false) else {
            return count
        }
        isDirect = false
        return body(descriptor, page)
    }
}
