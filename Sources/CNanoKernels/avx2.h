// What the AVX2 kernels share. Every function carries its own target, so that the rest of the
// program still runs on any x86-64.
#pragma once

#include <immintrin.h>

#include "isa.h"
#include "numbers.h"

#define NK_AVX2 __attribute__((target("avx2,fma")))
#define NK_INLINE static inline NK_AVX2 __attribute__((always_inline))

// For loops over the accumulators of a tile: they must become registers.
#if defined(__clang__)
#define NK_UNROLL _Pragma("clang loop unroll(full)")
#else
#define NK_UNROLL
#endif

enum { NK_LANES = 8 };

void nk_avx2_linear_f32(
    const float *x, ptrdiff_t x_stride, int rows, nk_matrix_f32 matrix, int first_panel,
    int panel_count, nk_output output);
void nk_avx2_linear_bf16(
    const nk_bf16 *x, ptrdiff_t x_stride, int rows, nk_matrix_bf16 matrix, int first_panel,
    int panel_count, nk_output output);
void nk_avx2_linear_int8(
    nk_rows_int8 x, int rows, nk_matrix_int8 matrix, int first_panel, int panel_count,
    nk_output output);
void nk_avx2_attention(nk_attention_piece piece, nk_kv_layer cache);
void nk_avx2_attention_item(
    nk_attention_piece piece, nk_kv_layer cache, int item, float *records);
void nk_avx2_merge_items(float *records, int items, int heads, int head_dim, float *out);

// The same address, which the compiler takes for another one: it then loads what lies there a
// second time, which costs little, instead of keeping it, which pushes sums out of registers.
NK_INLINE const void *nk_load_again(const void *source) {
    __asm__("" : "+r"(source));
    return source;
}

// The same address, which the compiler takes to follow from `value`: it then does not load ahead of
// what makes the value, which would push sums out of registers.
NK_INLINE const void *nk_after(__m256 value, const void *address) {
    __asm__("" : "+r"(address) : "x"(value));
    return address;
}

// All bits set in the lanes below `count`.
NK_INLINE __m256i nk_lanes_below(int count) {
    return _mm256_cmpgt_epi32(
        _mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

// x[first...] of a row of `count`, zeros past its end.
NK_INLINE __m256 nk_load_lanes(const float *x, int first, int count) {
    if (first + NK_LANES <= count) return _mm256_loadu_ps(x + first);
    return _mm256_maskload_ps(x + first, nk_lanes_below(count - first));
}

NK_INLINE void nk_store_lanes(float *out, int first, int count, __m256 values) {
    if (first + NK_LANES <= count) {
        _mm256_storeu_ps(out + first, values);
    } else {
        _mm256_maskstore_ps(out + first, nk_lanes_below(count - first), values);
    }
}

// The horizontal reductions fold the vector in half three times: one fixed tree.
NK_INLINE float nk_sum_lanes(__m256 v) {
    __m128 a = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    a = _mm_add_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_add_ss(a, _mm_movehdup_ps(a)));
}

NK_INLINE float nk_max_lanes(__m256 v) {
    __m128 a = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    a = _mm_max_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_max_ss(a, _mm_movehdup_ps(a)));
}

NK_INLINE uint32_t nk_max_words(__m256i v) {
    __m128i a = _mm_max_epu32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    a = _mm_max_epu32(a, _mm_shuffle_epi32(a, 0x4e));
    a = _mm_max_epu32(a, _mm_shuffle_epi32(a, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(a);
}

NK_INLINE __m256 nk_power_of_two(__m256i exponent) {
    __m256i biased = _mm256_add_epi32(exponent, _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23));
}

// e^x within 1.5e-7 relative; 0 below -104, infinity above 88.73, NaN stays NaN, e^0 is exactly 1.
// x = n ln 2 + f with |f| <= ln 2 / 2, and a minimax polynomial of degree 6 for e^f. 2^n is
// multiplied in by halves, since n reaches past the exponents of normal numbers on both sides.
NK_INLINE __m256 nk_exp(__m256 x) {
    // Of two operands max and min return the second if one is NaN.
    x = _mm256_min_ps(_mm256_set1_ps(89.0f), _mm256_max_ps(_mm256_set1_ps(-104.0f), x));
    __m256 n = _mm256_round_ps(
        _mm256_mul_ps(x, _mm256_set1_ps(0x1.715476p+0f)),
        _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 f = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.62e4p-1f), x);
    f = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.7f7d1cp-20f), f);
    __m256 p = _mm256_set1_ps(0x1.6a23dp-10f);
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0x1.123a2p-7f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0x1.5558f2p-5f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0x1.555492p-3f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0x1.fffffcp-2f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(1.0f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(1.0f));
    __m256i exponent = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(exponent, 1);
    p = _mm256_mul_ps(p, nk_power_of_two(half));
    return _mm256_mul_ps(p, nk_power_of_two(_mm256_sub_epi32(exponent, half)));
}

// For what is rounded to 8 bits next: e^x within 4e-6 relative, for x from -87, where it stays, to 80.
// NaN stays NaN, e^0 is exactly 1. The same with a polynomial of degree 4.
NK_INLINE __m256 nk_rough_exp(__m256 x) {
    // Adding 1.5 * 2^23 leaves no room for a fraction; 127 more, and n's lowest bits are the exponent
    // of 2^n.
    const __m256 shift = _mm256_set1_ps(0x1.8p23f + 127);
    x = _mm256_max_ps(_mm256_set1_ps(-87.0f), x);
    __m256 n = _mm256_fmadd_ps(x, _mm256_set1_ps(0x1.715476p+0f), shift);
    __m256 power = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(n), 23));
    n = _mm256_sub_ps(n, shift);
    __m256 f = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.62e43p-1f), x);
    __m256 p = _mm256_set1_ps(0x1.5b3004p-5f);
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0x1.583e6ep-3f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0x1.fff564p-2f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0x1.fff9a4p-1f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(1.0f));
    return _mm256_mul_ps(p, power);
}
