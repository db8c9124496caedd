// Finding, splitting and replacing in texts. The work is charged as it is done, since a hostile
// pair of texts makes a search quadratic.

extension TemplateInterpreter {
    /// The bytes of the first occurrence at or after a byte index.
    func firstRange(
        of part: TemplateText, in text: TemplateText, from start: Int
    ) throws(ChatTemplateError) -> Range<Int>? {
        let (bytes, sought) = (text.bytes, part.bytes)
        guard let first = sought.first else {
            return start <= bytes.count ? start..<start : nil
        }
        guard bytes.count - start >= sought.count else { return nil }
        var work = 0
        for index in start...(bytes.count - sought.count) {
            work += 1
            if bytes[index] == first {
                var length = 1
                while length < sought.count, bytes[index + length] == sought[length] { length += 1 }
                work += length
                if length == sought.count {
                    try charge(1 + work / ChatTemplateLimits.bytesPerStep)
                    return index..<index + length
                }
            }
            if work > 1 << 16 {
                try charge(work / ChatTemplateLimits.bytesPerStep)
                work = 0
            }
        }
        try charge(1 + work / ChatTemplateLimits.bytesPerStep)
        return nil
    }

    /// The bytes of the last occurrence that ends at or before a byte index.
    func lastRange(
        of part: TemplateText, in text: TemplateText, upTo end: Int
    ) throws(ChatTemplateError) -> Range<Int>? {
        let reversedText = TemplateText(bytes: text.bytes[..<end].reversed())
        let reversedPart = TemplateText(bytes: part.bytes.reversed())
        try charge(byteCount: end)
        guard let found = try firstRange(of: reversedPart, in: reversedText, from: 0) else {
            return nil
        }
        return (end - found.upperBound)..<(end - found.lowerBound)
    }

    func replace(
        _ old: TemplateText, with new: TemplateText, in text: TemplateText, limit: Int
    ) throws(ChatTemplateError) -> TemplateText {
        if limit == 0 { return text }
        if old.isEmpty { return try interleave(new, into: text, limit: limit) }
        var result: [UInt8] = []
        var position = 0
        var count = 0
        while limit < 0 || count < limit,
            let found = try firstRange(of: old, in: text, from: position)
        {
            result += text.bytes[position..<found.lowerBound]
            result += new.bytes
            try checkGrowth(result.count, by: found.lowerBound - position + new.bytes.count)
            position = found.upperBound
            count += 1
        }
        result += text.bytes[position...]
        try checkGrowth(result.count, by: text.bytes.count - position)
        return TemplateText(bytes: result)
    }

    // Replacing nothing puts the new text between all characters and at both ends.
    private func interleave(
        _ new: TemplateText, into text: TemplateText, limit: Int
    ) throws(ChatTemplateError) -> TemplateText {
        let characters = text.characters
        let most = limit < 0 ? Int.max : limit
        var result: [UInt8] = []
        for (position, character) in characters.enumerated() {
            if position < most { result += new.bytes }
            result += character.bytes
            try checkGrowth(result.count, by: new.bytes.count + character.bytes.count)
        }
        if characters.count < most { result += new.bytes }
        return TemplateText(bytes: result)
    }

    private func checkGrowth(_ byteCount: Int, by growth: Int) throws(ChatTemplateError) {
        guard byteCount <= limits.maxOutputByteCount else {
            throw ChatTemplateError(
                .limit, line: line,
                "The template makes a text of more than \(limits.maxOutputByteCount) bytes.")
        }
        try charge(1 + growth / ChatTemplateLimits.bytesPerStep)
    }

    /// Splits at a separator, at most `limit` times; without a limit when it is negative.
    func split(
        _ text: TemplateText, at separator: TemplateText, limit: Int
    ) throws(ChatTemplateError) -> [TemplateText] {
        var parts: [TemplateText] = []
        var position = 0
        while limit < 0 || parts.count < limit,
            let found = try firstRange(of: separator, in: text, from: position)
        {
            parts.append(TemplateText(bytes: text.bytes[position..<found.lowerBound]))
            position = found.upperBound
        }
        parts.append(TemplateText(bytes: text.bytes[position...]))
        return parts
    }

    /// Splits at a separator from the end, at most `limit` times.
    func splitFromEnd(
        _ text: TemplateText, at separator: TemplateText, limit: Int
    ) throws(ChatTemplateError) -> [TemplateText] {
        let backwards = TemplateText(bytes: text.bytes.reversed())
        let mark = TemplateText(bytes: separator.bytes.reversed())
        try charge(byteCount: text.bytes.count)
        let parts = try split(backwards, at: mark, limit: limit)
        return parts.reversed().map { TemplateText(bytes: $0.bytes.reversed()) }
    }

    /// Splits at runs of white space, at most `limit` times from the start or the end.
    func splitAtSpace(
        _ text: TemplateText, limit: Int, fromEnd: Bool
    ) throws(ChatTemplateError) -> [TemplateText] {
        try charge(text.bytes.count / ChatTemplateLimits.bytesPerStep)
        var scalars = text.scalars[...]
        if fromEnd { scalars = Array(scalars.reversed())[...] }
        var parts: [TemplateText] = []
        func add(_ part: some Sequence<Unicode.Scalar>) {
            parts.append(TemplateText(fromEnd ? Array(part).reversed() : Array(part)))
        }
        while true {
            scalars = scalars.drop(while: \.isPythonSpace)
            guard !scalars.isEmpty else { break }
            if limit >= 0, parts.count == limit {
                add(scalars)
                break
            }
            let word = scalars.prefix { !$0.isPythonSpace }
            add(word)
            scalars = scalars.dropFirst(word.count)
            try charge()
        }
        return fromEnd ? parts.reversed() : parts
    }
}

// MARK: - Order

extension TemplateInterpreter {
    /// The indices of some keys in ascending or descending order; equal ones stay as they are.
    func sortedIndices(
        of keys: [RuntimeValue], isReversed: Bool
    ) throws(ChatTemplateError) -> [Int] {
        var order = Array(keys.indices)
        var width = 1
        while width < order.count {
            var merged: [Int] = []
            merged.reserveCapacity(order.count)
            for start in stride(from: 0, to: order.count, by: 2 * width) {
                let middle = min(start + width, order.count)
                let end = min(start + 2 * width, order.count)
                var (left, right) = (start, middle)
                while left < middle || right < end {
                    if left == middle {
                        merged.append(order[right])
                        right += 1
                        continue
                    }
                    var takesRight = false
                    if right < end {
                        let (a, b) = (keys[order[left]], keys[order[right]])
                        takesRight = isReversed ? try isLess(a, b) : try isLess(b, a)
                    }
                    merged.append(order[takesRight ? right : left])
                    if takesRight { right += 1 } else { left += 1 }
                }
            }
            order = merged
            width *= 2
        }
        return order
    }
}
