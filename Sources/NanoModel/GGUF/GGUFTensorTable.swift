/// The tensor descriptions of a GGUF header, read and checked, and where their data lies.
struct GGUFTensorTable {
    /// In the file's order.
    private(set) var tensors: [GGUFTensor] = []
    private var names: Set<String> = []
    private var cursor: GGUFCursor
    private let alignment: Int

    private var file: MappedFile { cursor.file }

    /// A tensor as it is described, before the start of the data is known.
    private struct Layout {
        let name: String
        let type: GGUFTensorType
        let shape: [Int]
        let byteCount: Int
        /// From the start of the data.
        let dataOffset: UInt64
        /// Where the file says so.
        let fieldOffset: Int

        var field: String { "tensor \(quoted(name)).offset" }
    }

    /// Reads `count` descriptions from `cursor`, which stands behind the metadata.
    init(_ cursor: GGUFCursor, count: Int, alignment: Int) throws(ModelLoadingError) {
        self.cursor = cursor
        self.alignment = alignment
        var layouts: [Layout] = []
        for index in 0..<count {
            layouts.append(try readLayout(index))
        }
        let dataStart = (self.cursor.position + alignment - 1) / alignment * alignment
        for layout in layouts {
            tensors.append(try place(layout, dataStart: dataStart))
        }
        try checkOverlaps(layouts)
    }

    private mutating func readLayout(_ index: Int) throws(ModelLoadingError) -> Layout {
        let name = try readName(index)
        let field = "tensor \(quoted(name))"
        let (shape, shapeOffset) = try readShape(field)
        let typeOffset = cursor.position
        let typeNumber = try cursor.integer(UInt32.self, "\(field).type")
        guard let type = GGUFTensorType(rawValue: typeNumber) else {
            throw file.error(
                "\(field).type", at: typeOffset,
                limit: GGUFTensorType.allCases.map(\.description).joined(separator: " "),
                given: "type \(typeNumber)", "tensors of this type cannot be read")
        }
        let byteCount = try byteCount(of: shape, type, field, at: shapeOffset)
        let fieldOffset = cursor.position
        let dataOffset = try cursor.integer(UInt64.self, "\(field).offset")
        return Layout(
            name: name, type: type, shape: shape, byteCount: byteCount, dataOffset: dataOffset,
            fieldOffset: fieldOffset)
    }

    private mutating func readName(_ index: Int) throws(ModelLoadingError) -> String {
        let field = "tensor[\(index)].name"
        let offset = cursor.position
        let range = try cursor.string(lengths: 1...64, field)
        guard let name = file.text(in: range) else {
            throw file.error(field, at: range.lowerBound, "the name is not valid UTF-8")
        }
        guard names.insert(name).inserted else {
            throw file.error(field, at: offset, given: quoted(name), "the name occurs twice")
        }
        return name
    }

    /// Returns the sizes and where the first of them stands.
    private mutating func readShape(
        _ field: String
    ) throws(ModelLoadingError) -> (sizes: [Int], offset: Int) {
        let offset = cursor.position
        let dimensionCount = try cursor.integer(UInt32.self, "\(field).dimensions")
        guard 1...4 ~= dimensionCount else {
            throw file.error(
                "\(field).dimensions", at: offset, limit: "1 to 4", given: "\(dimensionCount)",
                "no tensor has so many dimensions")
        }
        let sizesOffset = cursor.position
        var sizes: [Int] = []
        for index in 0..<Int(dimensionCount) {
            let offset = cursor.position
            let size = try cursor.integer(UInt64.self, "\(field).shape[\(index)]")
            guard let size = Int(exactly: size), size > 0 else {
                throw file.error(
                    "\(field).shape[\(index)]", at: offset, limit: "1 to \(Int.max)",
                    given: "\(size)", "the size of a dimension is zero or negative")
            }
            sizes.append(size)
        }
        return (sizes, sizesOffset)
    }

    private func byteCount(
        of shape: [Int], _ type: GGUFTensorType, _ field: String, at offset: Int
    ) throws(ModelLoadingError) -> Int {
        guard shape[0].isMultiple(of: type.blockLength) else {
            throw file.error(
                "\(field).shape[0]", at: offset, limit: "a multiple of \(type.blockLength)",
                given: "\(shape[0])", "a row of \(type) is a whole number of blocks")
        }
        var total = shape[0] / type.blockLength
        for factor in [type.blockByteCount] + shape.dropFirst() {
            let (product, overflows) = total.multipliedReportingOverflow(by: factor)
            guard !overflows else {
                throw file.error(
                    "\(field).shape", at: offset, limit: "\(file.byteCount) bytes in the file",
                    given: "\(shape) of \(type)", "the tensor is larger than any file")
            }
            total = product
        }
        return total
    }

    private func place(_ layout: Layout, dataStart: Int) throws(ModelLoadingError) -> GGUFTensor {
        guard layout.dataOffset.isMultiple(of: UInt64(alignment)) else {
            throw file.error(
                layout.field, at: layout.fieldOffset, limit: "a multiple of \(alignment)",
                given: "\(layout.dataOffset)", "the tensor's data is not aligned")
        }
        // All that the file holds behind the padding; negative when it ends before.
        let room = file.byteCount - dataStart
        guard layout.byteCount <= room,
            layout.dataOffset <= UInt64(room - layout.byteCount)
        else {
            throw file.error(
                layout.field, at: layout.fieldOffset,
                limit: "\(max(0, room)) bytes of tensor data in the file",
                given: "\(layout.byteCount) bytes at \(layout.dataOffset)",
                "the tensor's data does not lie in the file")
        }
        return GGUFTensor(
            name: layout.name, type: layout.type, shape: layout.shape,
            byteCount: layout.byteCount, fileOffset: dataStart + Int(layout.dataOffset), file: file)
    }

    private func checkOverlaps(_ layouts: [Layout]) throws(ModelLoadingError) {
        let order = layouts.sorted { $0.dataOffset < $1.dataOffset }
        for (layout, next) in zip(order, order.dropFirst())
        where next.dataOffset - layout.dataOffset < UInt64(layout.byteCount) {
            throw file.error(
                next.field, at: next.fieldOffset,
                limit: "\(layout.dataOffset + UInt64(layout.byteCount)) or more",
                given: "\(next.dataOffset)",
                "the tensor's data overlaps that of \(quoted(layout.name))")
        }
    }
}
