/// Reads the first page of every slot, many at a time, and keeps the headers that are whole.
struct BlockScan {
    let layout: BlockLayout
    let staging: BlockStaging
    let transfer: any BlockTransfer
    let slotCount: Int

    private struct Page {
        let slot: Int
        var transfer: PositionedTransfer
    }

    func run(progress: (Int) -> Void) -> [BlockFile.Record] {
        var records: [BlockFile.Record] = []
        var free = Array(0..<layout.readBufferCount)
        var pages = [Page?](repeating: nil, count: free.count)
        var (begunCount, scannedCount) = (0, 0)
        while scannedCount < slotCount {
            while begunCount < slotCount, let number = free.popLast() {
                let page = page(ofSlot: begunCount, number: number)
                pages[number] = page
                transfer.begin(page.transfer)
                begunCount += 1
            }
            for end in transfer.ended(waitingMicroseconds: 100_000) {
                guard var page = pages[end.number] else {
                    preconditionFailure("A transfer ended that was not begun.")
                }
                // A page that cannot be read holds no record to be used.
                if let rest = try? page.transfer.rest(after: end.result) {
                    page.transfer = rest
                    pages[end.number] = page
                    transfer.begin(rest)
                    continue
                }
                if let record = record(page, result: end.result) { records.append(record) }
                free.append(end.number)
                scannedCount += 1
            }
            progress(scannedCount)
        }
        return records
    }

    private func page(ofSlot slot: Int, number: Int) -> Page {
        let buffer = UnsafeMutableRawBufferPointer(
            rebasing: staging.readBuffer(number)[..<BlockLayout.pageByteCount])
        return Page(
            slot: slot,
            transfer: PositionedTransfer(
                number: number, isWrite: false, offset: layout.offset(ofSlot: slot),
                buffer: buffer))
    }

    private func record(_ page: Page, result: Int) -> BlockFile.Record? {
        guard result == BlockLayout.pageByteCount,
            let header = try? BlockRecordHeader(UnsafeRawBufferPointer(page.transfer.buffer)),
            header.slot == page.slot, header.payloadByteCount == layout.payloadByteCount
        else { return nil }
        return BlockFile.Record(slot: header.slot, name: header.name, order: header.order)
    }
}
