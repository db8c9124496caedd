package import NanoDevice

/// How an operation's work is cut into tiles; results do not depend on the cut.
package enum TileGeometry {
    /// Rows of a row-wise operation in one tile.
    static let rowsPerTile = 4
    /// Rows of a matrix product in one tile: their activations stay in the second-level cache.
    static let productRowsPerTile = 192
    /// From so many rows for each unit on, a product's blocks of rows are shared out among the units.
    ///
    /// What one operation writes the next then finds in its own unit's cache. With fewer rows it
    /// costs more that every unit reads all of the weights.
    static let rowsOfUnit = 64
    /// Tiles of a matrix product for each unit.
    ///
    /// A unit that the system puts aside leaves no more undone than one of them, and what has been
    /// asked for ahead, which is run between two tiles, does not wait long in the cache.
    static let productTilesPerUnit = 32

    /// Tiles of a matrix product: blocks of rows times runs of panels, the panels of a block
    /// together: a unit's next panels lie behind those it has read, and the kernels ask for them.
    package struct Product: Sendable {
        let rowCount: Int
        let panelCount: Int
        let rowsPerTile: Int
        let panelsPerTile: Int

        /// Aims at a number of tiles for each unit.
        package init(rowCount: Int, panelCount: Int, tilesPerUnit: Int, unitCount: Int) {
            rowsPerTile = Self.rowsPerTile(rowCount, unitCount)
            let tileCount = tilesPerUnit * unitCount
            let blocks = max(1, ceiling(rowCount, rowsPerTile))
            let wanted = max(1, tileCount / blocks)
            panelsPerTile = max(1, panelCount / wanted)
            self.rowCount = rowCount
            self.panelCount = panelCount
        }

        package init(rowCount: Int, panelCount: Int, panelsPerTile: Int, unitCount: Int) {
            rowsPerTile = Self.rowsPerTile(rowCount, unitCount)
            self.rowCount = rowCount
            self.panelCount = panelCount
            self.panelsPerTile = panelsPerTile
        }

        /// As few blocks as possible, of nearly the same height; of many rows as many for each unit.
        private static func rowsPerTile(_ rowCount: Int, _ unitCount: Int) -> Int {
            let shares = rowCount < unitCount * rowsOfUnit ? 1 : unitCount
            let blocks = shares * max(1, ceiling(rowCount, shares * productRowsPerTile))
            return max(1, ceiling(rowCount, blocks))
        }

        private var panelTileCount: Int { ceiling(panelCount, panelsPerTile) }
        package var tileCount: Int { ceiling(rowCount, rowsPerTile) * panelTileCount }

        package func rows(_ tile: Int) -> Range<Int> {
            let first = tile / panelTileCount * rowsPerTile
            return first..<min(first + rowsPerTile, rowCount)
        }

        package func panels(_ tile: Int) -> Range<Int> {
            let first = tile % panelTileCount * panelsPerTile
            return first..<min(first + panelsPerTile, panelCount)
        }
    }

    /// The LM head's tiles: few enough columns that the result of a tile stays in a unit's cache.
    enum LMHead {
        static let panelsPerTile = 8
        static let columnsPerTile = panelsPerTile * 32
    }

    /// Values that a panel of gate-up, 16 gates and 16 ups, comes to.
    static let gatedPanelWidth = 16

    /// Values that a tile of gate-up comes to where it rounds them itself: one scale's worth of the
    /// down projection's inputs.
    ///
    /// They never leave the unit's cache as f32. nil: the activation rounds them, since there is no
    /// such scale or tiles would be too few for the units.
    package static func gatedWidth(
        _ format: MatrixFormat, feedForwardSize: Int, unitCount: Int
    ) -> Int? {
        let width = format.scaleInputs(feedForwardSize)
        guard case .int8 = format, width % gatedPanelWidth == 0, width <= LMHead.columnsPerTile,
            ceiling(feedForwardSize, width) >= 4 * unitCount
        else { return nil }
        return width
    }

    package static func rowTileCount(_ rowCount: Int) -> Int {
        (rowCount + rowsPerTile - 1) / rowsPerTile
    }

    package static func rows(_ tile: Int, of rowCount: Int) -> Range<Int> {
        tile * rowsPerTile..<min((tile + 1) * rowsPerTile, rowCount)
    }
}

private func ceiling(_ a: Int, _ b: Int) -> Int { (a + b - 1) / b }
