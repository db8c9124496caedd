/// How an operation's work is cut into tiles; results do not depend on the cut.
package enum TileGeometry {
    /// Rows of a row-wise operation in one tile.
    static let rowsPerTile = 4
    /// Rows of a matrix product in one tile: their activations stay in the second-level cache.
    static let productRowsPerTile = 192

    /// Tiles of a matrix product: runs of panels times runs of rows, panels first.
    package struct Product: Sendable {
        let rowCount: Int
        let panelCount: Int
        let panelsPerTile: Int
        let unitCount: Int

        /// Aims at some eight tiles a unit: few enough to be cheap, many enough that a unit which
        /// the system puts aside leaves little undone.
        package init(rowCount: Int, panelCount: Int, unitCount: Int) {
            let rowTiles = ceiling(rowCount, productRowsPerTile)
            let wanted = max(1, 8 * unitCount / max(1, rowTiles))
            self.init(
                rowCount: rowCount, panelCount: panelCount,
                panelsPerTile: max(1, panelCount / wanted), unitCount: unitCount)
        }

        package init(rowCount: Int, panelCount: Int, panelsPerTile: Int, unitCount: Int) {
            self.rowCount = rowCount
            self.panelCount = panelCount
            self.panelsPerTile = panelsPerTile
            self.unitCount = unitCount
        }

        private var panelTileCount: Int { ceiling(panelCount, panelsPerTile) }
        package var tileCount: Int { ceiling(rowCount, productRowsPerTile) * panelTileCount }

        package func rows(_ tile: Int) -> Range<Int> {
            let first = tile / panelTileCount * productRowsPerTile
            return first..<min(first + productRowsPerTile, rowCount)
        }

        package func panels(_ tile: Int) -> Range<Int> {
            let first = place(tile % panelTileCount) * panelsPerTile
            return first..<min(first + panelsPerTile, panelCount)
        }

        /// Units take tiles in turn; each shall find its next panels behind those it has read, for
        /// the kernels ask for these ahead.
        ///
        ///     2 units, 7 tiles:  tile  0 1 2 3 4 5 6
        ///                        place 0 4 1 5 2 6 3
        private func place(_ tile: Int) -> Int {
            let (way, step) = (tile % unitCount, tile / unitCount)
            let (share, rest) = (panelTileCount / unitCount, panelTileCount % unitCount)
            return way * share + min(way, rest) + step
        }
    }

    /// The LM head's tiles: few enough columns that the result of a tile stays in a unit's cache.
    enum LMHead {
        static let panelsPerTile = 8
        static let columnsPerTile = panelsPerTile * 32

        static func columnTileCount(panelCount: Int) -> Int { ceiling(panelCount, panelsPerTile) }
    }

    package static func rowTileCount(_ rowCount: Int) -> Int {
        (rowCount + rowsPerTile - 1) / rowsPerTile
    }

    package static func rows(_ tile: Int, of rowCount: Int) -> Range<Int> {
        tile * rowsPerTile..<min((tile + 1) * rowsPerTile, rowCount)
    }
}

private func ceiling(_ a: Int, _ b: Int) -> Int { (a + b - 1) / b }
