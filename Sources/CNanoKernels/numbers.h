// Small number rules that the packing code and more than one instruction set must share exactly.
#pragma once

#include <math.h>
#include <string.h>

#include "nano_kernels.h"

// Where the values of an attention record begin.
enum { NK_RECORD_VALUES = NK_ATTENTION_RECORD - NK_MAX_HEAD_DIM };

static inline int nk_smaller(int a, int b) { return a < b ? a : b; }

static inline int nk_ceil_div(int a, int b) { return (a + b - 1) / b; }

static inline int nk_round_up(int value, int multiple) {
    return nk_ceil_div(value, multiple) * multiple;
}

static inline uint32_t nk_bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float nk_float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float nk_f32_from_bf16(nk_bf16 value) { return nk_float_of((uint32_t)value << 16); }

// Round to nearest even; a NaN keeps its sign and upper payload and becomes quiet, since rounding
// could carry a NaN over into infinity.
static inline nk_bf16 nk_bf16_from_f32(float value) {
    uint32_t bits = nk_bits_of(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (nk_bf16)(bits >> 16 | 0x40);
    return (nk_bf16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// Adding and taking away 1.5 * 2^23 leaves no room for a fraction: round to nearest even for
// |value| < 2^22, in two operations that every compiler vectorises.
static inline float nk_round_even(float value) { return (value + 0x1.8p23f) - 0x1.8p23f; }

// The bits of the largest |x|. A NaN counts as larger than infinity, so that it reaches the scale
// of its group and from there the result.
static inline uint32_t nk_largest_bits(const float *x, int count) {
    uint32_t largest = 0;
    for (int i = 0; i < count; i++) {
        uint32_t magnitude = nk_bits_of(x[i]) & 0x7fffffffu;
        if (magnitude > largest) largest = magnitude;
    }
    return largest;
}

// The int8 scale of a group by the bits of its largest |x|. False if its values are all to be 0: a
// group of zeros, one so small that ratios of scales might overflow (both have scale 0), or one that
// is not finite.
static inline bool nk_group_scale(uint32_t largest_bits, float *scale) {
    float largest = nk_float_of(largest_bits);
    *scale = largest < 0x1p-60f ? 0.0f : largest / 127.0f;
    return *scale > 0.0f && *scale < INFINITY;
}
