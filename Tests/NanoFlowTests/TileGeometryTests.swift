import NanoDevice
import NanoFlow
import Testing

@Suite struct TileGeometryTests {
    @Test(arguments: [1, 2, 3, 16, 128])
    func tilesOfAProductCoverEveryRowAndPanelOnce(unitCount: Int) {
        for rowCount in [0, 1, 2, 191, 192, 193, 512, 1000] {
            for panelCount in [1, 2, 5, 17, 18, 30, 96, 1536] {
                let product = TileGeometry.Product(
                    rowCount: rowCount, panelCount: panelCount, tilesPerUnit: 8,
                    unitCount: unitCount)
                var seen = [Int](repeating: 0, count: rowCount * panelCount)
                for tile in 0..<product.tileCount {
                    #expect(!product.rows(tile).isEmpty && !product.panels(tile).isEmpty)
                    for row in product.rows(tile) {
                        for panel in product.panels(tile) { seen[row * panelCount + panel] += 1 }
                    }
                }
                let isCovered = seen.allSatisfy { $0 == 1 }
                #expect(isCovered, "\(rowCount) rows, \(panelCount) panels")
            }
        }
    }

    @Test func everyUnitHasTilesOfALargeProduct() {
        for unitCount in [1, 2, 8, 64] {
            for rowCount in [1, 64, 512] {
                let product = TileGeometry.Product(
                    rowCount: rowCount, panelCount: 1536, tilesPerUnit: 8,
                    unitCount: unitCount)
                #expect(product.tileCount >= 4 * unitCount)
                #expect(product.tileCount <= 32 * unitCount)
            }
        }
    }

    /// The first half of a product's tiles, and of those of row-wise operations, is one unit's.
    @Test(arguments: [128, 129, 200, 512, 1000])
    func manyRowsAreSharedOutAmongUnits(rowCount: Int) {
        let product = TileGeometry.Product(
            rowCount: rowCount, panelCount: 30, tilesPerUnit: 8, unitCount: 2)
        let half = product.tileCount / 2
        let last = product.rows(half - 1)
        #expect(product.tileCount % 2 == 0 && last.upperBound == product.rows(half).lowerBound)
        #expect(abs(last.upperBound - rowCount / 2) <= 1)
    }

    /// Format, feed-forward size, units, width of a tile.
    static let gatedWidths: [(MatrixFormat, Int, Int, Int?)] = [
        (.int8(groupSize: 192), 1536, 2, 192), (.int8(groupSize: 192), 1536, 3, nil),
        (.int8(groupSize: 64), 1536, 3, 128), (.int8(groupSize: 192), 14336, 18, 192),
        (.int8(groupSize: 1536), 1536, 1, nil), (.int8(groupSize: 20), 1600, 1, nil),
        (.bf16, 14336, 1, nil), (.f32, 14336, 1, nil),
    ]

    /// What shares a scale, in whole panels, if the units find four such tiles each.
    @Test(arguments: gatedWidths)
    func gateUpRoundsWhatSharesAScale(
        format: MatrixFormat, feedForwardSize: Int, unitCount: Int, expected: Int?
    ) {
        let width = TileGeometry.gatedWidth(
            format, feedForwardSize: feedForwardSize, unitCount: unitCount)
        #expect(width == expected)
    }

    @Test func tilesOfRowsCoverEveryRowOnce() {
        for rowCount in [0, 1, 3, 4, 5, 511, 512] {
            let rows = (0..<TileGeometry.rowTileCount(rowCount)).flatMap {
                Array(TileGeometry.rows($0, of: rowCount))
            }
            #expect(rows == Array(0..<rowCount))
        }
    }
}
