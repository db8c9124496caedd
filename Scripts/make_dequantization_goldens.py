#!/usr/bin/env python3
"""Writes Tests/NanoModelTests/Fixtures/dequantization.bin: blocks of every tensor type that the
GGUF reader knows, and their f32 values by the gguf package's own dequantisation.

Made with Python 3.11, gguf==0.19.0, numpy==2.4.6:
    python3 -m pip install gguf==0.19.0 numpy==2.4.6
    python3 Scripts/make_dequantization_goldens.py

The file is a list of sections, little-endian: type u32, element count u32, byte count u32, the
blocks, the f32 values. Block contents are random bytes; the f16 scales are finite, and the first
blocks of each type take them from a list of extremes (zeros of both signs, subnormals, the largest
numbers, negative ones). The last block of each type has every bit set outside its f16 scales.
"""

import struct
from pathlib import Path

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as Type
from gguf.quants import dequantize

SEED = 20261122
OUTPUT = Path(__file__).parent.parent / "Tests/NanoModelTests/Fixtures/dequantization.bin"

# Byte offsets of the f16 scales in a block, and how many blocks to write.
BLOCK_TYPES = {
    Type.Q4_0: ([0], 48),
    Type.Q4_1: ([0, 2], 48),
    Type.Q5_0: ([0], 48),
    Type.Q5_1: ([0, 2], 48),
    Type.Q8_0: ([0], 48),
    Type.Q4_K: ([0, 2], 20),
    Type.Q5_K: ([0, 2], 20),
    Type.Q6_K: ([208], 20),
}

# f16 bits: +-0, the smallest and largest subnormals, the smallest normals, +-1, +-largest.
EXTREMES = [
    *[0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x83FF],
    *[0x0400, 0x8400, 0x3C00, 0xBC00, 0x7BFF, 0xFBFF],
]


def random_scale(random: np.random.Generator) -> int:
    while True:
        bits = int(random.integers(0, 1 << 16))
        if bits & 0x7C00 != 0x7C00:
            return bits


def blocks_of(kind: Type, random: np.random.Generator) -> np.ndarray:
    offsets, count = BLOCK_TYPES[kind]
    blocks = random.integers(0, 256, (count, GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
    blocks[-1] = 0xFF
    for index, block in enumerate(blocks):
        for place, offset in enumerate(offsets):
            extreme = index + 5 * place
            bits = EXTREMES[extreme % 12] if index < 12 else random_scale(random)
            block[offset : offset + 2] = np.frombuffer(struct.pack("<H", bits), np.uint8)
    return blocks


def plain_values(kind: Type, random: np.random.Generator) -> np.ndarray:
    """Random bits of a plain type, infinities included, NaN left out."""
    width, exponent = {
        Type.F32: (32, 0x7F800000),
        Type.F16: (16, 0x7C00),
        Type.BF16: (16, 0x7F80),
    }[kind]
    bits = random.integers(0, 1 << width, 512, dtype=np.uint64)
    sign = 1 << (width - 1)
    magnitudes = [0, 1, exponent, exponent - 1]
    bits[:8] = magnitudes + [sign | magnitude for magnitude in magnitudes]
    bits = bits[(bits & (sign - 1)) <= exponent]
    return bits[: len(bits) // 8 * 8].astype(f"<u{width // 8}").view(np.uint8).reshape(1, -1)


def main() -> None:
    random = np.random.default_rng(SEED)
    np.seterr(over="ignore")
    sections = b""
    for kind in (Type.F32, Type.F16, Type.BF16, *BLOCK_TYPES):
        blocks = blocks_of(kind, random) if kind in BLOCK_TYPES else plain_values(kind, random)
        values = dequantize(blocks, kind).astype("<f4").reshape(-1)
        sections += struct.pack("<III", kind, values.size, blocks.size)
        sections += blocks.tobytes() + values.tobytes()
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_bytes(sections)
    print(f"{OUTPUT.name}: {len(sections)} bytes")


if __name__ == "__main__":
    main()
