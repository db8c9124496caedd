// Norms, conversions and searches over one row, 8 lanes at a time.
#include "nano_kernels.h"

#if defined(__x86_64__)

#include "avx2.h"
#include "generic.h"

NK_AVX2 static void rms_norm(
    const float *x, const float *weight, float epsilon, int count, float *out) {
    __m256 squares = _mm256_setzero_ps();
    for (int i = 0; i < count; i += NK_LANES) {
        __m256 v = nk_load_lanes(x, i, count);
        squares = _mm256_fmadd_ps(v, v, squares);
    }
    float mean = nk_sum_lanes(squares) / (float)count;
    __m256 scale = _mm256_set1_ps(1.0f / sqrtf(mean + epsilon));
    for (int i = 0; i < count; i += NK_LANES) {
        __m256 v = _mm256_mul_ps(nk_load_lanes(x, i, count), scale);
        nk_store_lanes(out, i, count, _mm256_mul_ps(v, nk_load_lanes(weight, i, count)));
    }
}

// Eight 32-bit numbers that fit in 16 bits without a sign.
NK_INLINE __m128i narrow_to_16(__m256i x) {
    return _mm_packus_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
}

NK_AVX2 static void convert_bf16(const float *x, int count, nk_bf16 *out) {
    int i = 0;
    for (; i + NK_LANES <= count; i += NK_LANES) {
        __m256 v = _mm256_loadu_ps(x + i);
        __m256i bits = _mm256_castps_si256(v);
        __m256i upper = _mm256_srli_epi32(bits, 16);
        __m256i odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
        __m256i rounded = _mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff));
        rounded = _mm256_srli_epi32(_mm256_add_epi32(rounded, odd), 16);
        __m256i quiet = _mm256_or_si256(upper, _mm256_set1_epi32(0x40));
        __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
        rounded = _mm256_blendv_epi8(rounded, quiet, is_nan);
        _mm_storeu_si128((__m128i *)(void *)(out + i), narrow_to_16(rounded));
    }
    for (; i < count; i++) out[i] = nk_bf16_from_f32(x[i]);
    if (count % 2 != 0) out[count] = 0;
}

// Stages of the transform within a register: lane i and lane i ^ distance become their sum and
// their difference. `partners` is v with those lanes exchanged; `upper`, an immediate of the
// blend, are the lanes with the distance's bit set.
#define BUTTERFLY(v, partners, upper) \
    _mm256_blend_ps(_mm256_add_ps(v, partners), _mm256_sub_ps(partners, v), upper)

NK_INLINE __m256 transform_register(__m256 v) {
    v = BUTTERFLY(v, _mm256_permute_ps(v, 0xb1), 0xaa);
    v = BUTTERFLY(v, _mm256_permute_ps(v, 0x4e), 0xcc);
    return BUTTERFLY(v, _mm256_permute2f128_ps(v, v, 1), 0xf0);
}

// -0.0 in lane i where bit i is set.
NK_INLINE __m256 sign_lanes(uint64_t bits) {
    __m256i to_top = _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24);
    __m256i lanes = _mm256_sllv_epi32(_mm256_set1_epi32((int)(bits & 0xff)), to_top);
    return _mm256_and_ps(_mm256_castsi256_ps(lanes), _mm256_set1_ps(-0.0f));
}

// Runs of 8, 16, 32 or 64 values: 1, 2, 4 or 8 registers.
NK_INLINE void rotate_run(float *x, int registers, uint64_t signs, __m256 scale) {
    __m256 v[NK_MAX_ROTATION / NK_LANES];
    NK_UNROLL for (int i = 0; i < registers; i++) {
        __m256 loaded = _mm256_loadu_ps(x + i * NK_LANES);
        v[i] = transform_register(_mm256_xor_ps(loaded, sign_lanes(signs >> (i * NK_LANES))));
    }
    NK_UNROLL for (int distance = 1; distance < registers; distance *= 2) {
        NK_UNROLL for (int i = 0; i < registers; i++) {
            if (i & distance) continue;
            __m256 a = v[i], b = v[i + distance];
            v[i] = _mm256_add_ps(a, b);
            v[i + distance] = _mm256_sub_ps(a, b);
        }
    }
    NK_UNROLL for (int i = 0; i < registers; i++) {
        _mm256_storeu_ps(x + i * NK_LANES, _mm256_mul_ps(v[i], scale));
    }
}

NK_AVX2 static void rotate(float *x, int count, int run, uint64_t signs, float scale) {
    __m256 factor = _mm256_set1_ps(scale);
    if (run < NK_LANES) {
        nk_portable_kernels.rotate(x, count, run, signs, scale);
        return;
    }
    for (float *part = x; part + run <= x + count; part += run) {
        if (run == 64) rotate_run(part, 8, signs, factor);
        if (run == 32) rotate_run(part, 4, signs, factor);
        if (run == 16) rotate_run(part, 2, signs, factor);
        if (run == 8) rotate_run(part, 1, signs, factor);
    }
}

// The largest |x|, as bits.
NK_INLINE uint32_t largest_bits(const float *x, int count) {
    __m256i largest = _mm256_setzero_si256();
    for (int i = 0; i < count; i += NK_LANES) {
        __m256i bits = _mm256_castps_si256(nk_load_lanes(x, i, count));
        bits = _mm256_and_si256(bits, _mm256_set1_epi32(0x7fffffff));
        largest = _mm256_max_epu32(largest, bits);
    }
    return nk_max_words(largest);
}

NK_INLINE int32_t sum_words(__m256i v) {
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1)));
}

// Returns the sum of the values, each between -127 and 127.
NK_INLINE int32_t quantize_group(const float *x, int count, float scale, int8_t *values) {
    __m256i sums = _mm256_setzero_si256();
    int i = 0;
    for (; i + NK_LANES <= count; i += NK_LANES) {
        __m256 quotient = _mm256_div_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(scale));
        __m256i words = _mm256_cvtps_epi32(quotient);
        sums = _mm256_add_epi32(sums, words);
        __m128i pairs = _mm_packs_epi32(
            _mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
        _mm_storel_epi64((__m128i *)(void *)(values + i), _mm_packs_epi16(pairs, pairs));
    }
    int32_t sum = sum_words(sums);
    for (; i < count; i++) {
        values[i] = (int8_t)nk_round_even(x[i] / scale);
        sum += values[i];
    }
    return sum;
}

NK_AVX2 static void quantize_int8(
    const float *x, int count, int group_size, int8_t *values, float *scale, int32_t *starts) {
    bool usable = nk_group_scale(largest_bits(x, count), scale);
    if (!usable) memset(values, 0, (size_t)count);
    for (int first = 0, g = 0; first < count; first += group_size, g++) {
        int length = nk_smaller(group_size, count - first);
        int32_t sum = usable ? quantize_group(x + first, length, *scale, values + first) : 0;
        starts[g] = nk_dot_origin(group_size) - 128 * sum;
    }
    for (int i = count; i < nk_round_up(count, 4); i++) values[i] = 0;
}

NK_AVX2 static void rotate_quantize_int8(
    float *x, int count, nk_rotation rotation, int group_size, int8_t *values, float *scale,
    int32_t *starts) {
    rotate(x, count, rotation.run, rotation.signs, rotation.scale);
    quantize_int8(x, count, group_size, values, scale, starts);
}

NK_AVX2 static void rope(
    float *heads, int head_count, int head_dim, int rotary_dim, const float *cosines,
    const float *sines, bool interleaved) {
    nk_generic_rope(heads, head_count, head_dim, rotary_dim, cosines, sines, interleaved);
}

NK_AVX2 static void kv_append(
    const float *key, const float *value, int kv_heads, int head_dim, nk_kv_layer cache,
    int32_t block, int position) {
    nk_generic_kv_append(key, value, kv_heads, head_dim, cache, block, position);
}

NK_AVX2 static int argmax(const float *x, int count, float *maximum) {
    int whole = count / NK_LANES * NK_LANES;
    __m256 lanes = _mm256_set1_ps(-INFINITY);
    for (int i = 0; i < whole; i += NK_LANES) {
        // If x holds a NaN, max gives its second operand.
        lanes = _mm256_max_ps(_mm256_loadu_ps(x + i), lanes);
    }
    float largest = nk_max_lanes(lanes);
    for (int i = whole; i < count; i++) largest = x[i] > largest ? x[i] : largest;
    *maximum = largest;
    lanes = _mm256_set1_ps(largest);
    for (int i = 0; i < whole; i += NK_LANES) {
        __m256 hits = _mm256_cmp_ps(_mm256_loadu_ps(x + i), lanes, _CMP_EQ_OQ);
        int bits = _mm256_movemask_ps(hits);
        if (bits) return i + __builtin_ctz((unsigned)bits);
    }
    for (int i = whole; i < count; i++) {
        if (x[i] == largest) return i;
    }
    return 0;
}

NK_AVX2 static float sum_exp(
    const float *x, int count, float maximum, float inverse_temperature) {
    __m256 sums = _mm256_setzero_ps();
    for (int i = 0; i < count; i += NK_LANES) {
        __m256 v = _mm256_sub_ps(nk_load_lanes(x, i, count), _mm256_set1_ps(maximum));
        v = nk_exp(_mm256_mul_ps(v, _mm256_set1_ps(inverse_temperature)));
        __m256 kept = _mm256_castsi256_ps(nk_lanes_below(count - i));
        sums = _mm256_add_ps(sums, _mm256_and_ps(v, kept));
    }
    return nk_sum_lanes(sums);
}

const nk_kernels nk_avx2_kernels = {
    .name = "avx2_fma",
    .linear_f32 = nk_avx2_linear_f32,
    .linear_bf16 = nk_avx2_linear_bf16,
    .linear_int8 = nk_avx2_linear_int8,
    .rms_norm = rms_norm,
    .convert_bf16 = convert_bf16,
    .rotate = rotate,
    .quantize_int8 = quantize_int8,
    .rotate_quantize_int8 = rotate_quantize_int8,
    .rope = rope,
    .kv_append = kv_append,
    .attention = nk_avx2_attention,
    .attention_item = nk_avx2_attention_item,
    .merge_items = nk_avx2_merge_items,
    .argmax = argmax,
    .sum_exp = sum_exp,
};

#endif
