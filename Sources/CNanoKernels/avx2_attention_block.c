// One block of 64 tokens for up to 6 (row, head) pairs: scores, their softmax, and the values. Both
// panels are rows of 32-bit lanes that hold one f32, two bf16 or four int8, so that K, a lane a
// token, and V, a lane a column, multiply alike. Every pair runs its own chain of operations, in
// the order of the summed axis, so its bits do not depend on the other pairs.
#include "nano_kernels.h"

#if defined(__x86_64__)

#include "avx2_attention.h"

enum {
    PARTS = NK_KV_BLOCK / NK_LANES,  // vectors that hold a number for each slot
    MAX_VECTORS = 8,
};

// Vectors of sums a pair: enough of them to hide the latency of a multiply-add, few enough for 16
// registers.
NK_INLINE int vectors_for(int pairs, nk_kv_type type) {
    if (pairs == 1) return 8;
    return pairs == 2 || (pairs == 3 && type != NK_KV_INT8) ? 4 : 2;
}

// A lane holds one or two terms of a sum: 32 bits of f32, halves of bf16, or even and odd bytes.
NK_INLINE int terms_of(nk_kv_type type) { return type == NK_KV_F32 ? 1 : 2; }

NK_INLINE __m256i load_term(nk_kv_type type, bool is_key, const void *source, int term) {
    __m256i lanes = _mm256_loadu_si256((const __m256i *)source);
    if (type == NK_KV_F32) return lanes;
    if (type == NK_KV_BF16) {
        __m256i upper = _mm256_set1_epi32((int)0xffff0000);
        return term ? _mm256_and_si256(lanes, upper) : _mm256_slli_epi32(lanes, 16);
    }
    if (is_key) {
        return term ? _mm256_srli_epi16(lanes, 8)
                    : _mm256_and_si256(lanes, _mm256_set1_epi16(0xff));
    }
    return _mm256_srai_epi16(term ? lanes : _mm256_slli_epi16(lanes, 8), 8);
}

NK_INLINE __m256i multiply_add(nk_kv_type type, __m256i sum, __m256i a, __m256i b) {
    if (type == NK_KV_INT8) return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
    return _mm256_castps_si256(_mm256_fmadd_ps(
        _mm256_castsi256_ps(a), _mm256_castsi256_ps(b), _mm256_castsi256_ps(sum)));
}

// sums[pair][v] += word of the pair * one term of the row's lanes. What there is less of, words or
// vectors, stays in registers.
NK_INLINE void add_term(
    int pairs, int vectors, nk_kv_type type, bool is_key, const unsigned char *row, int term,
    const int32_t *words, ptrdiff_t word_stride, __m256i (*sums)[MAX_VECTORS]) {
    __m256i kept[MAX_VECTORS];
    if (pairs < vectors) {
        NK_UNROLL for (int i = 0; i < pairs; i++) {
            kept[i] = _mm256_set1_epi32(words[i * word_stride]);
        }
        NK_UNROLL for (int v = 0; v < vectors; v++) {
            __m256i lanes = load_term(type, is_key, row + v * 32, term);
            NK_UNROLL for (int i = 0; i < pairs; i++) {
                sums[i][v] = multiply_add(type, sums[i][v], lanes, kept[i]);
            }
        }
    } else {
        NK_UNROLL for (int v = 0; v < vectors; v++) {
            kept[v] = load_term(type, is_key, row + v * 32, term);
        }
        NK_UNROLL for (int i = 0; i < pairs; i++) {
            __m256i word = _mm256_set1_epi32(words[i * word_stride]);
            NK_UNROLL for (int v = 0; v < vectors; v++) {
                sums[i][v] = multiply_add(type, sums[i][v], kept[v], word);
            }
        }
    }
}

NK_INLINE void prefetch_lanes(int vectors, const unsigned char *row, ptrdiff_t ahead) {
    NK_UNROLL for (int v = 0; v < vectors; v += 2) {
        _mm_prefetch((const char *)row + ahead + v * 32, _MM_HINT_T0);
    }
}

NK_INLINE int bytes_of(nk_kv_type type) {
    return type == NK_KV_F32 ? 4 : type == NK_KV_BF16 ? 2 : 1;
}

// weights[pair][slot] = query . key for `vectors` x 8 slots from `slot` on.
NK_INLINE void multiply_keys(
    int pairs, int vectors, nk_kv_type type, nk_avx2_attention_tile *tile, int first_pair,
    const nk_avx2_key_block *block, int slot) {
    __m256i sums[NK_AVX2_PAIRS][MAX_VECTORS];
    NK_UNROLL for (int i = 0; i < pairs; i++) {
        int start = type == NK_KV_INT8 ? tile->correction[first_pair + i] : 0;
        NK_UNROLL for (int v = 0; v < vectors; v++) sums[i][v] = _mm256_set1_epi32(start);
    }
    const int32_t *words = tile->query + first_pair;
    const unsigned char *row = block->start + (ptrdiff_t)slot * 4;
    int rows = tile->head_dim * bytes_of(type) / 4;
    for (int r = 0; r < rows; r++, row += 4 * NK_KV_BLOCK) {
        prefetch_lanes(vectors, row, block->ahead);
        add_term(pairs, vectors, type, true, row, 0, words, 1, sums);
        words += tile->pairs;
        if (terms_of(type) == 1) continue;
        add_term(pairs, vectors, type, true, nk_load_again(row), 1, words, 1, sums);
        words += tile->pairs;
    }
    NK_UNROLL for (int i = 0; i < pairs; i++) {
        NK_UNROLL for (int v = 0; v < vectors; v++) {
            int32_t *target = tile->weights[first_pair + i] + slot + v * NK_LANES;
            _mm256_store_si256((__m256i *)(void *)target, sums[i][v]);
        }
    }
}

// The scales of 8 slots of an int8 block: of keys (0) or of values (1).
NK_INLINE __m256 slot_scales(
    const nk_avx2_attention_tile *tile, const nk_avx2_key_block *block, int of_values, int part) {
    ptrdiff_t panels = (ptrdiff_t)2 * NK_KV_BLOCK * tile->head_dim;
    const float *scales = (const float *)(const void *)(block->start + panels);
    return _mm256_loadu_ps(scales + of_values * NK_KV_BLOCK + part * NK_LANES);
}

NK_INLINE __m256 seen_slots(const nk_avx2_key_block *block, int part) {
    return _mm256_castsi256_ps(nk_lanes_below(block->visible - part * NK_LANES));
}

// Turns what multiply_keys left into scores, those out of sight -infinity. Returns the largest.
NK_INLINE float scale_scores(
    nk_kv_type type, nk_avx2_attention_tile *tile, int pair, const nk_avx2_key_block *block) {
    __m256 lowest = _mm256_set1_ps(-INFINITY), largest = lowest;
    __m256 scale = _mm256_set1_ps(tile->score_scale[pair]);
    float *slots = (float *)(void *)tile->weights[pair];
    NK_UNROLL for (int part = 0; part < PARTS; part++) {
        __m256 score = _mm256_load_ps(slots + part * NK_LANES);
        if (type == NK_KV_INT8) {
            score = _mm256_cvtepi32_ps(_mm256_castps_si256(score));
            score = _mm256_mul_ps(score, slot_scales(tile, block, 0, part));
        }
        score = _mm256_mul_ps(score, scale);
        score = _mm256_blendv_ps(lowest, score, seen_slots(block, part));
        _mm256_store_ps(slots + part * NK_LANES, score);
        largest = _mm256_max_ps(score, largest);
    }
    return nk_max_lanes(largest);
}

// Writes int8 weights, the values' scales multiplied in, as words: of each four slots the even and
// the odd ones, as the values' bytes are taken.
NK_INLINE void store_int8_weights(
    nk_avx2_attention_tile *tile, int pair, const nk_avx2_key_block *block, __m256 *weights) {
    __m256i largest = _mm256_setzero_si256();
    NK_UNROLL for (int part = 0; part < PARTS; part++) {
        // A slot out of sight may have a NaN for its scale.
        __m256 scaled = _mm256_mul_ps(weights[part], slot_scales(tile, block, 1, part));
        weights[part] = _mm256_and_ps(scaled, seen_slots(block, part));
        largest = _mm256_max_epu32(largest, _mm256_castps_si256(weights[part]));
    }
    float top = nk_float_of(nk_max_words(largest) & 0x7fffffffu);
    tile->weight_scale[pair] = top * (1.0f / 255.0f);
    // If it is not finite, NaN is in the scale, and the words may be anything.
    __m256 factor = _mm256_set1_ps(top > 0x1p-100f ? 255.0f / top : 0.0f);
    int32_t *words = tile->weights[pair];
    NK_UNROLL for (int part = 0; part < PARTS; part++) {
        __m256i rounded = _mm256_cvtps_epi32(_mm256_mul_ps(weights[part], factor));
        __m256i third = _mm256_slli_epi32(_mm256_shuffle_epi32(rounded, 0x0e), 16);
        __m256i pairs = _mm256_permute4x64_epi64(_mm256_or_si256(rounded, third), 0x08);
        _mm_store_si128(
            (__m128i *)(void *)(words + part * 4), _mm256_castsi256_si128(pairs));
    }
}

// Turns the scores of one pair into weights and adds them to its sum.
NK_INLINE void weigh(
    nk_kv_type type, nk_avx2_attention_tile *tile, int pair, const nk_avx2_key_block *block) {
    float *slots = (float *)(void *)tile->weights[pair];
    __m256 weights[PARTS], maximum = _mm256_set1_ps(tile->item[pair][0]);
    NK_UNROLL for (int part = 0; part < PARTS; part++) {
        __m256 score = _mm256_load_ps(slots + part * NK_LANES);
        score = _mm256_sub_ps(score, maximum);
        if (type == NK_KV_INT8) {
            // Out of sight it is not 0 but e^-87.
            weights[part] = _mm256_and_ps(nk_rough_exp(score), seen_slots(block, part));
            continue;
        }
        weights[part] = nk_exp(score);
        _mm256_store_ps(slots + part * NK_LANES, weights[part]);
    }
    __m256 sum = _mm256_mul_ps(
        _mm256_loadu_ps(tile->sums[pair]), _mm256_set1_ps(tile->decay[pair]));
    NK_UNROLL for (int part = 0; part < PARTS; part++) sum = _mm256_add_ps(sum, weights[part]);
    _mm256_storeu_ps(tile->sums[pair], sum);
    if (type == NK_KV_INT8) store_int8_weights(tile, pair, block, weights);
}

NK_INLINE void soften(
    int pairs, nk_kv_type type, nk_avx2_attention_tile *tile, int first_pair,
    const nk_avx2_key_block *block) {
    float change[NK_LANES] = {0};
    for (int i = 0; i < pairs; i++) {
        float *maximum = tile->item[first_pair + i], old = *maximum;
        float largest = scale_scores(type, tile, first_pair + i, block);
        *maximum = largest > old ? largest : old;
        change[i] = old - *maximum;
    }
    _mm256_storeu_ps(change, nk_exp(_mm256_loadu_ps(change)));
    for (int i = 0; i < pairs; i++) {
        tile->decay[first_pair + i] = change[i];
        weigh(type, tile, first_pair + i, block);
    }
}

// The sums that values begin with: in f32 and bf16 the item's so far, decayed.
NK_INLINE __m256 decayed_values(const nk_avx2_attention_tile *tile, int pair, int column) {
    __m256 values = _mm256_loadu_ps(tile->item[pair] + NK_RECORD_VALUES + column);
    return _mm256_mul_ps(values, _mm256_set1_ps(tile->decay[pair]));
}

NK_INLINE void store_values(
    nk_kv_type type, nk_avx2_attention_tile *tile, int pair, int column, __m256i sum) {
    __m256 values = _mm256_castsi256_ps(sum);
    if (type == NK_KV_INT8) {
        values = _mm256_fmadd_ps(
            _mm256_cvtepi32_ps(sum), _mm256_set1_ps(tile->weight_scale[pair]),
            decayed_values(tile, pair, column));
    }
    _mm256_storeu_ps(tile->item[pair] + NK_RECORD_VALUES + column, values);
}

// The item's values = values * decay + sum over visible tokens of weight * V for `vectors` x 8
// columns.
NK_INLINE void add_values(
    int pairs, int vectors, nk_kv_type type, nk_avx2_attention_tile *tile, int first_pair,
    const nk_avx2_key_block *block, int column) {
    __m256i sums[NK_AVX2_PAIRS][MAX_VECTORS];
    NK_UNROLL for (int i = 0; i < pairs; i++) {
        NK_UNROLL for (int v = 0; v < vectors; v++) {
            sums[i][v] = _mm256_setzero_si256();
            if (type == NK_KV_INT8) continue;
            sums[i][v] = _mm256_castps_si256(
                decayed_values(tile, first_pair + i, column + v * NK_LANES));
        }
    }
    ptrdiff_t row_bytes = (ptrdiff_t)tile->head_dim * 4;
    const unsigned char *row = block->start + (ptrdiff_t)column * 4
        + (ptrdiff_t)tile->head_dim * NK_KV_BLOCK * bytes_of(type);
    const int32_t *words = tile->weights[first_pair];
    int tokens = 4 / bytes_of(type);  // in a row
    for (int t = 0; t < block->visible; t += tokens, row += row_bytes) {
        prefetch_lanes(vectors, row, block->ahead);
        add_term(pairs, vectors, type, false, row, 0, words++, NK_KV_BLOCK, sums);
        if (terms_of(type) == 1) continue;
        // A bf16 value out of sight may be NaN, which a weight of zero would not silence.
        if (type == NK_KV_BF16 && t + 1 == block->visible) break;
        add_term(
            pairs, vectors, type, false, nk_load_again(row), 1, words++, NK_KV_BLOCK, sums);
    }
    NK_UNROLL for (int i = 0; i < pairs; i++) {
        NK_UNROLL for (int v = 0; v < vectors; v++) {
            store_values(type, tile, first_pair + i, column + v * NK_LANES, sums[i][v]);
        }
    }
}

NK_INLINE void attend_pairs(
    int pairs, nk_kv_type type, nk_avx2_attention_tile *tile, int first_pair,
    const nk_avx2_key_block *block) {
    int vectors = vectors_for(pairs, type), column = 0;
    for (int slot = 0; slot < NK_KV_BLOCK; slot += vectors * NK_LANES) {
        multiply_keys(pairs, vectors, type, tile, first_pair, block, slot);
    }
    soften(pairs, type, tile, first_pair, block);
    for (; column + vectors * NK_LANES <= tile->head_dim; column += vectors * NK_LANES) {
        add_values(pairs, vectors, type, tile, first_pair, block, column);
    }
    for (; column < tile->head_dim; column += NK_LANES) {
        add_values(pairs, 1, type, tile, first_pair, block, column);
    }
}

NK_INLINE void attend_typed(
    int pairs, nk_kv_type type, nk_avx2_attention_tile *tile, int first_pair,
    const nk_avx2_key_block *block) {
    switch (pairs) {
        case 1: attend_pairs(1, type, tile, first_pair, block); break;
        case 2: attend_pairs(2, type, tile, first_pair, block); break;
        case 3: attend_pairs(3, type, tile, first_pair, block); break;
        case 4: attend_pairs(4, type, tile, first_pair, block); break;
        case 5: attend_pairs(5, type, tile, first_pair, block); break;
        default: attend_pairs(6, type, tile, first_pair, block); break;
    }
}

NK_AVX2 void nk_avx2_attend_block(
    nk_avx2_attention_tile *tile, int first_pair, int pairs, const nk_avx2_key_block *block) {
    switch (block->type) {
        case NK_KV_F32: attend_typed(pairs, NK_KV_F32, tile, first_pair, block); break;
        case NK_KV_BF16: attend_typed(pairs, NK_KV_BF16, tile, first_pair, block); break;
        case NK_KV_INT8: attend_typed(pairs, NK_KV_INT8, tile, first_pair, block); break;
    }
}

#endif
