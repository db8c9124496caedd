/// How the numbers of a matrix, and of the activations it multiplies, are stored.
package enum MatrixFormat: Sendable, Hashable {
    /// 32-bit floats.
    case f32
    /// bfloat16.
    case bf16
    /// 8-bit integers; each run of `groupSize` inputs of an output shares a scale, as do the same
    /// inputs of a token, or some runs of them: ``scaleGroups``. A multiple of 4, at least 4; a group
    /// size of the number of inputs or more means one scale per output and per token.
    case int8(groupSize: Int)

    /// Inputs of a row as stored, padded to what one dot-product instruction takes.
    package func paddedInputs(_ inputs: Int) -> Int {
        switch self {
        case .f32: inputs
        case .bf16: (inputs + 1) & ~1
        case .int8: (inputs + 3) & ~3
        }
    }

    /// Groups of inputs that have a scale of their own; 0 for floats.
    package func groupCount(_ inputs: Int) -> Int {
        guard case .int8(let size) = self else { return 0 }
        return (inputs + size - 1) / size
    }

    /// Groups that share a scale of the activations: about 128 inputs.
    ///
    /// Multiplying a row's scale in costs the matrix product as much as a weight scale does; two
    /// groups of 64 to a scale lose little precision and save half of that (docs/LOG.md).
    package var scaleGroups: Int {
        guard case .int8(let size) = self else { return 1 }
        return max(1, 128 / size)
    }

    /// Inputs of a row of activations that share a scale.
    package func scaleInputs(_ inputs: Int) -> Int {
        guard case .int8(let size) = self else { return inputs }
        return min(inputs, size * scaleGroups)
    }

    /// Scales of a row of activations.
    package func scaleCount(_ inputs: Int) -> Int {
        (groupCount(inputs) + scaleGroups - 1) / scaleGroups
    }

    /// The length of the runs of inputs that are rotated before they are rounded; 1 is none.
    ///
    /// int8 rounds to steps of a group's largest value, so one input that sticks out costs all the
    /// others their precision. A Walsh-Hadamard transform of each run, on weights and activations
    /// alike, leaves every dot product as it was and spreads such inputs over their run
    /// (the idea is QuaRot's, Ashkboos et al. 2024, here within the groups).
    package var rotationRun: Int {
        guard case .int8(let size) = self else { return 1 }
        return min(64, size & -size)
    }

    /// The inputs of a run that are negated before the transform, so that a run of equal values does
    /// not pile up in one.
    ///
    /// Any bits that look random would do; docs/LOG.md has the figures of those tried.
    package static let rotationSigns: UInt64 = 0x91B7_584A_2265_B1F5

    /// What rotated activations and rotated weights are multiplied by: powers of two, which are
    /// exact, whose product undoes the transform's growth.
    package var rotationScales: (activations: Float, weights: Float) {
        let bits = rotationRun.trailingZeroBitCount
        return (
            Float(sign: .plus, exponent: -(bits / 2), significand: 1),
            Float(sign: .plus, exponent: -(bits - bits / 2), significand: 1)
        )
    }

    /// Bytes of one stored number.
    package var elementByteCount: Int {
        switch self {
        case .f32: 4
        case .bf16: 2
        case .int8: 1
        }
    }

    /// Whether rows made for this format can hold those of `other`.
    func hasRoom(for other: MatrixFormat) -> Bool {
        switch (self, other) {
        case (.f32, .f32), (.bf16, .bf16): true
        case (.int8(let size), .int8(let otherSize)): size <= otherSize
        default: false
        }
    }
}
