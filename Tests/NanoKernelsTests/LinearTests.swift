import CNanoKernels
import NanoTestSupport
import Testing

@Suite struct LinearTests {
    @Test(arguments: KernelSet.supported, LinearFormat.all)
    func aProductIsCloseToItsDoublePrecisionReference(set: KernelSet, format: LinearFormat) {
        for (seed, shape) in LinearShape.odd.enumerated() {
            let linear = LinearCase(format, shape, seed: UInt64(seed))
            let out = linear.multiply(set)
            let (products, tolerances) = linear.reference(for: set)
            var worst = 0.0
            for row in 0..<shape.rows {
                for output in 0..<shape.outputs {
                    let index = row * shape.outputs + output
                    let error = abs(Double(out[row * linear.stride + output]) - products[index])
                    worst = max(worst, error / tolerances[index])
                    if error.isNaN { worst = .infinity }
                }
            }
            #expect(worst <= 1, "\(shape), seed \(seed)")
        }
    }

    @Test(arguments: KernelSet.supported, LinearFormat.all)
    func aRowHasTheSameBitsInEveryCutOfTheRows(set: KernelSet, format: LinearFormat) {
        let shape = LinearShape(rows: 27, inputs: 133, outputs: 70)
        let linear = LinearCase(format, shape, seed: 7)
        let whole = linear.multiply(set)
        for height in 1...14 {
            var out = [Float](repeating: .nan, count: whole.count)
            for first in stride(from: 0, to: shape.rows, by: height) {
                let rows = first..<min(first + height, shape.rows)
                linear.multiply(set, rows: rows, panels: 0..<linear.panelCount, into: &out)
            }
            #expect(firstDifference(out, whole) == nil, "\(height) rows a call")
        }
    }

    @Test(arguments: KernelSet.supported, LinearFormat.all)
    func noProductSaturates(set: KernelSet, format: LinearFormat) {
        let shape = LinearShape(rows: 9, inputs: 650, outputs: 32)
        let linear = LinearCase(format, shape, seed: 15, extremes: true)
        let (products, tolerances) = linear.reference(for: set)
        let pairs = zip(linear.multiply(set), products)
        for ((product, expected), tolerance) in zip(pairs, tolerances) {
            #expect(abs(Double(product) - expected) <= tolerance)
        }
    }

    /// Inputs that pass in blocks, and more rows than have room for their sums meanwhile.
    @Test(arguments: KernelSet.fast, [32, 64, 192])
    func aLongMatrixPassesInBlocks(set: KernelSet, groupSize: Int) {
        // One, two and three groups to a scale of the row.
        for outputs in 33...35 {
            let shape = LinearShape(rows: 195, inputs: 8260, outputs: outputs)
            let linear = LinearCase(.int8(groupSize: groupSize), shape, seed: 17)
            expectTheSameBitsOfSomeRows(linear, set)
            if outputs == 33 { expectToBeCloseToTheReference(linear, set) }
        }
    }

    /// Two blocks and the beginning of a third in f32, one and the beginning of a second in bf16.
    @Test(arguments: KernelSet.fast, [LinearFormat.f32, .bf16])
    func aLongMatrixOfFloatsPassesInBlocks(set: KernelSet, format: LinearFormat) {
        let shape = LinearShape(rows: 195, inputs: 2071, outputs: 33)
        let linear = LinearCase(format, shape, seed: 18)
        expectTheSameBitsOfSomeRows(linear, set)
        expectToBeCloseToTheReference(linear, set)
    }

    private func expectTheSameBitsOfSomeRows(_ linear: LinearCase, _ set: KernelSet) {
        let whole = linear.multiply(set)
        for rows in [0..<1, 190..<194, 100..<195] {
            var out = [Float](repeating: .nan, count: whole.count)
            for panel in 0..<2 {
                linear.multiply(set, rows: rows, panels: panel..<panel + 1, into: &out)
            }
            let written = rows.lowerBound * linear.stride..<rows.upperBound * linear.stride
            #expect(firstDifference(Array(out[written]), Array(whole[written])) == nil, "\(rows)")
        }
    }

    private func expectToBeCloseToTheReference(_ linear: LinearCase, _ set: KernelSet) {
        let whole = linear.multiply(set)
        let (products, tolerances) = linear.reference(for: set)
        let isClose = products.indices.allSatisfy {
            let place = $0 / linear.shape.outputs * linear.stride + $0 % linear.shape.outputs
            return abs(Double(whole[place]) - products[$0]) <= tolerances[$0]
        }
        #expect(isClose)
    }

    /// More rows than most kernels take at a time, and inputs that need more than one pass in some.
    @Test(arguments: KernelSet.supported, LinearFormat.all)
    func aRowHasTheSameBitsInABatchOfAHundred(set: KernelSet, format: LinearFormat) {
        let shape = LinearShape(rows: 101, inputs: 650, outputs: 40)
        let linear = LinearCase(format, shape, seed: 14)
        let whole = linear.multiply(set)
        for rows in [0..<1, 6..<9, 95..<97, 96..<101, 1..<98, 40..<101] {
            var out = [Float](repeating: .nan, count: whole.count)
            linear.multiply(set, rows: rows, panels: 0..<linear.panelCount, into: &out)
            let written = (rows.lowerBound * linear.stride)..<(rows.upperBound * linear.stride)
            let difference = firstDifference(Array(out[written]), Array(whole[written]))
            #expect(difference == nil, "rows \(rows)")
        }
    }

    @Test(arguments: KernelSet.supported, LinearFormat.all)
    func aRowHasTheSameBitsInEveryCutOfThePanels(set: KernelSet, format: LinearFormat) {
        let shape = LinearShape(rows: 13, inputs: 100, outputs: 32 * 5)
        let linear = LinearCase(format, shape, seed: 8)
        let whole = linear.multiply(set)
        for width in 1...4 {
            var out = [Float](repeating: .nan, count: whole.count)
            for first in stride(from: 0, to: linear.panelCount, by: width) {
                let panels = first..<min(first + width, linear.panelCount)
                linear.multiply(set, rows: 0..<shape.rows, panels: panels, into: &out)
            }
            #expect(firstDifference(out, whole) == nil, "\(width) panels a call")
        }
    }

    @Test(arguments: KernelSet.supported, LinearFormat.all)
    func onlyTheNamedRowsAndPanelsAreWritten(set: KernelSet, format: LinearFormat) {
        let shape = LinearShape(rows: 9, inputs: 40, outputs: 32 * 4)
        let linear = LinearCase(format, shape, seed: 9)
        let whole = linear.multiply(set)
        var out = [Float](repeating: -7, count: whole.count)
        linear.multiply(set, rows: 2..<7, panels: 1..<3, into: &out)
        for row in 0..<shape.rows {
            for column in 0..<linear.stride {
                let isNamed = (2..<7).contains(row) && (32..<96).contains(column)
                let index = row * linear.stride + column
                #expect(out[index] == (isNamed ? whole[index] : -7))
            }
        }
    }

    @Test(arguments: KernelSet.supported, LinearFormat.all)
    func biasAndAddComeAfterTheProduct(set: KernelSet, format: LinearFormat) {
        let shape = LinearShape(rows: 7, inputs: 50, outputs: 45)
        let linear = LinearCase(format, shape, seed: 10)
        let product = linear.multiply(set)
        var generator = SeededGenerator(seed: 11)
        let before = generator.floats(product.count)
        for bias in [false, true] {
            let expected = product.indices.map {
                bias ? product[$0] + linear.bias[$0 % linear.stride] : product[$0]
            }
            var stored = before
            linear.multiply(
                set, rows: 0..<7, panels: 0..<linear.panelCount, into: &stored, bias: bias)
            #expect(firstDifference(stored, expected) == nil)
            var added = before
            linear.multiply(
                set, rows: 0..<7, panels: 0..<linear.panelCount, into: &added, bias: bias,
                epilogue: NK_ADD)
            let sums = zip(before, expected).map { $0 + $1 }
            #expect(firstDifference(added, sums) == nil)
        }
    }

    @Test(arguments: KernelSet.supported, LinearFormat.all)
    func siluMultiplyGatesTheProductAndItsBias(set: KernelSet, format: LinearFormat) {
        let shape = LinearShape(rows: 7, inputs: 500, outputs: 32 * 3)
        let linear = LinearCase(format, shape, seed: 16)
        for bias in [false, true] {
            var product = [Float](repeating: .nan, count: 7 * linear.stride)
            let panels = 0..<linear.panelCount
            linear.multiply(set, rows: 0..<7, panels: panels, into: &product, bias: bias)
            var gated = [Float](repeating: .nan, count: 7 * 48)
            linear.multiply(
                set, rows: 0..<7, panels: panels, into: &gated, bias: bias,
                epilogue: NK_SILU_MULTIPLY)
            for row in 0..<7 {
                for column in 0..<48 {
                    let gate = row * 96 + column / 16 * 32 + column % 16
                    let expected = silu(Double(product[gate])) * Double(product[gate + 16])
                    let error = abs(Double(gated[row * 48 + column]) - expected)
                    #expect(error <= siluError(set, format) * abs(expected))
                }
            }
        }
    }

    /// An exponential within 2e-7 and four roundings, or one within 4e-6 and the estimate.
    private func siluError(_ set: KernelSet, _ format: LinearFormat) -> Double {
        if case .int8 = format, set.estimatesGates { return 0x1p-14 + 4.5e-6 }
        return 4.5e-7
    }

    @Test(arguments: KernelSet.supported, LinearFormat.all)
    func siluMultiplyWritesTheNamedRowsAndPanelsWithTheSameBits(
        set: KernelSet, format: LinearFormat
    ) {
        let shape = LinearShape(rows: 101, inputs: 70, outputs: 32 * 4)
        let linear = LinearCase(format, shape, seed: 17)
        var whole = [Float](repeating: .nan, count: 101 * 64)
        linear.multiply(
            set, rows: 0..<101, panels: 0..<4, into: &whole, epilogue: NK_SILU_MULTIPLY)
        for rows in [0..<1, 3..<8, 90..<101] {
            var out = [Float](repeating: -7, count: whole.count)
            linear.multiply(
                set, rows: rows, panels: 1..<3, into: &out, epilogue: NK_SILU_MULTIPLY)
            let expected = whole.indices.map {
                rows.contains($0 / 64) && (16..<48).contains($0 % 64) ? whole[$0] : -7
            }
            #expect(firstDifference(out, expected) == nil, "rows \(rows)")
        }
    }

    /// 37 lines in three runs, for 100 rows x 70 inputs x 2 panels, or a few inputs more.
    @Test(arguments: KernelSet.supported, LinearFormat.all)
    func askingForMemoryChangesNoResult(set: KernelSet, format: LinearFormat) {
        let linear = LinearCase(format, LinearShape(rows: 100, inputs: 70, outputs: 64), seed: 18)
        let expected = linear.multiply(set)
        let memory = [CChar](repeating: 0, count: 20 * 64)
        memory.withUnsafeBufferPointer { memory in
            let runs = [20 * 64, 5 * 64, 11 * 64 + 1].map {
                nk_run(start: memory.baseAddress, bytes: $0)
            }
            runs.withUnsafeBufferPointer { runs in
                // Nothing, some of it, all of it.
                for (rate, askedRuns) in [(0, 0), (1 << 20 / 680, 1), (1 << 20, 3)] {
                    var ahead = nk_ahead(
                        runs: runs.baseAddress, run_count: 3, run: 0, offset: 0,
                        rate: Int64(rate), credit: 0)
                    var out = [Float](repeating: .nan, count: expected.count)
                    linear.multiply(
                        set, rows: 0..<100, panels: 0..<2, into: &out, ahead: &ahead)
                    #expect(firstDifference(out, expected) == nil)
                    #expect(ahead.run == askedRuns, "rate \(rate)")
                }
            }
        }
    }

    @Test(arguments: KernelSet.supported)
    func siluOfLargeNumbersSaturates(set: KernelSet) {
        let gates: [Float] = [0, 1000, -1000, .nan] + [Float](repeating: 1, count: 12)
        let ups = [Float](repeating: 2, count: 16)
        var panel = [Float](repeating: .nan, count: 32)
        nk_pack_f32(gates + ups, 32, 1, &panel)
        var out = [Float](repeating: .nan, count: 16)
        panel.withUnsafeBufferPointer { panel in
            out.withUnsafeMutableBufferPointer {
                let output = nk_output(
                    out: $0.baseAddress, stride: 16, bias: nil, epilogue: NK_SILU_MULTIPLY,
                    ahead: nil)
                let matrix = nk_matrix_f32(panels: panel.baseAddress, inputs: 1)
                set.kernels.linear_f32([1], 1, 1, matrix, 0, 1, output)
            }
        }
        #expect(Array(out[0..<2]) == [0, 2000])
        #expect(abs(out[2]) < 1e-30)
        #expect(out[3].isNaN)
    }

    @Test(arguments: KernelSet.supported, LinearFormat.all)
    func outputsPastTheMatrixAreZero(set: KernelSet, format: LinearFormat) {
        let linear = LinearCase(
            format, LinearShape(rows: 3, inputs: 20, outputs: 33), seed: 12)
        let out = linear.multiply(set)
        for row in 0..<3 { #expect(out[(row * 64 + 33)..<(row * 64 + 64)].allSatisfy { $0 == 0 }) }
    }

    @Test(arguments: KernelSet.fast, LinearFormat.all)
    func aProductIsCloseToItsPortableTwin(set: KernelSet, format: LinearFormat) {
        let shape = LinearShape(rows: 17, inputs: 577, outputs: 64)
        let linear = LinearCase(format, shape, seed: 13)
        let (_, tolerances) = linear.reference(for: set)
        let pairs = zip(linear.multiply(.portable), linear.multiply(set))
        for ((twin, fast), tolerance) in zip(pairs, tolerances) {
            #expect(Double(abs(twin - fast)) <= tolerance)
        }
    }
}
