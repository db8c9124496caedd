/// How an operation's work is cut into tiles; results do not depend on the cut.
package enum TileGeometry {
    /// Rows of a row-wise operation in one tile.
    static let rowsPerTile = 4
    /// Rows of a matrix product in one tile: their activations stay in the second-level cache.
    static let productRowsPerTile = 192

    /// Tiles of a matrix product: runs of panels times runs of rows, panels first.
    package struct Product {
        let rowCount: Int
        let panelCount: Int
        let panelsPerTile: Int

        /// Aims at some eight tiles a unit: few enough to be cheap, many enough that a unit which
        /// the system puts aside leaves little undone.
        package init(rowCount: Int, panelCount: Int, unitCount: Int) {
            self.rowCount = rowCount
            self.panelCount = panelCount
            let rowTiles = Self.ceiling(rowCount, productRowsPerTile)
            let wanted = max(1, 8 * unitCount / max(1, rowTiles))
            panelsPerTile = max(1, panelCount / wanted)
        }

        private var panelTileCount: Int { Self.ceiling(panelCount, panelsPerTile) }
        package var tileCount: Int { Self.ceiling(rowCount, productRowsPerTile) * panelTileCount }

        package func rows(_ tile: Int) -> Range<Int> {
            let first = tile / panelTileCount * productRowsPerTile
            return first..<min(first + productRowsPerTile, rowCount)
        }

        package func panels(_ tile: Int) -> Range<Int> {
            let first = tile % panelTileCount * panelsPerTile
            return first..<min(first + panelsPerTile, panelCount)
        }

        private static func ceiling(_ a: Int, _ b: Int) -> Int { (a + b - 1) / b }
    }

    package static func rowTileCount(_ rowCount: Int) -> Int {
        (rowCount + rowsPerTile - 1) / rowsPerTile
    }

    package static func rows(_ tile: Int, of rowCount: Int) -> Range<Int> {
        tile * rowsPerTile..<min((tile + 1) * rowsPerTile, rowCount)
    }
}
