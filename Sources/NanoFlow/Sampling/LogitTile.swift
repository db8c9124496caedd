import CNanoKernels
import Glibc
import NanoDevice

/// What is kept of a row's logits in one column tile of the LM head: enough to take the likeliest
/// token, or to draw a tile by its share and then to look at the logits of that tile alone.
struct LogitTile {
    /// The token of the largest logit, of the smallest id among equals.
    let token: Int32
    let maximum: Float
    /// Sum of exp((logit - maximum) / temperature) over the tile; 0 where nothing is drawn.
    let mass: Float

    /// Of the `count` logits of the tokens from `firstToken` on; inverse temperature 0 is greedy.
    init(
        _ logits: UnsafePointer<Float>, count: Int, firstToken: Int, inverseTemperature: Float,
        kernels: Kernels
    ) {
        var maximum: Float = 0
        let place = kernels.functions.pointee.argmax(logits, Int32(count), &maximum)
        token = Int32(firstToken) + place
        self.maximum = maximum
        mass =
            inverseTemperature > 0 && maximum.isFinite
            ? kernels.functions.pointee.sum_exp(logits, Int32(count), maximum, inverseTemperature)
            : 0
    }
}

/// A row of logits by its tiles, in the order of ids.
struct LogitTiles {
    let tiles: UnsafeBufferPointer<LogitTile>
    let vocabularyCount: Int

    /// Columns of a tile; the last one may have fewer.
    static let columnCount = TileGeometry.LMHead.columnsPerTile

    static func count(vocabularyCount: Int) -> Int {
        (vocabularyCount + columnCount - 1) / columnCount
    }

    /// Tokens of a tile.
    static func tokens(_ tile: Int, vocabularyCount: Int) -> Range<Int> {
        tile * columnCount..<min((tile + 1) * columnCount, vocabularyCount)
    }

    /// The tile of the largest logit, whose token has the smallest id among equals.
    var likeliest: LogitTile {
        var best = tiles[0]
        for tile in tiles where tile.maximum > best.maximum { best = tile }
        return best
    }

    /// Sum of exp((logit - largest) x `inverseTemperature`) over all tokens.
    func mass(inverseTemperature: Float) -> Double {
        let maximum = likeliest.maximum
        return tiles.reduce(0) { $0 + mass(of: $1, maximum, inverseTemperature) }
    }

    private func mass(of tile: LogitTile, _ maximum: Float, _ inverse: Float) -> Double {
        guard tile.mass > 0 else { return 0 }
        return Double(tile.mass) * exp(Double((tile.maximum - maximum) * inverse))
    }

    /// Draws from the softmax of logits x `inverseTemperature`: inverse of the cumulative
    /// distribution, in the order of ids, at `random` in [0, 1); first over tiles, then in one, whose
    /// logits `logits` gives.
    func draw(
        inverseTemperature: Float, random: Double, logits: (Int) -> UnsafePointer<Float>
    ) -> Int32 {
        let best = likeliest
        guard inverseTemperature > 0, best.maximum.isFinite else { return best.token }
        var rest = random * mass(inverseTemperature: inverseTemperature)
        for (index, tile) in tiles.enumerated() {
            let mass = mass(of: tile, best.maximum, inverseTemperature)
            if rest >= mass {
                rest -= mass
                continue
            }
            return draw(in: index, logits(index), best.maximum, inverseTemperature, rest)
                ?? best.token
        }
        return best.token
    }

    private func draw(
        in tile: Int, _ logits: UnsafePointer<Float>, _ maximum: Float, _ inverse: Float,
        _ random: Double
    ) -> Int32? {
        var rest = random
        var last: Int32?
        let tokens = Self.tokens(tile, vocabularyCount: vocabularyCount)
        for (column, token) in tokens.enumerated() {
            let mass = Double(exp((logits[column] - maximum) * inverse))
            if mass > 0 { last = Int32(token) }
            if rest < mass { return Int32(token) }
            rest -= mass
        }
        // Rounding left a rest behind the tile's last token.
        return last
    }
}
