// Norms, activations, conversions and searches over one row, 16 lanes at a time, the rest by mask.
#include <limits.h>

#include "nano_kernels.h"

#if defined(__x86_64__)

#include "avx512.h"

NK_AVX512 static void rms_norm(
    const float *x, const float *weight, float epsilon, int count, float *out) {
    // Several sums, since one would wait for each addition in turn.
    enum { SUMS = 4 };
    __m512 squares[SUMS];
    NK_UNROLL for (int s = 0; s < SUMS; s++) squares[s] = _mm512_setzero_ps();
    for (int i = 0; i < count; i += SUMS * NK_LANES) {
        NK_UNROLL for (int s = 0; s < SUMS; s++) {
            int first = i + s * NK_LANES;
            if (first >= count) break;
            __m512 v = _mm512_maskz_loadu_ps(nk_lanes_left(first, count), x + first);
            squares[s] = _mm512_fmadd_ps(v, v, squares[s]);
        }
    }
    squares[0] = _mm512_add_ps(squares[0], squares[1]);
    squares[2] = _mm512_add_ps(squares[2], squares[3]);
    float mean = nk_sum_lanes(_mm512_add_ps(squares[0], squares[2])) / (float)count;
    __m512 scale = _mm512_set1_ps(1.0f / sqrtf(mean + epsilon));
    for (int i = 0; i < count; i += NK_LANES) {
        __mmask16 lanes = nk_lanes_left(i, count);
        __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, x + i), scale);
        v = _mm512_mul_ps(v, _mm512_maskz_loadu_ps(lanes, weight + i));
        _mm512_mask_storeu_ps(out + i, lanes, v);
    }
}

NK_AVX512 static void convert_bf16(const float *x, int count, nk_bf16 *out) {
    for (int i = 0; i < count; i += NK_LANES) {
        __mmask16 lanes = nk_lanes_left(i, count);
        __m512i rounded = nk_round_bf16(_mm512_maskz_loadu_ps(lanes, x + i));
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

// One stage of the transform within a register: lane i and lane i ^ distance become their sum and
// their difference. `swapped` is v with these lanes exchanged; `signs` is -1 in the upper ones.
NK_INLINE __m512 butterfly(__m512 v, __m512 swapped, __mmask16 upper) {
    __m512 signs = _mm512_mask_blend_ps(upper, _mm512_set1_ps(1.0f), _mm512_set1_ps(-1.0f));
    return _mm512_fmadd_ps(v, signs, swapped);
}

// Runs of 16, 32 or 64 values: 1, 2 or 4 registers.
NK_INLINE void rotate_registers(int registers, uint64_t signs, __m512 scale, __m512 *v) {
    NK_UNROLL for (int i = 0; i < registers; i++) {
        __mmask16 negated = (__mmask16)(signs >> (i * NK_LANES));
        v[i] = _mm512_mask_xor_ps(v[i], negated, v[i], _mm512_set1_ps(-0.0f));
        v[i] = butterfly(v[i], _mm512_permute_ps(v[i], 0xb1), 0xaaaa);
        v[i] = butterfly(v[i], _mm512_permute_ps(v[i], 0x4e), 0xcccc);
        v[i] = butterfly(v[i], _mm512_shuffle_f32x4(v[i], v[i], 0xb1), 0xf0f0);
        v[i] = butterfly(v[i], _mm512_shuffle_f32x4(v[i], v[i], 0x4e), 0xff00);
    }
    NK_UNROLL for (int distance = 1; distance < registers; distance *= 2) {
        NK_UNROLL for (int i = 0; i < registers; i++) {
            if (i & distance) continue;
            __m512 a = v[i], b = v[i + distance];
            v[i] = _mm512_add_ps(a, b);
            v[i + distance] = _mm512_sub_ps(a, b);
        }
    }
    NK_UNROLL for (int i = 0; i < registers; i++) v[i] = _mm512_mul_ps(v[i], scale);
}

NK_INLINE void rotate_run(float *x, int registers, uint64_t signs, __m512 scale) {
    __m512 v[NK_MAX_ROTATION / NK_LANES];
    NK_UNROLL for (int i = 0; i < registers; i++) v[i] = _mm512_loadu_ps(x + i * NK_LANES);
    rotate_registers(registers, signs, scale, v);
    NK_UNROLL for (int i = 0; i < registers; i++) _mm512_storeu_ps(x + i * NK_LANES, v[i]);
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

// Rounds x * inverse, sums up each group.
NK_INLINE int32_t quantize_group(const float *x, int count, __m512 inverse, int8_t *values) {
    __m512i sum = _mm512_setzero_si512();
    for (int i = 0; i < count; i += NK_LANES) {
        __mmask16 lanes = nk_lanes_left(i, count);
        __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, x + i), inverse);
        __m512i q = _mm512_maskz_cvtps_epi32(lanes, v);
        sum = _mm512_add_epi32(sum, q);
        _mm512_mask_cvtepi32_storeu_epi8(values + i, lanes, q);
    }
    return _mm512_reduce_add_epi32(sum);
}

NK_AVX512 static void quantize_int8(
    const float *x, int count, int group_size, int8_t *values, float *scale, int32_t *starts) {
    bool usable = nk_group_scale(largest_bits(x, count), scale);
    // What is not finite makes the scale so, and through it the result.
    __m512 inverse = _mm512_set1_ps(usable ? 1.0f / *scale : 0.0f);
    if (!usable) memset(values, 0, (size_t)count);
    for (int first = 0, g = 0; first < count; first += group_size, g++) {
        int length = nk_smaller(group_size, count - first);
        int32_t sum = usable ? quantize_group(x + first, length, inverse, values + first) : 0;
        starts[g] = nk_dot_origin(group_size) - 128 * sum;
    }
    for (int i = count; i < nk_round_up(count, 4); i++) values[i] = 0;
}

enum { RUN_LANES = NK_MAX_ROTATION / NK_LANES, MOST_RUNS = 3 };

// rotate_quantize_int8 of whole runs, so many to a group, without a stop in memory.
NK_INLINE void quantize_runs(
    const float *x, int runs, int runs_of_group, nk_rotation rotation, int8_t *values,
    float *scale, int32_t *starts) {
    __m512 v[MOST_RUNS][RUN_LANES];
    __m512i largest = _mm512_setzero_si512();
    NK_UNROLL for (int r = 0; r < runs; r++) {
        NK_UNROLL for (int i = 0; i < RUN_LANES; i++) {
            v[r][i] = _mm512_loadu_ps(x + r * NK_MAX_ROTATION + i * NK_LANES);
        }
        rotate_registers(RUN_LANES, rotation.signs, _mm512_set1_ps(rotation.scale), v[r]);
        NK_UNROLL for (int i = 0; i < RUN_LANES; i++) {
            __m512i magnitude = _mm512_and_si512(
                _mm512_castps_si512(v[r][i]), _mm512_set1_epi32(0x7fffffff));
            largest = _mm512_max_epu32(largest, magnitude);
        }
    }
    bool usable = nk_group_scale(_mm512_reduce_max_epu32(largest), scale);
    __m512 inverse = _mm512_set1_ps(usable ? 1.0f / *scale : 0.0f);
    __mmask16 all = usable ? 0xffff : 0;
    __m512i sums = _mm512_setzero_si512();
    NK_UNROLL for (int r = 0; r < runs; r++) {
        __m512i words[RUN_LANES];
        NK_UNROLL for (int i = 0; i < RUN_LANES; i++) {
            words[i] = _mm512_maskz_cvtps_epi32(all, _mm512_mul_ps(v[r][i], inverse));
        }
        __m512i bytes = nk_pack_bytes(true, words);
        _mm512_storeu_si512(values + r * NK_MAX_ROTATION, bytes);
        sums = _mm512_dpbusd_epi32(sums, _mm512_set1_epi8(1), bytes);
        if ((r + 1) % runs_of_group != 0) continue;
        starts[r / runs_of_group] = NK_SHORT_ORIGIN - 128 * _mm512_reduce_add_epi32(sums);
        sums = _mm512_setzero_si512();
    }
}

NK_AVX512 static void rotate_quantize_int8(
    float *x, int count, nk_rotation rotation, int group_size, int8_t *values, float *scale,
    int32_t *starts) {
    bool is_whole = rotation.run == NK_MAX_ROTATION && count % NK_MAX_ROTATION == 0;
    int runs = is_whole ? count / NK_MAX_ROTATION : 0;
    int runs_of_group = group_size / NK_MAX_ROTATION;
    if (runs == 1 && runs_of_group == 1) {
        quantize_runs(x, 1, 1, rotation, values, scale, starts);
    } else if (runs == 2 && runs_of_group == 1) {
        quantize_runs(x, 2, 1, rotation, values, scale, starts);
    } else if (runs == 3 && runs_of_group == 3) {
        quantize_runs(x, 3, 3, rotation, values, scale, starts);
    } else {
        rotate(x, count, rotation.run, rotation.signs, rotation.scale);
        quantize_int8(x, count, group_size, values, scale, starts);
    }
}

// -infinity stands in for the lanes past the end.
NK_INLINE __m512 load_or_lowest(const float *x, int first, int count) {
    return _mm512_mask_loadu_ps(
        _mm512_set1_ps(-INFINITY), nk_lanes_left(first, count), x + first);
}

// Each lane keeps its largest number and where that stood first, and so do several vectors, none of
// which waits for the others.
enum { ARGMAX_CHAINS = 4 };

NK_INLINE void keep_larger(__m512 v, int first, __m512 *largest, __m512i *place) {
    __mmask16 larger = _mm512_cmp_ps_mask(v, *largest, _CMP_GT_OQ);  // Never of NaN.
    *largest = _mm512_mask_mov_ps(*largest, larger, v);
    *place = _mm512_mask_mov_epi32(*place, larger, _mm512_set1_epi32(first));
}

NK_AVX512 static int argmax(const float *x, int count, float *maximum) {
    const __m512i lanes =
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m512 largest[ARGMAX_CHAINS];
    __m512i place[ARGMAX_CHAINS];
    for (int c = 0; c < ARGMAX_CHAINS; c++) {
        largest[c] = _mm512_set1_ps(-INFINITY);
        place[c] = _mm512_setzero_si512();
    }
    int i = 0;
    for (; i + ARGMAX_CHAINS * NK_LANES <= count; i += ARGMAX_CHAINS * NK_LANES) {
        NK_UNROLL for (int c = 0; c < ARGMAX_CHAINS; c++) {
            int first = i + c * NK_LANES;
            keep_larger(_mm512_loadu_ps(x + first), first, &largest[c], &place[c]);
        }
    }
    for (; i < count; i += NK_LANES) {
        keep_larger(load_or_lowest(x, i, count), i, &largest[0], &place[0]);
    }
    __m512 all = _mm512_max_ps(
        _mm512_max_ps(largest[0], largest[1]), _mm512_max_ps(largest[2], largest[3]));
    *maximum = nk_max_lanes(all);
    // Infinity that is negative is larger than nothing, and the first one counts.
    if (*maximum == -INFINITY) {
        for (i = 0; i < count; i++) {
            if (x[i] == -INFINITY) return i;
        }
        return 0;
    }
    __m512i nearest = _mm512_set1_epi32(INT_MAX);
    NK_UNROLL for (int c = 0; c < ARGMAX_CHAINS; c++) {
        __mmask16 hits = _mm512_cmp_ps_mask(largest[c], _mm512_set1_ps(*maximum), _CMP_EQ_OQ);
        __m512i places = _mm512_add_epi32(place[c], lanes);
        nearest = _mm512_mask_min_epi32(nearest, hits, nearest, places);
    }
    return _mm512_reduce_min_epi32(nearest);
}

NK_AVX512 static float sum_exp(
    const float *x, int count, float maximum, float inverse_temperature) {
    __m512 sums = _mm512_setzero_ps();
    for (int i = 0; i < count; i += NK_LANES) {
        __mmask16 lanes = nk_lanes_left(i, count);
        __m512 v = _mm512_maskz_loadu_ps(lanes, x + i);
        v = _mm512_sub_ps(v, _mm512_set1_ps(maximum));
        v = _mm512_mul_ps(v, _mm512_set1_ps(inverse_temperature));
        nk_exp(1, &v);
        sums = _mm512_mask_add_ps(sums, lanes, sums, v);
    }
    return nk_sum_lanes(sums);
}

// --- Rotary embedding and the KV cache

// (a, b) of each pair become (a cos - b sin, a sin + b cos). Neighbours: the even lanes are a, the
// odd ones b, and the row's angles are spread over both.
NK_INLINE void rope_neighbours(
    float *head, int rotary_dim, const float *cosines, const float *sines) {
    __m512i doubled = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    for (int i = 0; i < rotary_dim; i += NK_LANES) {
        __mmask16 lanes = nk_lanes_left(i, rotary_dim);
        __mmask16 angles = nk_lanes_left(i / 2, rotary_dim / 2) & 0xff;
        __m512 cosine = _mm512_permutexvar_ps(
            doubled, _mm512_maskz_loadu_ps(angles, cosines + i / 2));
        __m512 sine =
            _mm512_permutexvar_ps(doubled, _mm512_maskz_loadu_ps(angles, sines + i / 2));
        __m512 v = _mm512_maskz_loadu_ps(lanes, head + i);
        __m512 swapped = _mm512_permute_ps(v, 0xb1);
        v = _mm512_fmaddsub_ps(v, cosine, _mm512_mul_ps(swapped, sine));
        _mm512_mask_storeu_ps(head + i, lanes, v);
    }
}

NK_INLINE void rope_halves(float *head, int rotary_dim, const float *cosines, const float *sines) {
    int half = rotary_dim / 2;
    for (int i = 0; i < half; i += NK_LANES) {
        __mmask16 lanes = nk_lanes_left(i, half);
        __m512 a = _mm512_maskz_loadu_ps(lanes, head + i);
        __m512 b = _mm512_maskz_loadu_ps(lanes, head + half + i);
        __m512 cosine = _mm512_maskz_loadu_ps(lanes, cosines + i);
        __m512 sine = _mm512_maskz_loadu_ps(lanes, sines + i);
        __m512 first = _mm512_fmsub_ps(a, cosine, _mm512_mul_ps(b, sine));
        __m512 second = _mm512_fmadd_ps(b, cosine, _mm512_mul_ps(a, sine));
        _mm512_mask_storeu_ps(head + i, lanes, first);
        _mm512_mask_storeu_ps(head + half + i, lanes, second);
    }
}

NK_AVX512 static void rope(
    float *heads, int head_count, int head_dim, int rotary_dim, const float *cosines,
    const float *sines, bool interleaved) {
    for (int h = 0; h < head_count; h++, heads += head_dim) {
        if (interleaved) {
            rope_neighbours(heads, rotary_dim, cosines, sines);
        } else {
            rope_halves(heads, rotary_dim, cosines, sines);
        }
    }
}

// A key's words go to every 64th place of its panel: word w to panel[64 * w].
NK_INLINE void spread_key(const void *key, int words, int32_t *panel) {
    for (int w = 0; w < words; w++) memcpy(panel + NK_KV_BLOCK * w, (const char *)key + 4 * w, 4);
}

NK_INLINE void append_f32(
    const float *key, const float *value, int head_dim, float *block, int slot) {
    spread_key(key, head_dim, (int32_t *)(void *)block + slot);
    memcpy(
        block + (ptrdiff_t)NK_KV_BLOCK * head_dim + (ptrdiff_t)slot * head_dim, value,
        sizeof *value * (size_t)head_dim);
}

// A value becomes one half of each 32-bit lane of its row of two tokens. The other half belongs to
// a token that another unit may be writing: masks leave it alone.
NK_INLINE void append_bf16(
    const float *key, const float *value, int head_dim, nk_bf16 *block, int slot) {
    nk_bf16 rounded[NK_MAX_HEAD_DIM];
    convert_bf16(key, head_dim, rounded);
    spread_key(rounded, head_dim / 2, (int32_t *)(void *)block + slot);
    convert_bf16(value, head_dim, rounded);
    nk_bf16 *row = block + (ptrdiff_t)NK_KV_BLOCK * head_dim + (ptrdiff_t)(slot & ~1) * head_dim;
    __mmask32 mine = slot & 1 ? 0xaaaaaaaa : 0x55555555;
    for (int d = 0; d < head_dim; d += NK_LANES, row += 2 * NK_LANES) {
        __mmask16 lanes = nk_lanes_left(d, head_dim);
        __m512i v = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, rounded + d));
        if (slot & 1) v = _mm512_slli_epi32(v, 16);
        int left = head_dim - d;
        __mmask32 halves = left >= NK_LANES ? mine : mine & ((1u << 2 * left) - 1);
        _mm512_mask_storeu_epi16(row, halves, v);
    }
}

// The same with a quarter of each lane, in rows of four tokens.
NK_INLINE void append_int8(
    const float *key, const float *value, int head_dim, unsigned char *block, int slot) {
    int8_t rounded[NK_MAX_HEAD_DIM];
    float *scales = (float *)(void *)(block + (ptrdiff_t)2 * NK_KV_BLOCK * head_dim);
    int32_t unused;
    quantize_int8(key, head_dim, head_dim, rounded, &scales[slot], &unused);
    for (int d = 0; d < head_dim; d += 64) {
        __mmask64 bytes = head_dim - d >= 64 ? ~0ull : (1ull << (head_dim - d)) - 1;
        __m512i k = _mm512_maskz_loadu_epi8(bytes, rounded + d);
        k = _mm512_xor_si512(k, _mm512_set1_epi8((char)0x80));  // + 128
        _mm512_mask_storeu_epi8(rounded + d, bytes, k);
    }
    spread_key(rounded, head_dim / 4, (int32_t *)(void *)block + slot);
    quantize_int8(value, head_dim, head_dim, rounded, &scales[NK_KV_BLOCK + slot], &unused);
    unsigned char *row =
        block + (ptrdiff_t)NK_KV_BLOCK * head_dim + (ptrdiff_t)(slot & ~3) * head_dim;
    __m128i shift = _mm_cvtsi32_si128(slot % 4 * 8);
    __mmask64 mine = 0x1111111111111111ull << slot % 4;
    for (int d = 0; d < head_dim; d += NK_LANES, row += 4 * NK_LANES) {
        __mmask16 lanes = nk_lanes_left(d, head_dim);
        __m512i v = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(lanes, rounded + d));
        int left = head_dim - d;
        __mmask64 bytes = left >= NK_LANES ? mine : mine & ((1ull << 4 * left) - 1);
        _mm512_mask_storeu_epi8(row, bytes, _mm512_sll_epi32(v, shift));
    }
}

NK_AVX512 static void kv_append(
    const float *key, const float *value, int kv_heads, int head_dim, nk_kv_layer cache,
    int32_t block, int position) {
    int slot = position % NK_KV_BLOCK;
    unsigned char *target = cache.base + block * cache.block_stride;
    for (int h = 0; h < kv_heads; h++) {
        switch (cache.type) {
            case NK_KV_F32:
                append_f32(key, value, head_dim, (float *)(void *)target, slot);
                break;
            case NK_KV_BF16:
                append_bf16(key, value, head_dim, (nk_bf16 *)(void *)target, slot);
                break;
            case NK_KV_INT8: append_int8(key, value, head_dim, target, slot); break;
        }
        key += head_dim;
        value += head_dim;
        target += cache.head_stride;
    }
}

const nk_kernels NK_SET(kernels) = {
#if defined(NK_WITHOUT_BF16)
    .name = "avx512_vnni",
#else
    .name = "avx512_vnni_bf16",
#endif
    .linear_f32 = NK_SET(linear_f32),
    .linear_bf16 = NK_SET(linear_bf16),
    .linear_int8 = NK_SET(linear_int8),
    .rms_norm = rms_norm,
    .convert_bf16 = convert_bf16,
    .rotate = rotate,
    .quantize_int8 = quantize_int8,
    .rotate_quantize_int8 = rotate_quantize_int8,
    .rope = rope,
    .kv_append = kv_append,
    .attention = NK_SET(attention),
    .attention_item = NK_SET(attention_item),
    .merge_items = NK_SET(merge_items),
    .argmax = argmax,
    .sum_exp = sum_exp,
};

#endif
