package import NanoFlow

extension PlanTable.ShapeClass {
    /// "192 to 255 decodes at 512 to 767, 64 to 255 prefill tokens".
    package var text: String {
        func range(_ lower: Int?, _ upper: Int?) -> String {
            switch (lower, upper) {
            case (nil, let upper?): upper == 0 ? "no" : "up to \(upper)"
            case (let lower?, nil): "\(lower) or more"
            case (let lower?, let upper?): lower == upper ? "\(lower)" : "\(lower) to \(upper)"
            case (nil, nil): "any"
            }
        }
        let prefill = "\(range(minPrefillTokens, maxPrefillTokens)) prefill tokens"
        guard maxDecodeTokens != 0 else { return "no decodes, " + prefill }
        return "\(range(minDecodeTokens, maxDecodeTokens)) decodes at "
            + "\(range(minMeanContext, maxMeanContext)), " + prefill
    }
}

extension PlanNumbers {
    /// "2 nano-batches of 50 %, 50 %; memory 40 %, network 10 % of the units".
    package var text: String {
        let sizes = shares.map { "\(decimal($0 * 100, 0)) %" }.joined(separator: ", ")
        var parts = ["\(shares.count) nano-batches of \(sizes)"]
        if memoryShare > 0 {
            parts.append("memory \(decimal(memoryShare * 100, 0)) % of the units")
        }
        if networkShare > 0 { parts.append("network \(decimal(networkShare * 100, 0)) %") }
        if memoryShare == 0, prefetchRate > 0 {
            parts.append("co-issue at rate \(decimal(prefetchRate, 2))")
        }
        return parts.joined(separator: "; ")
    }
}
