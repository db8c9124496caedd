import Glibc
import NanoDevice
import NanoModel

/// Cosines and sines of rotary embedding for every position.
///
/// The method is Su et al., RoFormer, 2021.
/// Angles are rounded to f32 before the functions are taken, as Hugging Face transformers does;
/// at long positions that shows in the third digit of the angle's function.
struct RotaryTable {
    private let cosines: UnsafeMutablePointer<Float>  // (position, rotary dimension / 2)
    private let sines: UnsafeMutablePointer<Float>
    private let half: Int

    static func byteCount(_ model: ModelConfiguration, positions: Int) -> Int {
        2 * MemoryArena.byteCount(Float.self, positions * model.rotaryDimension / 2)
    }

    init(
        _ model: ModelConfiguration, factors: [Float], positions: Int, arena: MemoryArena
    ) {
        half = model.rotaryDimension / 2
        cosines = arena.cutFloor(Float.self, positions * half)
        sines = arena.cutFloor(Float.self, positions * half)
        for pair in 0..<half {
            let exponent = Double(2 * pair) / Double(model.rotaryDimension)
            var frequency = Float(1 / pow(Double(model.ropeBase), exponent))
            frequency /= factors.isEmpty ? 1 : factors[pair]
            for position in 0..<positions {
                let angle = Double(Float(position) / model.ropePositionDivisor * frequency)
                cosines[position * half + pair] = Float(cos(angle))
                sines[position * half + pair] = Float(sin(angle))
            }
        }
    }

    func cosines(_ position: Int) -> UnsafePointer<Float> {
        UnsafePointer(cosines + position * half)
    }

    func sines(_ position: Int) -> UnsafePointer<Float> {
        UnsafePointer(sines + position * half)
    }
}
