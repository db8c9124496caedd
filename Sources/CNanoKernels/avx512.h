// What the AVX-512 kernels share. Every function carries its own target, so that the rest of the
// program still runs on any x86-64.
//
// The kernels are built twice: with VNNI and BF16, and, by the files avx512_vnni_*.c, with VNNI
// alone: for CPUs that have no BF16, or where it is slow.
#pragma once

#include <immintrin.h>

#include "isa.h"
#include "numbers.h"

#if defined(NK_WITHOUT_BF16)
#define NK_SET(name) nk_avx512_vnni_##name
#define NK_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,prfchw")))
#else
#define NK_SET(name) nk_avx512_##name
#define NK_AVX512 \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,prfchw,avx512bf16")))
#endif
#define NK_INLINE static inline NK_AVX512 __attribute__((always_inline))

// For loops over the accumulators of a tile: they must become registers.
#if defined(__clang__)
#define NK_UNROLL _Pragma("clang loop unroll(full)")
// For the loop around such a tile: written out twice it would spill.
#define NK_NO_UNROLL _Pragma("clang loop unroll(disable)")
#else
#define NK_UNROLL
#define NK_NO_UNROLL
#endif

enum {
    NK_LANES = 16,
    NK_EXP_MOST = 4,  // vectors that one call of nk_exp takes
};

void NK_SET(linear_f32)(
    const float *x, ptrdiff_t x_stride, int rows, nk_matrix_f32 matrix, int first_panel,
    int panel_count, nk_output output);
void NK_SET(linear_bf16)(
    const nk_bf16 *x, ptrdiff_t x_stride, int rows, nk_matrix_bf16 matrix, int first_panel,
    int panel_count, nk_output output);
void NK_SET(linear_int8)(
    nk_rows_int8 x, int rows, nk_matrix_int8 matrix, int first_panel, int panel_count,
    nk_output output);
void NK_SET(attention)(nk_attention_piece piece, nk_kv_layer cache);
void NK_SET(attention_item)(
    nk_attention_piece piece, nk_kv_layer cache, int item, float *records);
void NK_SET(merge_items)(float *records, int items, int heads, int head_dim, float *out);

// Lanes of a row that starts at `first` and ends before `count`.
NK_INLINE __mmask16 nk_lanes_left(int first, int count) {
    int left = count - first;
    return left >= NK_LANES ? 0xffff : (__mmask16)((1u << left) - 1);
}

// The horizontal reductions fold the vector in half four times: one fixed tree.
NK_INLINE float nk_sum_lanes(__m512 v) {
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

NK_INLINE float nk_max_lanes(__m512 v) {
    __m256 a = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}

// Rounded to the nearest bf16, ties to even, NaN stays NaN: in the lower half of each lane. In
// integers, as the twin does: vcvtneps2bf16 would flush subnormal numbers.
NK_INLINE __m512i nk_round_bf16(__m512 v) {
    __m512i bits = _mm512_castps_si512(v);
    __m512i upper = _mm512_srli_epi32(bits, 16);
    __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
    __m512i rounded = _mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff));
    rounded = _mm512_srli_epi32(_mm512_add_epi32(rounded, odd), 16);
    __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    return _mm512_mask_or_epi32(rounded, nan, upper, _mm512_set1_epi32(0x40));
}

// The bf16 in the lower or upper half of each lane as f32.
NK_INLINE __m512 nk_lower_bf16(__m512i pairs) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
}

NK_INLINE __m512 nk_upper_bf16(__m512i pairs) {
    return _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32((int)0xffff0000)));
}

#if !defined(NK_WITHOUT_BF16)
// sum + a . b for the pair of bf16 in each lane. Without it the kernels turn a into f32 beforehand, and
// multiply the lower half of each pair, then the upper one.
NK_INLINE __m512 nk_dot_bf16(__m512 sum, __m512i a, __m512i b) {
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}
#endif

// x[i] = e^x[i] within 1.5e-7 relative, or 4e-6 if `rough`, for x from -87 to 80, at whose ends it
// stays: no result is subnormal, which costs some CPUs a hundred cycles. NaN stays NaN, e^0 is exactly
// 1. x = n ln 2 + f with |f| <= ln 2 / 2, and a minimax polynomial of degree 6 or 4 for e^f. The
// vectors advance step by step together, since one alone would wait for each of its results.
NK_INLINE void nk_exp_of(bool rough, int count, __m512 *x) {
    __m512 n[NK_EXP_MOST], power[NK_EXP_MOST], p[NK_EXP_MOST];
    // Adding 1.5 * 2^23 leaves no room for a fraction; 127 more, and n's lowest bits are the exponent
    // of 2^n.
    const __m512 shift = _mm512_set1_ps(0x1.8p23f + 127);
#define EACH NK_UNROLL for (int i = 0; i < count; i++)
    // Of two operands max and min return the second if one is NaN.
    EACH x[i] = _mm512_max_ps(_mm512_set1_ps(-87.0f), x[i]);
    EACH x[i] = _mm512_min_ps(_mm512_set1_ps(80.0f), x[i]);
    EACH n[i] = _mm512_fmadd_ps(x[i], _mm512_set1_ps(0x1.715476p+0f), shift);
    EACH power[i] = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(n[i]), 23));
    EACH n[i] = _mm512_sub_ps(n[i], shift);
    if (rough) {
        EACH x[i] = _mm512_fnmadd_ps(n[i], _mm512_set1_ps(0x1.62e43p-1f), x[i]);
        EACH p[i] = _mm512_fmadd_ps(
            _mm512_set1_ps(0x1.5b3004p-5f), x[i], _mm512_set1_ps(0x1.583e6ep-3f));
        EACH p[i] = _mm512_fmadd_ps(p[i], x[i], _mm512_set1_ps(0x1.fff564p-2f));
        EACH p[i] = _mm512_fmadd_ps(p[i], x[i], _mm512_set1_ps(0x1.fff9a4p-1f));
    } else {
        EACH x[i] = _mm512_fnmadd_ps(n[i], _mm512_set1_ps(0x1.62e4p-1f), x[i]);
        EACH x[i] = _mm512_fnmadd_ps(n[i], _mm512_set1_ps(0x1.7f7d1cp-20f), x[i]);
        EACH p[i] = _mm512_fmadd_ps(
            _mm512_set1_ps(0x1.6a23dp-10f), x[i], _mm512_set1_ps(0x1.123a2p-7f));
        EACH p[i] = _mm512_fmadd_ps(p[i], x[i], _mm512_set1_ps(0x1.5558f2p-5f));
        EACH p[i] = _mm512_fmadd_ps(p[i], x[i], _mm512_set1_ps(0x1.555492p-3f));
        EACH p[i] = _mm512_fmadd_ps(p[i], x[i], _mm512_set1_ps(0x1.fffffcp-2f));
        EACH p[i] = _mm512_fmadd_ps(p[i], x[i], _mm512_set1_ps(1.0f));
    }
    EACH p[i] = _mm512_fmadd_ps(p[i], x[i], _mm512_set1_ps(1.0f));
    EACH x[i] = _mm512_mul_ps(p[i], power[i]);
#undef EACH
}

NK_INLINE void nk_exp(int count, __m512 *x) { nk_exp_of(false, count, x); }

// Four vectors of integers that fit into bytes, as bytes, in order.
NK_INLINE __m512i nk_pack_bytes(bool is_signed, const __m512i *words) {
    __m512i low = _mm512_packs_epi32(words[0], words[1]);
    __m512i high = _mm512_packs_epi32(words[2], words[3]);
    __m512i bytes =
        is_signed ? _mm512_packs_epi16(low, high) : _mm512_packus_epi16(low, high);
    __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_permutexvar_epi32(order, bytes);
}
