// Letter case as Python's `str` has it: full Unicode mappings, code point by code point.

extension TemplateText {
    var uppercased: TemplateText {
        TemplateText(scalars.map(\.properties.uppercaseMapping).joined())
    }

    // The small form of the capital form, as near to Unicode's case folding as the standard
    // library comes; both spell out what has no capital, such as the German sharp s.
    var casefolded: TemplateText {
        let capitals = uppercased.scalars
        return TemplateText(capitals.map(\.properties.lowercaseMapping).joined())
    }

    var lowercased: TemplateText {
        let all = scalars
        var result = ""
        for (index, scalar) in all.enumerated() {
            result += Self.lowercase(scalar, at: index, in: all)
        }
        return TemplateText(result)
    }

    var capitalized: TemplateText {
        guard let first = scalars.first else { return self }
        let rest = scalars
        var result = first.properties.titlecaseMapping
        for index in rest.indices.dropFirst() {
            result += Self.lowercase(rest[index], at: index, in: rest)
        }
        return TemplateText(result)
    }

    /// Python's `str.title`: a letter after anything uncased is a capital, each other is small.
    var titlecased: TemplateText {
        let all = scalars
        var result = ""
        var followsCased = false
        for (index, scalar) in all.enumerated() {
            result +=
                followsCased
                ? Self.lowercase(scalar, at: index, in: all) : scalar.properties.titlecaseMapping
            followsCased = scalar.properties.isCased
        }
        return TemplateText(result)
    }

    var caseSwapped: TemplateText {
        let all = scalars
        var result = ""
        for (index, scalar) in all.enumerated() {
            result +=
                scalar.properties.isUppercase
                ? Self.lowercase(scalar, at: index, in: all) : scalar.properties.uppercaseMapping
        }
        return TemplateText(result)
    }

    /// Whether there is a cased letter and none of the other case.
    var isUppercase: Bool {
        let cased = scalars.filter(\.properties.isCased)
        return !cased.isEmpty && cased.allSatisfy(\.properties.isUppercase)
    }

    /// Whether there is a cased letter and none of the other case.
    var isLowercase: Bool {
        let cased = scalars.filter(\.properties.isCased)
        return !cased.isEmpty && cased.allSatisfy(\.properties.isLowercase)
    }

    // A capital sigma that ends a word has its own small form.
    private static func lowercase(
        _ scalar: Unicode.Scalar, at index: Int, in all: [Unicode.Scalar]
    ) -> String {
        guard scalar == "\u{3A3}" else { return scalar.properties.lowercaseMapping }
        let before = all[..<index].last { !$0.properties.isCaseIgnorable }
        let after = all[(index + 1)...].first { !$0.properties.isCaseIgnorable }
        let endsWord = before?.properties.isCased == true && after?.properties.isCased != true
        return endsWord ? "\u{3C2}" : "\u{3C3}"
    }
}
