import CNanoKernels
import Foundation
import NanoTestSupport
import Testing

/// An instruction set that this machine can run; tests take each as an argument.
enum KernelSet: String, CaseIterable, Sendable, CustomTestStringConvertible {
    case portable
    case avx2
    case avx512VNNI
    case avx512

    static let supported = allCases.filter { nk_supports($0.isa) }
    /// Those that have the portable set as their reference twin.
    static let fast = supported.filter { $0 != .portable }

    var isa: nk_isa {
        switch self {
        case .portable: NK_ISA_PORTABLE
        case .avx2: NK_ISA_AVX2
        case .avx512VNNI: NK_ISA_AVX512_VNNI
        case .avx512: NK_ISA_AVX512
        }
    }
    var kernels: nk_kernels { nk_kernels_for(isa).pointee }
    var testDescription: String { rawValue }

    /// Whether short int8 dot products become floats without a conversion, at the cost of some bits.
    var readsDotsAsFloats: Bool { self == .avx512VNNI || self == .avx512 }

    /// Whether gates of int8 products take an estimate of the reciprocal, within 2^-14, as it is.
    var estimatesGates: Bool { self == .avx512VNNI || self == .avx512 }

    /// Whether attention rounds query and weights to what a cache of this type holds.
    ///
    /// The AVX2 set leaves heads that do not fill its lanes to the portable one.
    func roundsOperands(of type: nk_kv_type, headDim: Int) -> Bool {
        type == NK_KV_INT8 || (type == NK_KV_BF16 && (self != .avx2 || headDim % 8 != 0))
    }
}

extension SeededGenerator {
    mutating func floats(_ count: Int, in range: ClosedRange<Float> = -1...1) -> [Float] {
        (0..<count).map { _ in Float.random(in: range, using: &self) }
    }
}

/// Half the distance from 1 to the next `Float`: the relative error of one rounding.
let unitRoundoff = 0x1p-24

/// The nearest bfloat16 by its distance in double precision, ties to the even one.
func nearestBF16(_ value: Float) -> UInt16 {
    let below = value.bitPattern & 0xffff_0000
    if value.isNaN { return UInt16(value.bitPattern >> 16) | 0x40 }
    if value.isInfinite || below == value.bitPattern { return UInt16(below >> 16) }
    let above = below + 0x1_0000
    // Past the largest finite value the next step has the size of the one before.
    let low = Double(Float(bitPattern: below))
    let step = abs(
        low - Double(Float(bitPattern: below - (below & 0x7f80_0000 == 0 ? 0 : 0x1_0000))))
    let aboveValue = Float(bitPattern: above)
    let high = aboveValue.isFinite ? Double(aboveValue) : low + (low < 0 ? -step : step)
    let toLow = abs(Double(value) - low)
    let toHigh = abs(high - Double(value))
    let picksLow = toLow == toHigh ? (below >> 16) % 2 == 0 : toLow < toHigh
    return UInt16((picksLow ? below : above) >> 16)
}

func float(fromBF16 bits: UInt16) -> Float { Float(bitPattern: UInt32(bits) << 16) }

func roundedToBF16(_ values: [Float]) -> [Float] {
    values.map { float(fromBF16: nearestBF16($0)) }
}

/// With one symmetric scale for all of them, which is multiplied in.
func roundedToInt8(_ values: [Float]) -> [Double] {
    let scale = (values.map(abs).max() ?? 0) / 127
    return values.map { Double(($0 / scale).rounded(.toNearestOrEven)) * Double(scale) }
}

func silu(_ x: Double) -> Double { x / (1 + exp(-x)) }

/// Where two rows of numbers first differ in a bit; nil if nowhere.
///
/// Tests compare this to nil, since a failed `==` of long arrays is slow to describe.
func firstDifference(_ a: [Float], _ b: [Float]) -> Int? {
    guard a.count == b.count else { return min(a.count, b.count) }
    return a.indices.first { a[$0].bitPattern != b[$0].bitPattern }
}
