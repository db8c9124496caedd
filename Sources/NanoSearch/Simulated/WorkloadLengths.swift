import NanoDevice
package import NanoFlow

/// Lengths of requests as published traces have them, without the traces.
///
/// Each number is the mean of one hundredth of a trace's sorted lengths
/// (`Scripts/length_quantiles.py`); a request draws one for its prompt and one for its completion, so
/// that the means are the trace's.
package enum WorkloadLengths: String, Sendable, Hashable, CaseIterable {
    case shareGPT = "sharegpt"
    case lmsys
    case splitwise
    case constant512And512 = "512x512"
    case constant1024And512 = "1024x512"
    case constant512And1024 = "512x1024"

    private var slices: (prompts: [Int], completions: [Int]) {
        switch self {
        case .constant512And512: ([512], [512])
        case .constant1024And512: ([1024], [512])
        case .constant512And1024: ([512], [1024])
        case .shareGPT: (Self.shareGPTPrompts, Self.shareGPTCompletions)
        case .lmsys: (Self.lmsysPrompts, Self.lmsysCompletions)
        case .splitwise: (Self.splitwisePrompts, Self.splitwiseCompletions)
        }
    }

    /// Draws requests.
    ///
    /// - Parameters:
    ///   - count: How many.
    ///   - seed: The same seed draws the same lengths.
    ///   - maxLength: Tokens of prompt and completion together, at most: longer prompts are cut, and
    ///     completions that would leave none.
    /// - Returns: Requests with random prompts.
    package func requests(count: Int, seed: UInt64, maxLength: Int) -> [Workload.Request] {
        var generator = SplitMix64(seed: seed)
        let (prompts, completions) = slices
        return (0..<count).map { _ in
            let prompt = prompts[Int.random(in: prompts.indices, using: &generator)]
            let completion = completions[
                Int.random(in: completions.indices, using: &generator)]
            return Workload.Request(prompt: .random(count: prompt), outputLength: completion)
                .cut(to: maxLength)
        }
    }
}

extension WorkloadLengths {
    private static let shareGPTPrompts = [
        2, 3, 4, 5, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 11, 12, 12, 13, 13, 14, 14, 14,
        15, 15, 16, 16, 17, 17, 18, 18, 19, 19, 20, 21, 21, 22, 23, 24, 24, 25, 26, 27,
        28, 29, 30, 31, 32, 34, 35, 37, 38, 40, 42, 44, 46, 48, 51, 54, 56, 60, 63, 67,
        71, 75, 80, 85, 90, 96, 103, 110, 118, 128, 139, 152, 165, 182, 200, 220, 244,
        272, 305, 343, 383, 427, 473, 529, 601, 686, 777, 888, 1016, 1158, 1302, 1500,
        1767, 2078, 2488, 3074, 6071,
    ]

    private static let shareGPTCompletions = [
        3, 7, 10, 11, 17, 22, 26, 29, 33, 37, 42, 46, 53, 60, 67, 74, 81, 88, 94, 99,
        105, 110, 116, 122, 128, 134, 139, 145, 152, 158, 165, 171, 178, 184, 190, 196,
        203, 209, 215, 221, 227, 233, 239, 245, 250, 256, 261, 267, 272, 277, 283, 288,
        294, 300, 305, 311, 317, 323, 329, 335, 341, 347, 353, 360, 366, 372, 379, 386,
        393, 400, 408, 415, 423, 432, 440, 450, 460, 471, 482, 495, 507, 520, 534, 549,
        565, 582, 601, 621, 644, 670, 697, 728, 760, 788, 826, 863, 901, 938, 975, 1175,
    ]

    private static let lmsysPrompts = [
        2, 2, 2, 2, 3, 3, 4, 4, 5, 6, 6, 7, 7, 7, 8, 8, 8, 9, 9, 10, 10, 10, 11, 11, 11,
        12, 12, 13, 13, 13, 14, 14, 15, 15, 16, 16, 17, 18, 18, 19, 20, 20, 21, 22, 23,
        24, 25, 25, 26, 27, 28, 29, 30, 32, 33, 34, 35, 36, 38, 39, 40, 42, 44, 46, 48,
        51, 54, 57, 60, 64, 67, 68, 72, 78, 81, 83, 85, 89, 96, 104, 114, 124, 136, 152,
        169, 189, 211, 234, 260, 289, 315, 337, 360, 384, 414, 456, 522, 601, 688, 977,
    ]

    private static let lmsysCompletions = [
        2, 2, 3, 5, 7, 9, 10, 10, 10, 11, 13, 14, 15, 17, 18, 20, 22, 23, 25, 27, 29,
        31, 33, 36, 38, 40, 43, 46, 49, 52, 55, 59, 62, 66, 69, 73, 77, 81, 84, 88, 92,
        97, 101, 106, 111, 115, 120, 126, 131, 137, 143, 150, 157, 164, 172, 180, 188,
        196, 204, 212, 220, 228, 237, 245, 253, 261, 269, 277, 286, 294, 302, 310, 318,
        326, 334, 343, 351, 360, 369, 379, 389, 399, 411, 422, 435, 449, 464, 482, 501,
        511, 513, 513, 513, 513, 516, 528, 560, 633, 763, 986,
    ]

    private static let splitwisePrompts = [
        17, 61, 124, 174, 181, 183, 195, 200, 203, 206, 210, 216, 233, 280, 354, 373,
        376, 379, 382, 386, 388, 391, 393, 394, 396, 397, 398, 400, 401, 402, 404, 406,
        407, 409, 412, 417, 421, 429, 442, 554, 791, 885, 923, 960, 979, 989, 998, 1006,
        1012, 1017, 1023, 1028, 1033, 1038, 1043, 1048, 1053, 1058, 1063, 1068, 1073,
        1078, 1083, 1089, 1094, 1100, 1106, 1112, 1119, 1126, 1134, 1143, 1153, 1165,
        1180, 1201, 1231, 1279, 1313, 1314, 1317, 1345, 1437, 1600, 1785, 1963, 2133,
        2306, 2488, 2631, 2955, 3768, 4075, 4078, 4081, 4084, 4088, 4093, 4113, 5027,
    ]

    private static let splitwiseCompletions = [
        13, 18, 28, 35, 40, 43, 46, 48, 50, 53, 55, 58, 60, 63, 66, 68, 70, 72, 74, 76,
        78, 80, 82, 83, 84, 86, 87, 88, 89, 90, 91, 92, 93, 94, 95, 97, 98, 99, 101,
        102, 104, 106, 108, 110, 112, 114, 117, 120, 124, 127, 131, 135, 139, 143, 148,
        153, 159, 162, 166, 173, 179, 185, 196, 208, 217, 223, 305, 373, 376, 381, 385,
        388, 391, 393, 394, 396, 396, 396, 397, 399, 401, 403, 406, 409, 411, 412, 414,
        416, 419, 422, 426, 429, 430, 438, 446, 460, 489, 524, 572, 710,
    ]
}
