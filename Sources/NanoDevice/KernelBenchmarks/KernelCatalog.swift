/// What `nanoflow bench kernels` measures.
package enum KernelCatalog {
    /// One row reads weights as fast as memory gives them; the others are steps of a busy engine.
    package static let productRows = [1, 16, 96, 192]
    package static let decodeTokens = [128, 1024, 4096]
    package static let prefillTokens = [512, 2048]

    /// Every kernel at every shape that differs, those that share a peak side by side.
    package static func cases(models: [BenchmarkedModel] = BenchmarkedModel.all) -> [KernelCase] {
        merged(products(models) + decodeAttention(models) + prefillAttention(models) + rows(models))
    }

    /// A part of the cases that takes some 20 seconds: batches of 96 rows and contexts of 1024
    /// tokens, of the models of up to eight billion parameters.
    package static func quickCases() -> [KernelCase] {
        cases(models: BenchmarkedModel.all.filter { $0.hiddenSize <= 4096 }).filter {
            switch $0.work {
            case .product(let shape): shape.rows == 96 && shape.outputs <= 100_000
            case .decodeAttention(let shape): shape.tokens == 1024 && shape.order == .scattered
            case .prefillAttention(let shape): shape.tokens == 512
            case .rows: false
            }
        }
    }

    private static func products(_ models: [BenchmarkedModel]) -> [KernelCase] {
        ProductFormat.allCases.flatMap { format in
            models.flatMap { model in
                ProductRole.allCases.flatMap { role in
                    productRows.map { rows in
                        let (inputs, outputs) = model.size(of: role)
                        let shape = ProductShape(
                            format: format, role: role, rows: rows, outputs: outputs,
                            inputs: inputs)
                        return KernelCase(.product(shape), models: [model.name])
                    }
                }
            }
        }
    }

    private static func decodeAttention(_ models: [BenchmarkedModel]) -> [KernelCase] {
        attention(models, CacheFormat.allCases, decodeTokens, BlockOrder.allCases) {
            .decodeAttention($0)
        }
    }

    private static func prefillAttention(_ models: [BenchmarkedModel]) -> [KernelCase] {
        attention(models, [.bf16, .int8], prefillTokens, [.inOrder]) { .prefillAttention($0) }
    }

    private static func attention(
        _ models: [BenchmarkedModel], _ formats: [CacheFormat], _ tokens: [Int],
        _ orders: [BlockOrder], _ work: (AttentionShape) -> KernelCase.Work
    ) -> [KernelCase] {
        formats.flatMap { format in
            models.flatMap { model in
                tokens.flatMap { tokens in
                    orders.map { order in
                        let shape = AttentionShape(
                            cache: format, tokens: tokens, heads: model.headCount,
                            kvHeads: model.kvHeadCount, headDimension: model.headDimension,
                            order: order)
                        return KernelCase(work(shape), models: [model.name])
                    }
                }
            }
        }
    }

    private static func rows(_ models: [BenchmarkedModel]) -> [KernelCase] {
        RowKernel.allCases.flatMap { kernel in
            models.flatMap { model in
                rowShapes(kernel, model).map { KernelCase(.rows($0), models: [model.name]) }
            }
        }
    }

    private static func rowShapes(_ kernel: RowKernel, _ model: BenchmarkedModel) -> [RowShape] {
        switch kernel {
        case .rmsNorm: [RowShape(kernel, width: model.hiddenSize)]
        case .convertBF16, .rotate, .quantizeInt8:
            [model.hiddenSize, model.feedForwardSize].map { RowShape(kernel, width: $0) }
        case .rope, .appendBF16, .appendInt8, .appendF32:
            [
                RowShape(
                    kernel, heads: model.headCount, kvHeads: model.kvHeadCount,
                    headDimension: model.headDimension)
            ]
        // The engine looks for the largest logit of each tile of the LM head.
        case .argmax: [256, model.vocabularyCount].map { RowShape(kernel, width: $0) }
        case .sumExp: [RowShape(kernel, width: model.vocabularyCount)]
        }
    }

    /// One case for all the models that share it, in the order in which they come first.
    private static func merged(_ cases: [KernelCase]) -> [KernelCase] {
        var places: [KernelCase.Work: Int] = [:]
        var merged: [KernelCase] = []
        for next in cases {
            if let place = places[next.work] {
                merged[place].models += next.models
            } else {
                places[next.work] = merged.count
                merged.append(next)
            }
        }
        return merged
    }
}
