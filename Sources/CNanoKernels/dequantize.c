// GGUF block formats to f32. A block is one or two f16 scales and packed integers; the layout of
// each is drawn above its function, low bits first. Element i of a nibble array of n bytes is the
// low half of byte i for i < n, else the high half of byte i - n.
//
// Each value is made by the operations written here, in this order, each rounded to f32: products
// and sums are not fused, so that every machine gives the same bits.
#include <string.h>

#include "nano_kernels.h"

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "GGUF v3 is read as little-endian");

// ggml's type numbers.
enum {
    F32 = 0,
    F16 = 1,
    Q4_0 = 2,
    Q4_1 = 3,
    Q5_0 = 6,
    Q5_1 = 7,
    Q8_0 = 8,
    Q4_K = 12,
    Q5_K = 13,
    Q6_K = 14,
    BF16 = 30,
};

typedef unsigned char byte;

static float f32_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint16_t load_u16(const byte *source) {
    uint16_t bits;
    memcpy(&bits, source, sizeof bits);
    return bits;
}

static uint32_t load_u32(const byte *source) {
    uint32_t bits;
    memcpy(&bits, source, sizeof bits);
    return bits;
}

// binary16: 1 sign, 5 exponent (bias 15), 10 fraction bits.
static float f16_at(const byte *source) {
    uint32_t half = load_u16(source);
    uint32_t sign = (half & 0x8000u) << 16;
    uint32_t magnitude = half & 0x7fffu;
    if (magnitude < 0x0400u) {  // zero or subnormal: fraction * 2^-24, exact in f32
        float value = (float)magnitude * 0x1p-24f;
        return sign ? -value : value;
    }
    // An infinity or NaN keeps its fraction; a number moves from bias 15 to bias 127.
    uint32_t exponent = magnitude >= 0x7c00u ? 224u << 23 : 112u << 23;
    return f32_of_bits(sign | ((magnitude << 13) + exponent));
}

static void dequantize_f16(const byte *source, int64_t count, float *out) {
    for (int64_t i = 0; i < count; i++) out[i] = f16_at(source + 2 * i);
}

static void dequantize_bf16(const byte *source, int64_t count, float *out) {
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits = (uint32_t)load_u16(source + 2 * i) << 16;
        memcpy(out + i, &bits, sizeof bits);
    }
}

// [d f16][nibbles 16]: d * (q - 8)
static void block_q4_0(const byte *block, float *out) {
    float d = f16_at(block);
    const byte *q = block + 2;
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)((q[i] & 15) - 8);
        out[i + 16] = d * (float)((q[i] >> 4) - 8);
    }
}

// [d f16][m f16][nibbles 16]: d * q + m
static void block_q4_1(const byte *block, float *out) {
    float d = f16_at(block), m = f16_at(block + 2);
    const byte *q = block + 4;
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)(q[i] & 15) + m;
        out[i + 16] = d * (float)(q[i] >> 4) + m;
    }
}

// The 5-bit values: nibbles 16, and bit i of `high` is bit 4 of value i.
static void unpack_5_bits(const byte *nibbles, uint32_t high, int *values) {
    for (int i = 0; i < 16; i++) {
        values[i] = (nibbles[i] & 15) | (int)((high >> i & 1) << 4);
        values[i + 16] = nibbles[i] >> 4 | (int)((high >> (i + 16) & 1) << 4);
    }
}

// [d f16][high u32][nibbles 16]: d * (q - 16)
static void block_q5_0(const byte *block, float *out) {
    int q[32];
    unpack_5_bits(block + 6, load_u32(block + 2), q);
    float d = f16_at(block);
    for (int i = 0; i < 32; i++) out[i] = d * (float)(q[i] - 16);
}

// [d f16][m f16][high u32][nibbles 16]: d * q + m
static void block_q5_1(const byte *block, float *out) {
    int q[32];
    unpack_5_bits(block + 8, load_u32(block + 4), q);
    float d = f16_at(block), m = f16_at(block + 2);
    for (int i = 0; i < 32; i++) out[i] = d * (float)q[i] + m;
}

// [d f16][q i8 * 32]: d * q
static void block_q8_0(const byte *block, float *out) {
    float d = f16_at(block);
    const byte *q = block + 2;
    for (int i = 0; i < 32; i++) out[i] = d * (float)(int8_t)q[i];
}

// The 6-bit scale and minimum of each of 8 sub-blocks, in 12 bytes: bytes 0-3 hold scales 0-3 in
// their low 6 bits, bytes 4-7 minima 0-3, bytes 8-11 the low 4 bits of scales (low nibble) and
// minima (high nibble) 4-7, whose upper 2 bits are the top bits of bytes 0-3 and 4-7.
static void unpack_scales(const byte *packed, int *scales, int *minima) {
    for (int i = 0; i < 4; i++) {
        scales[i] = packed[i] & 63;
        minima[i] = packed[i + 4] & 63;
        scales[i + 4] = (packed[i + 8] & 15) | (packed[i] >> 6) << 4;
        minima[i + 4] = packed[i + 8] >> 4 | (packed[i + 4] >> 6) << 4;
    }
}

// [d f16][dmin f16][scales 12][4 * nibbles 32], 8 sub-blocks of 32:
// (d * scale) * q - dmin * minimum
static void block_q4_k(const byte *block, float *out) {
    float d = f16_at(block), dmin = f16_at(block + 2);
    int scales[8], minima[8];
    unpack_scales(block + 4, scales, minima);
    for (int s = 0; s < 8; s++, out += 32) {
        const byte *q = block + 16 + s / 2 * 32;
        int shift = s % 2 * 4;
        float scale = d * (float)scales[s], minimum = dmin * (float)minima[s];
        for (int i = 0; i < 32; i++) out[i] = scale * (float)(q[i] >> shift & 15) - minimum;
    }
}

// [d f16][dmin f16][scales 12][high 32][4 * nibbles 32]: as Q4_K; bit s of high[i] is bit 4 of
// value i of sub-block s.
static void block_q5_k(const byte *block, float *out) {
    float d = f16_at(block), dmin = f16_at(block + 2);
    int scales[8], minima[8];
    unpack_scales(block + 4, scales, minima);
    const byte *high = block + 16;
    for (int s = 0; s < 8; s++, out += 32) {
        const byte *low = block + 48 + s / 2 * 32;
        int shift = s % 2 * 4;
        float scale = d * (float)scales[s], minimum = dmin * (float)minima[s];
        for (int i = 0; i < 32; i++) {
            int q = (low[i] >> shift & 15) | (high[i] >> s & 1) << 4;
            out[i] = scale * (float)q - minimum;
        }
    }
}

// [2 * nibbles 64][high 2 * 32][scales i8 * 16][d f16]: (d * scale) * (q - 32), a scale for 16
// values. Half h of the block holds 4 runs of 32 values; bits 2r and 2r + 1 of high[32h + i] are
// bits 4 and 5 of value i of run r.
static void block_q6_k(const byte *block, float *out) {
    const byte *scales = block + 192;
    float d = f16_at(block + 208);
    for (int run = 0; run < 8; run++, out += 32) {
        int half = run / 4, r = run % 4;
        const byte *low = block + half * 64 + r % 2 * 32;
        const byte *high = block + 128 + half * 32;
        int low_shift = r / 2 * 4, high_shift = r * 2;
        for (int part = 0; part < 2; part++) {
            float scale = d * (float)(int8_t)scales[run * 2 + part];
            for (int i = part * 16; i < part * 16 + 16; i++) {
                int q = (low[i] >> low_shift & 15) | (high[i] >> high_shift & 3) << 4;
                out[i] = scale * (float)(q - 32);
            }
        }
    }
}

typedef void (*block_function)(const byte *block, float *out);

static block_function block_function_of(int type) {
    switch (type) {
        case Q4_0: return block_q4_0;
        case Q4_1: return block_q4_1;
        case Q5_0: return block_q5_0;
        case Q5_1: return block_q5_1;
        case Q8_0: return block_q8_0;
        case Q4_K: return block_q4_k;
        case Q5_K: return block_q5_k;
        case Q6_K: return block_q6_k;
        default: return NULL;
    }
}

void nk_block_format(int type, int *elements, int *bytes) {
    static const struct {
        int type, elements, bytes;
    } formats[] = {
        {F32, 1, 4},    {F16, 1, 2},      {BF16, 1, 2},     {Q4_0, 32, 18},
        {Q4_1, 32, 20}, {Q5_0, 32, 22},   {Q5_1, 32, 24},   {Q8_0, 32, 34},
        {Q4_K, 256, 144}, {Q5_K, 256, 176}, {Q6_K, 256, 210},
    };
    *elements = 0;
    *bytes = 0;
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        if (formats[i].type != type) continue;
        *elements = formats[i].elements;
        *bytes = formats[i].bytes;
    }
}

bool nk_dequantize(int type, const void *source, int64_t count, float *out) {
    switch (type) {
        case F32: memcpy(out, source, (size_t)count * sizeof(float)); return true;
        case F16: dequantize_f16(source, count, out); return true;
        case BF16: dequantize_bf16(source, count, out); return true;
        default: break;
    }
    block_function block = block_function_of(type);
    if (block == NULL) return false;
    int elements, bytes;
    nk_block_format(type, &elements, &bytes);
    const byte *next = source;
    for (int64_t i = 0; i < count; i += elements, next += bytes) block(next, out + i);
    return true;
}
