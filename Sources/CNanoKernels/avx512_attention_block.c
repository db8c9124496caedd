// Attention of up to 8 (row, head) pairs to one block of keys: each vector of K and V is loaded once
// for all of them. Every pair runs its own chain of operations, so its bits do not depend on the
// other pairs. bf16 and int8 caches multiply in their own precision: the query and the softmax's
// weights are rounded to it, and sums are f32 (int8: exact integers, then f32).
#include "nano_kernels.h"

#if defined(__x86_64__)

#include "avx512_attention.h"

NK_INLINE ptrdiff_t element_bytes(nk_kv_type type) {
    return type == NK_KV_F32 ? 4 : type == NK_KV_BF16 ? 2 : 1;
}

// What is left to ask for of the block read next: rows of K, of which only the lines with visible
// tokens (another sequence's block counts as full), then a run of V, then the scales.
typedef struct {
    const char *keys, *keys_end;
    int key_lines;
    const char *values, *values_end;
    const char *scales, *scales_end;
} lines_ahead;

// Asked for in each half of a pair's softmax, lest memory stand still meanwhile; with more of them
// the requests wait for each other and hold up the arithmetic.
enum { SOFTMAX_LINES = 4 };

// Into the second-level cache, which has room for more requests on their way than the first.
NK_INLINE void ask(const char *line) { _mm_prefetch(line, _MM_HINT_T1); }

NK_INLINE void ask_keys(lines_ahead *ahead) {
    if (ahead->keys == ahead->keys_end) return;
    NK_NO_UNROLL for (int i = 0; i < ahead->key_lines; i++) ask(ahead->keys + i * 64);
    ahead->keys += PARTS * 64;
}

NK_INLINE void ask_values(lines_ahead *ahead, int lines) {
    for (int i = 0; i < lines && ahead->values < ahead->values_end; i++, ahead->values += 64) {
        ask(ahead->values);
    }
}

NK_INLINE void ask_rest(lines_ahead *ahead) {
    while (ahead->keys != ahead->keys_end) ask_keys(ahead);
    for (; ahead->values < ahead->values_end; ahead->values += 64) ask(ahead->values);
    for (; ahead->scales < ahead->scales_end; ahead->scales += 64) ask(ahead->scales);
}

NK_INLINE lines_ahead begin_ahead(nk_kv_type type, int head_dim, const key_block *block) {
    if (!block->ahead) return (lines_ahead){0};
    const char *start = (const char *)block->ahead;
    ptrdiff_t bytes = element_bytes(type), panel = head_dim * NK_KV_BLOCK * bytes;
    int tokens = nk_round_up(block->ahead_visible, 4 / (int)bytes);
    return (lines_ahead){
        .keys = start,
        .keys_end = start + panel,
        .key_lines = nk_ceil_div(block->ahead_visible, NK_LANES),
        .values = start + panel,
        .values_end = start + panel + tokens * head_dim * bytes,
        .scales = start + 2 * panel,
        .scales_end = start + 2 * panel + (type == NK_KV_INT8 ? 2 * PARTS * 64 : 0),
    };
}

NK_INLINE __m512i same_word(const unsigned char *words, int step) {
    int word;
    memcpy(&word, words + 4 * step, sizeof word);
    return _mm512_set1_epi32(word);
}

#if defined(NK_WITHOUT_BF16)
NK_INLINE __m512 same_number(const unsigned char *numbers, int index) {
    float number;
    memcpy(&number, numbers + sizeof number * (size_t)index, sizeof number);
    return _mm512_set1_ps(number);
}
#endif

// sum + a . b for 16 tokens or columns: of a the numbers that fill 4 bytes of b, from word `step` on.
NK_INLINE __m512i multiply_add(
    nk_kv_type type, __m512i sum, const unsigned char *a, int step, __m512i b) {
    if (type == NK_KV_INT8) return _mm512_dpbusd_epi32(sum, b, same_word(a, step));
    if (type == NK_KV_BF16) {
#if defined(NK_WITHOUT_BF16)
        __m512 half = _mm512_fmadd_ps(
            same_number(a, 2 * step), nk_lower_bf16(b), _mm512_castsi512_ps(sum));
        return _mm512_castps_si512(
            _mm512_fmadd_ps(same_number(a, 2 * step + 1), nk_upper_bf16(b), half));
#else
        return _mm512_castps_si512(
            nk_dot_bf16(_mm512_castsi512_ps(sum), same_word(a, step), b));
#endif
    }
    return _mm512_castps_si512(_mm512_fmadd_ps(
        _mm512_castsi512_ps(same_word(a, step)), _mm512_castsi512_ps(b),
        _mm512_castsi512_ps(sum)));
}

// Scores of the parts [first, first + parts), before any scale; those of int8 are integers.
NK_INLINE void score_parts(
    int pairs, int first, int parts, nk_kv_type type, attention_tile *tile,
    const key_block *block, lines_ahead *ahead) {
    __m512i sums[MAX_PAIRS][PARTS];
    NK_UNROLL for (int i = 0; i < pairs; i++) {
        __m512i start = _mm512_setzero_si512();
        if (type == NK_KV_INT8) start = _mm512_set1_epi32(tile->correction[i]);
        NK_UNROLL for (int b = 0; b < parts; b++) sums[i][b] = start;
    }
    int steps = tile->head_dim * (int)element_bytes(type) / 4;
    const unsigned char *row = block->start + first * 64;
    NK_NO_UNROLL for (int step = 0; step < steps; step++, row += PARTS * 64) {
        __m512i keys[PARTS];
        ask_keys(ahead);
        NK_UNROLL for (int b = 0; b < parts; b++) keys[b] = _mm512_loadu_si512(row + b * 64);
        NK_UNROLL for (int i = 0; i < pairs; i++) {
            const unsigned char *query = tile->query[i];
            NK_UNROLL for (int b = 0; b < parts; b++) {
                sums[i][b] = multiply_add(type, sums[i][b], query, step, keys[b]);
            }
        }
    }
    NK_UNROLL for (int i = 0; i < pairs; i++) {
        NK_UNROLL for (int b = 0; b < parts; b++) {
            _mm512_store_si512(&tile->scores[i][(first + b) * NK_LANES], sums[i][b]);
        }
    }
}

// The factors of 16 tokens in an int8 cache: of the keys (0) or of the values (1).
NK_INLINE __m512 token_scales(
    const attention_tile *tile, const key_block *block, int of_values, int part) {
    ptrdiff_t offset = (ptrdiff_t)tile->head_dim * 2 * NK_KV_BLOCK;
    return _mm512_loadu_ps(block->start + offset + (of_values * PARTS + part) * 64);
}

// Tokens of a part that a row at `position` sees; of a `whole` block it sees all.
NK_INLINE __mmask16 seen_slots(bool whole, int position, const key_block *block, int part) {
    int count = position + 1 - block->first_position - part * NK_LANES;
    if (whole || count >= NK_LANES) return 0xffff;
    return count <= 0 ? 0 : (__mmask16)((1u << count) - 1);
}

// Rounded to bf16, as `multiply_add` takes them. What weights are when they are tiny does not matter,
// so here the short way is good enough.
NK_INLINE void round_weights(__m512 weights, int part, unsigned char *out) {
#if defined(NK_WITHOUT_BF16)
    _mm512_storeu_ps(out + 64 * part, nk_lower_bf16(nk_round_bf16(weights)));
#else
    _mm256_storeu_si256((__m256i *)(void *)(out + 32 * part), (__m256i)_mm512_cvtneps_pbh(weights));
#endif
}

NK_INLINE __m512i larger(bool floats, __m512i a, __m512i b) {
    if (!floats) return _mm512_max_epu32(a, b);
    return _mm512_castps_si512(_mm512_max_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b)));
}

// The largest lane of each of up to 8 vectors, f32 or unsigned, that of vector i in lane i. Together
// they take a third of the operations that they take one by one.
NK_INLINE __m512i largest_lanes(bool floats, int count, const __m512i *v) {
    // Four lanes are left of each vector: of the first four in one, of the others in the other.
    __m512i quarters[2];
    NK_UNROLL for (int q = 0; q < 2; q++) {
        __m512i halves[2];
        NK_UNROLL for (int h = 0; h < 2; h++) {
            int i = 4 * q + 2 * h;
            __m512i a = v[i < count ? i : 0], b = v[i + 1 < count ? i + 1 : 0];
            halves[h] = larger(
                floats, _mm512_shuffle_i32x4(a, b, 0x44), _mm512_shuffle_i32x4(a, b, 0xee));
        }
        quarters[q] = larger(
            floats, _mm512_shuffle_i32x4(halves[0], halves[1], 0x88),
            _mm512_shuffle_i32x4(halves[0], halves[1], 0xdd));
    }
    __m512i pairs = larger(
        floats, _mm512_unpacklo_epi32(quarters[0], quarters[1]),
        _mm512_unpackhi_epi32(quarters[0], quarters[1]));
    __m512i all = larger(floats, pairs, _mm512_shuffle_epi32(pairs, _MM_PERM_BADC));
    __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 0, 4, 8, 12, 1, 5, 9, 13);
    return _mm512_permutexvar_epi32(order, all);
}

// Rounds the weights of all pairs, which stand in `scores`; vector i has the largest ones of pair i.
NK_INLINE void store_int8_weights(int pairs, attention_tile *tile, const __m512i *largest) {
    __m512 top = _mm512_castsi512_ps(largest_lanes(false, pairs, largest));
    __mmask16 usable = _mm512_cmp_ps_mask(top, _mm512_set1_ps(0x1p-100f), _CMP_GT_OQ);
    float factors[NK_LANES];
    _mm512_storeu_ps(factors, _mm512_maskz_div_ps(usable, _mm512_set1_ps(255.0f), top));
    _mm512_storeu_ps(tile->weight_scale, _mm512_mul_ps(top, _mm512_set1_ps(1.0f / 255.0f)));
    NK_UNROLL for (int i = 0; i < pairs; i++) {
        __m512i rounded[PARTS];
        __m512 factor = _mm512_set1_ps(factors[i]);
        NK_UNROLL for (int b = 0; b < PARTS; b++) {
            __m512 weight = _mm512_load_ps(&tile->scores[i][b * NK_LANES]);
            rounded[b] = _mm512_cvtps_epi32(_mm512_mul_ps(weight, factor));
        }
        _mm512_storeu_si512(tile->weights[i], nk_pack_bytes(false, rounded));
    }
}

// Writes the weights of one pair in the cache's precision; those of int8 wait in `scores` until the
// largest is known.
NK_INLINE void store_weights(
    nk_kv_type type, attention_tile *tile, int pair, const __m512 *weights) {
    unsigned char *out = tile->weights[pair];
    NK_UNROLL for (int b = 0; b < PARTS; b++) {
        if (type == NK_KV_INT8) _mm512_store_ps(&tile->scores[pair][b * NK_LANES], weights[b]);
        if (type == NK_KV_F32) _mm512_storeu_ps(out + 64 * b, weights[b]);
        if (type == NK_KV_BF16) round_weights(weights[b], b, out);
    }
}

// What the scores of the pairs are multiplied with, but for the keys' own scales: a pair a lane.
NK_INLINE __m512 score_scales(int pairs, nk_kv_type type, const attention_tile *tile) {
    if (type != NK_KV_INT8) return _mm512_set1_ps(tile->scale);
    return _mm512_maskz_loadu_ps(nk_lanes_left(0, pairs), tile->query_scale);
}

// Gives int8 scores their keys' scales, brings the maxima up to date, and says how much is left of
// what was added up under the old ones. `whole`: all pairs see all of the block.
NK_INLINE void raise_maxima(
    int pairs, nk_kv_type type, bool whole, attention_tile *tile, const key_block *block,
    lines_ahead *ahead) {
    __m512 lowest = _mm512_set1_ps(-INFINITY);
    __m512i largest[MAX_PAIRS];
    NK_UNROLL for (int i = 0; i < pairs; i++) {
        __m512 most = lowest;
        ask_values(ahead, SOFTMAX_LINES);
        NK_UNROLL for (int b = 0; b < PARTS; b++) {
            float *at = &tile->scores[i][b * NK_LANES];
            __m512 score = _mm512_load_ps(at);
            if (type == NK_KV_INT8) {
                score = _mm512_mul_ps(
                    _mm512_cvtepi32_ps(_mm512_castps_si512(score)),
                    token_scales(tile, block, 0, b));
                _mm512_store_ps(at, score);
            }
            __mmask16 slots = seen_slots(whole, tile->position[i], block, b);
            most = _mm512_max_ps(_mm512_mask_mov_ps(lowest, slots, score), most);
        }
        largest[i] = _mm512_castps_si512(most);
    }
    __m512 top = _mm512_castsi512_ps(largest_lanes(true, pairs, largest));
    __m512 before = _mm512_loadu_ps(tile->maximum);
    // NaN, which is 0 times -infinity, leaves the maximum as it is.
    __m512 now = _mm512_max_ps(_mm512_mul_ps(top, score_scales(pairs, type, tile)), before);
    __m512 decay = _mm512_sub_ps(before, now);
    nk_exp(1, &decay);
    _mm512_storeu_ps(tile->maximum, now);
    _mm512_storeu_ps(tile->decay, decay);
}

// Turns scores into weights and brings maxima, decays and sums up to date. Whether the block is
// `whole` or not, a pair's weights are the same.
NK_INLINE void soften(
    int pairs, nk_kv_type type, bool whole, attention_tile *tile, const key_block *block,
    lines_ahead *ahead) {
    raise_maxima(pairs, type, whole, tile, block, ahead);
    __m512i largest[MAX_PAIRS];
    NK_UNROLL for (int i = 0; i < pairs; i++) {
        __m512 weights[PARTS], maximum = _mm512_set1_ps(tile->maximum[i]);
        __m512 scale =
            _mm512_set1_ps(type == NK_KV_INT8 ? tile->query_scale[i] : tile->scale);
        ask_values(ahead, SOFTMAX_LINES);
        NK_UNROLL for (int b = 0; b < PARTS; b++) {
            __m512 score = _mm512_load_ps(&tile->scores[i][b * NK_LANES]);
            weights[b] = _mm512_fmsub_ps(score, scale, maximum);
        }
        nk_exp_of(type != NK_KV_F32, PARTS, weights);
        __m512 sum = _mm512_mul_ps(
            _mm512_loadu_ps(tile->sums[i]), _mm512_set1_ps(tile->decay[i]));
        largest[i] = _mm512_setzero_si512();
        NK_UNROLL for (int b = 0; b < PARTS; b++) {
            __mmask16 slots = seen_slots(whole, tile->position[i], block, b);
            weights[b] = _mm512_maskz_mov_ps(slots, weights[b]);
            sum = _mm512_add_ps(sum, weights[b]);
            if (type != NK_KV_INT8) continue;
            // A value out of sight may have NaN for its scale.
            weights[b] = _mm512_maskz_mul_ps(slots, weights[b], token_scales(tile, block, 1, b));
            // As integers, so that what is not finite reaches the scale and through it the result.
            largest[i] = _mm512_max_epu32(largest[i], _mm512_castps_si512(weights[b]));
        }
        _mm512_storeu_ps(tile->sums[i], sum);
        store_weights(type, tile, i, weights);
    }
    if (type == NK_KV_INT8) store_int8_weights(pairs, tile, largest);
}

enum { MOST_VECTORS = 4 };

// sums[i][v] += weight * V of the tokens that lie together in a 32-bit lane, from slot `t` on.
// `some`: pairs may see just a part of them, and what they do not see may hold anything.
NK_INLINE void add_tokens(
    int pairs, int vectors, nk_kv_type type, bool some, const attention_tile *tile,
    const key_block *block, int column, int t, lines_ahead *ahead,
    __m512i (*sums)[MOST_VECTORS]) {
    int tokens = 4 / (int)element_bytes(type);
    ptrdiff_t panel = (ptrdiff_t)tile->head_dim * NK_KV_BLOCK * element_bytes(type);
    ptrdiff_t offset = panel + (ptrdiff_t)t / tokens * tile->head_dim * 4 + (ptrdiff_t)column * 4;
    __m512i seen[MAX_PAIRS];
    ask_values(ahead, vectors);
    NK_UNROLL for (int i = 0; i < pairs; i++) {
        int count = tile->position[i] + 1 - block->first_position - t;
        if (some) seen[i] = _mm512_set1_epi32(count >= tokens ? -1 : count > 0 ? 0xffff : 0);
    }
    NK_UNROLL for (int v = 0; v < vectors; v++) {
        __m512i values = _mm512_loadu_si512(block->start + offset + v * 64);
        NK_UNROLL for (int i = 0; i < pairs; i++) {
            __m512i own = some ? _mm512_and_si512(values, seen[i]) : values;
            const unsigned char *weights = tile->weights[i];
            int step = t / tokens;
            // Of int8 the weights, not what they are multiplied with, are unsigned.
            sums[i][v] = type == NK_KV_INT8
                ? _mm512_dpbusd_epi32(sums[i][v], same_word(weights, step), own)
                : multiply_add(type, sums[i][v], weights, step, own);
        }
    }
}

// values[i][column...] = values * decay + sum over the block's tokens, ascending, of weight * V,
// for `vectors` x 16 columns.
NK_INLINE void add_values(
    int pairs, int vectors, nk_kv_type type, attention_tile *tile, const key_block *block,
    int column, lines_ahead *ahead) {
    bool is_int8 = type == NK_KV_INT8;
    __m512i sums[MAX_PAIRS][MOST_VECTORS];
    NK_UNROLL for (int i = 0; i < pairs; i++) {
        __m512 decay = _mm512_set1_ps(tile->decay[i]);
        NK_UNROLL for (int v = 0; v < vectors; v++) {
            const float *at = &tile->item[i][NK_RECORD_VALUES + column + v * NK_LANES];
            sums[i][v] = is_int8 ? _mm512_setzero_si512()
                                 : _mm512_castps_si512(_mm512_mul_ps(_mm512_loadu_ps(at), decay));
        }
    }
    int tokens = 4 / (int)element_bytes(type), t = 0;
    // Slots that all pairs see; the first pair sees least. Weights of int8 tokens out of sight are
    // 0, and any s8 times 0 is 0, so there no slot needs care.
    int common = tile->position[0] + 1 - block->first_position;
    int end = is_int8 ? nk_round_up(block->visible, tokens)
                      : nk_smaller(common, NK_KV_BLOCK) / tokens * tokens;
    for (; t < end; t += tokens) {
        add_tokens(pairs, vectors, type, false, tile, block, column, t, ahead, sums);
    }
    for (; !is_int8 && t < block->visible; t += tokens) {
        add_tokens(pairs, vectors, type, true, tile, block, column, t, ahead, sums);
    }
    NK_UNROLL for (int i = 0; i < pairs; i++) {
        NK_UNROLL for (int v = 0; v < vectors; v++) {
            float *at = &tile->item[i][NK_RECORD_VALUES + column + v * NK_LANES];
            __m512 result = _mm512_castsi512_ps(sums[i][v]);
            if (is_int8) {
                __m512 before = _mm512_mul_ps(_mm512_loadu_ps(at), _mm512_set1_ps(tile->decay[i]));
                result = _mm512_fmadd_ps(
                    _mm512_cvtepi32_ps(sums[i][v]), _mm512_set1_ps(tile->weight_scale[i]), before);
            }
            _mm512_storeu_ps(at, result);
        }
    }
}

NK_INLINE void attend_pairs(
    int pairs, nk_kv_type type, attention_tile *tile, const key_block *block) {
    lines_ahead ahead = begin_ahead(type, tile->head_dim, block);
    // As many sums as hide the latency of a multiply-add, and fit the registers; the second half of
    // a block is left alone where nobody sees it, whatever its scores.
    if (block->visible <= NK_KV_BLOCK / 2) {
        score_parts(pairs, 0, PARTS / 2, type, tile, block, &ahead);
    } else if (pairs <= 4) {
        score_parts(pairs, 0, PARTS, type, tile, block, &ahead);
    } else {
        score_parts(pairs, 0, PARTS / 2, type, tile, block, &ahead);
        score_parts(pairs, PARTS / 2, PARTS / 2, type, tile, block, &ahead);
    }
    // The first pair sees least.
    if (tile->position[0] + 1 >= block->first_position + NK_KV_BLOCK) {
        soften(pairs, type, true, tile, block, &ahead);
    } else {
        soften(pairs, type, false, tile, block, &ahead);
    }
    int column = 0, vectors = pairs <= 4 ? 4 : 2;
    for (; column + vectors * NK_LANES <= tile->head_dim; column += vectors * NK_LANES) {
        add_values(pairs, vectors, type, tile, block, column, &ahead);
    }
    for (; column < tile->head_dim; column += NK_LANES) {
        add_values(pairs, 1, type, tile, block, column, &ahead);
    }
    ask_rest(&ahead);
}

NK_INLINE void attend_typed(nk_kv_type type, attention_tile *tile, const key_block *block) {
    switch (tile->pairs) {
        case 1: attend_pairs(1, type, tile, block); break;
        case 2: attend_pairs(2, type, tile, block); break;
        case 3: attend_pairs(3, type, tile, block); break;
        case 4: attend_pairs(4, type, tile, block); break;
        case 5: attend_pairs(5, type, tile, block); break;
        case 6: attend_pairs(6, type, tile, block); break;
        case 7: attend_pairs(7, type, tile, block); break;
        default: attend_pairs(8, type, tile, block); break;
    }
}

NK_AVX512 void NK_SET(attend_block)(
    nk_kv_type type, attention_tile *tile, const key_block *block) {
    switch (type) {
        case NK_KV_F32: attend_typed(NK_KV_F32, tile, block); break;
        case NK_KV_BF16: attend_typed(NK_KV_BF16, tile, block); break;
        case NK_KV_INT8: attend_typed(NK_KV_INT8, tile, block); break;
    }
}

#endif
