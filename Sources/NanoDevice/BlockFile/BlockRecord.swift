/// A record's way between the pieces of the cache and the staging memory.
enum BlockRecord {
    /// Bytes that are copied and then hashed, while they are in the core's first cache.
    private static let chunkByteCount = 16 << 10

    /// Copies what is to be written behind its header.
    static func copy(
        _ write: BlockWrite, to record: UnsafeMutableRawBufferPointer, layout: BlockLayout,
        checksum: inout BlockChecksum
    ) {
        var offset = BlockLayout.headerByteCount
        for piece in write.pieces {
            var start = 0
            while start < piece.count {
                let count = min(chunkByteCount, piece.count - start)
                let chunk = UnsafeMutableRawBufferPointer(
                    rebasing: record[offset..<offset + count])
                chunk.copyMemory(
                    from: UnsafeRawBufferPointer(rebasing: piece[start..<start + count]))
                checksum.add(UnsafeRawBufferPointer(chunk))
                start += count
                offset += count
            }
        }
        let header = BlockRecordHeader(
            slot: write.slot, name: write.name, order: write.order,
            payloadByteCount: layout.payloadByteCount, payloadChecksum: checksum.finish())
        header.store(in: record)
    }

    /// Copies a record that was read to where it is wanted, if it is the right one and whole.
    static func copy(
        _ record: UnsafeRawBufferPointer, to read: BlockRead, layout: BlockLayout
    ) throws(BlockFileFault) {
        let header = try BlockRecordHeader(record)
        guard header.slot == read.slot, header.name == read.name,
            header.payloadByteCount == layout.payloadByteCount
        else { throw .wrongRecord }
        var offset = BlockLayout.headerByteCount
        let payload = UnsafeRawBufferPointer(
            rebasing: record[offset..<offset + layout.payloadByteCount])
        guard BlockChecksum.of(payload) == header.payloadChecksum else { throw .wrongChecksum }
        for piece in read.pieces {
            piece.copyMemory(
                from: UnsafeRawBufferPointer(rebasing: record[offset..<offset + piece.count]))
            offset += piece.count
        }
    }
}
