// Norms, activations, conversions and searches over one row, 16 lanes at a time, the rest by mask.
#include "nano_kernels.h"

#if defined(__x86_64__)

#include "avx512.h"

NK_AVX512 static void rms_norm(
    const float *x, const float *weight, float epsilon, int count, float *out) {
    __m512 squares = _mm512_setzero_ps();
    for (int i = 0; i < count; i += NK_LANES) {
        __m512 v = _mm512_maskz_loadu_ps(nk_lanes_left(i, count), x + i);
        squares = _mm512_fmadd_ps(v, v, squares);
    }
    float mean = nk_sum_lanes(squares) / (float)count;
    __m512 scale = _mm512_set1_ps(1.0f / sqrtf(mean + epsilon));
    for (int i = 0; i < count; i += NK_LANES) {
        __mmask16 lanes = nk_lanes_left(i, count);
        __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, x + i), scale);
        v = _mm512_mul_ps(v, _mm512_maskz_loadu_ps(lanes, weight + i));
        _mm512_mask_storeu_ps(out + i, lanes, v);
    }
}

NK_AVX512 static void silu_multiply(const float *gate, const float *up, int count, float *out) {
    __m512 one = _mm512_set1_ps(1.0f);
    for (int i = 0; i < count; i += NK_LANES) {
        __mmask16 lanes = nk_lanes_left(i, count);
        __m512 g = _mm512_maskz_loadu_ps(lanes, gate + i);
        __m512 negative = _mm512_xor_ps(g, _mm512_set1_ps(-0.0f));
        __m512 silu = _mm512_div_ps(g, _mm512_add_ps(one, nk_exp(negative)));
        __m512 u = _mm512_maskz_loadu_ps(lanes, up + i);
        _mm512_mask_storeu_ps(out + i, lanes, _mm512_mul_ps(silu, u));
    }
}

// In integers, as the twin does: vcvtneps2bf16 would flush subnormal numbers.
NK_AVX512 static void convert_bf16(const float *x, int count, nk_bf16 *out) {
    for (int i = 0; i < count; i += NK_LANES) {
        __mmask16 lanes = nk_lanes_left(i, count);
        __m512 v = _mm512_maskz_loadu_ps(lanes, x + i);
        __m512i bits = _mm512_castps_si512(v);
        __m512i upper = _mm512_srli_epi32(bits, 16);
        __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
        __m512i rounded = _mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff));
        rounded = _mm512_srli_epi32(_mm512_add_epi32(rounded, odd), 16);
        __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
        rounded = _mm512_mask_or_epi32(rounded, nan, upper, _mm512_set1_epi32(0x40));
        _mm512_mask_cvtepi32_storeu_epi16(out + i, lanes, rounded);
    }
    if (count % 2 != 0) out[count] = 0;
}

NK_INLINE uint32_t largest_bits(const float *x, int count) {
    __m512i largest = _mm512_setzero_si512();
    for (int i = 0; i < count; i += NK_LANES) {
        __m512i bits = _mm512_maskz_loadu_epi32(nk_lanes_left(i, count), x + i);
        bits = _mm512_and_si512(bits, _mm512_set1_epi32(0x7fffffff));
        largest = _mm512_max_epu32(largest, bits);
    }
    return _mm512_reduce_max_epu32(largest);
}

// Returns the sum of the values.
// One stage of the transform within a register: lane i and lane i ^ distance become their sum and
// their difference. `upper` are the lanes with the distance's bit set.
NK_INLINE __m512 butterfly(__m512 v, int distance, __mmask16 upper) {
    __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m512i partners = _mm512_xor_si512(lanes, _mm512_set1_epi32(distance));
    __m512 t = _mm512_permutexvar_ps(partners, v);
    return _mm512_mask_sub_ps(_mm512_add_ps(v, t), upper, t, v);
}

// Runs of 16, 32 or 64 values: 1, 2 or 4 registers.
NK_INLINE void rotate_run(float *x, int registers, uint64_t signs, __m512 scale) {
    __m512 v[NK_MAX_ROTATION / NK_LANES];
    for (int i = 0; i < registers; i++) {
        v[i] = _mm512_loadu_ps(x + i * NK_LANES);
        __mmask16 negated = (__mmask16)(signs >> (i * NK_LANES));
        v[i] = _mm512_mask_xor_ps(v[i], negated, v[i], _mm512_set1_ps(-0.0f));
        v[i] = butterfly(v[i], 1, 0xaaaa);
        v[i] = butterfly(v[i], 2, 0xcccc);
        v[i] = butterfly(v[i], 4, 0xf0f0);
        v[i] = butterfly(v[i], 8, 0xff00);
    }
    for (int distance = 1; distance < registers; distance *= 2) {
        for (int i = 0; i < registers; i++) {
            if (i & distance) continue;
            __m512 a = v[i], b = v[i + distance];
            v[i] = _mm512_add_ps(a, b);
            v[i + distance] = _mm512_sub_ps(a, b);
        }
    }
    for (int i = 0; i < registers; i++) {
        _mm512_storeu_ps(x + i * NK_LANES, _mm512_mul_ps(v[i], scale));
    }
}

NK_AVX512 static void rotate(float *x, int count, int run, uint64_t signs, float scale) {
    __m512 factor = _mm512_set1_ps(scale);
    if (run < NK_LANES) {
        nk_portable_kernels.rotate(x, count, run, signs, scale);
        return;
    }
    for (float *part = x; part + run <= x + count; part += run) {
        if (run == 64) rotate_run(part, 4, signs, factor);
        if (run == 32) rotate_run(part, 2, signs, factor);
        if (run == 16) rotate_run(part, 1, signs, factor);
    }
}

NK_INLINE int32_t quantize_group(const float *x, int count, float *scale, int8_t *values) {
    __m512i sum = _mm512_setzero_si512();
    bool usable = nk_group_scale(largest_bits(x, count), scale);
    for (int i = 0; i < count; i += NK_LANES) {
        __mmask16 lanes = nk_lanes_left(i, count);
        __mmask16 kept = usable ? lanes : 0;
        __m512 v = _mm512_maskz_loadu_ps(lanes, x + i);
        __m512i q = _mm512_maskz_cvtps_epi32(kept, _mm512_div_ps(v, _mm512_set1_ps(*scale)));
        sum = _mm512_add_epi32(sum, q);
        _mm512_mask_cvtepi32_storeu_epi8(values + i, lanes, q);
    }
    return _mm512_reduce_add_epi32(sum);
}

NK_AVX512 static void quantize_int8(
    const float *x, int count, int group_size, int8_t *values, float *scales, int32_t *sums) {
    for (int first = 0, g = 0; first < count; first += group_size, g++) {
        int length = nk_smaller(group_size, count - first);
        sums[g] = quantize_group(x + first, length, &scales[g], values + first);
    }
    for (int i = count; i < nk_round_up(count, 4); i++) values[i] = 0;
}

// -infinity stands in for the lanes past the end.
NK_INLINE __m512 load_or_lowest(const float *x, int first, int count) {
    return _mm512_mask_loadu_ps(
        _mm512_set1_ps(-INFINITY), nk_lanes_left(first, count), x + first);
}

NK_AVX512 static int argmax(const float *x, int count, float *maximum) {
    __m512 largest = _mm512_set1_ps(-INFINITY);
    for (int i = 0; i < count; i += NK_LANES) {
        // If x holds a NaN, max gives its second operand.
        largest = _mm512_max_ps(load_or_lowest(x, i, count), largest);
    }
    *maximum = nk_max_lanes(largest);
    largest = _mm512_set1_ps(*maximum);
    for (int i = 0; i < count; i += NK_LANES) {
        __m512 v = load_or_lowest(x, i, count);
        __mmask16 hits =
            _mm512_mask_cmp_ps_mask(nk_lanes_left(i, count), v, largest, _CMP_EQ_OQ);
        if (hits) return i + __builtin_ctz(hits);
    }
    return 0;
}

NK_AVX512 static float sum_exp(
    const float *x, int count, float maximum, float inverse_temperature) {
    __m512 sums = _mm512_setzero_ps();
    for (int i = 0; i < count; i += NK_LANES) {
        __mmask16 lanes = nk_lanes_left(i, count);
        __m512 v = _mm512_maskz_loadu_ps(lanes, x + i);
        v = _mm512_sub_ps(v, _mm512_set1_ps(maximum));
        v = nk_exp(_mm512_mul_ps(v, _mm512_set1_ps(inverse_temperature)));
        sums = _mm512_mask_add_ps(sums, lanes, sums, v);
    }
    return nk_sum_lanes(sums);
}

const nk_kernels nk_avx512_kernels = {
    .name = "avx512_vnni_bf16",
    .linear_f32 = nk_avx512_linear_f32,
    .linear_bf16 = nk_avx512_linear_bf16,
    .linear_int8 = nk_avx512_linear_int8,
    .rms_norm = rms_norm,
    .silu_multiply = silu_multiply,
    .convert_bf16 = convert_bf16,
    .rotate = rotate,
    .quantize_int8 = quantize_int8,
    .attention = nk_avx512_attention,
    .argmax = argmax,
    .sum_exp = sum_exp,
};

#endif
