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
    for (int i = 0; i < ahead->key_lines; i++) ask(ahead->keys + i * 64);
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

// scores[i][part] of the parts [first, first + parts), before any scale.
NK_INLINE void score_parts(
    int pairs, int first, int parts, nk_kv_type type, const attention_tile *tile,
    const key_block *block, lines_ahead *ahead, __m512i (*scores)[PARTS]) {
    NK_UNROLL for (int i = 0; i < pairs; i++) {
        __m512i start = _mm512_setzero_si512();
        if (type == NK_KV_INT8) start = _mm512_set1_epi32(tile->correction[i]);
        NK_UNROLL for (int b = first; b < first + parts; b++) scores[i][b] = start;
    }
    int steps = tile->head_dim * (int)element_bytes(type) / 4;
    for (int step = 0; step < steps; step++) {
        __m512i keys[PARTS];
        ask_keys(ahead);
        NK_UNROLL for (int b = first; b < first + parts; b++) {
            keys[b] = _mm512_loadu_si512(block->start + ((ptrdiff_t)step * PARTS + b) * 64);
        }
        NK_UNROLL for (int i = 0; i < pairs; i++) {
            const unsigned char *query = tile->query[i];
            NK_UNROLL for (int b = first; b < first + parts; b++) {
                scores[i][b] = multiply_add(type, scores[i][b], query, step, keys[b]);
            }
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

// What a pair's scores are multiplied with, but for the keys' own scales.
NK_INLINE float score_scale(nk_kv_type type, const attention_tile *tile, int pair) {
    return type == NK_KV_INT8 ? tile->query_scale[pair] : tile->scale;
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

// Writes the weights of one pair in the cache's precision. `whole`: the pair sees all of the block.
NK_INLINE void store_weights(
    nk_kv_type type, bool whole, attention_tile *tile, int pair, const key_block *block,
    __m512 *weights) {
    unsigned char *out = tile->weights[pair];
    if (type == NK_KV_F32) {
        NK_UNROLL for (int b = 0; b < PARTS; b++) _mm512_storeu_ps(out + 64 * b, weights[b]);
        return;
    }
    if (type == NK_KV_BF16) {
        NK_UNROLL for (int b = 0; b < PARTS; b++) round_weights(weights[b], b, out);
        return;
    }
    // As integers, so that what is not finite reaches the scale and through it the result.
    __m512i largest = _mm512_setzero_si512();
    NK_UNROLL for (int b = 0; b < PARTS; b++) {
        __mmask16 slots = seen_slots(whole, tile->position[pair], block, b);
        weights[b] = _mm512_maskz_mul_ps(slots, weights[b], token_scales(tile, block, 1, b));
        largest = _mm512_max_epu32(largest, _mm512_castps_si512(weights[b]));
    }
    float top = nk_float_of(_mm512_reduce_max_epu32(largest));
    tile->weight_scale[pair] = top * (1.0f / 255.0f);
    __m512 factor = _mm512_set1_ps(top > 0x1p-100f ? 255.0f / top : 0.0f);
    __m512i rounded[PARTS];
    NK_UNROLL for (int b = 0; b < PARTS; b++) {
        rounded[b] = _mm512_cvtps_epi32(_mm512_mul_ps(weights[b], factor));
    }
    _mm512_storeu_si512(out, nk_pack_bytes(false, rounded));
}

// Turns scores into weights and brings maximum, decay and sums up to date. `whole`: all pairs see all
// of the block. Whatever the block, a pair's weights are the same.
NK_INLINE void soften(
    int pairs, nk_kv_type type, bool whole, attention_tile *tile, const key_block *block,
    lines_ahead *ahead, __m512i (*raw)[PARTS]) {
    __m512 lowest = _mm512_set1_ps(-INFINITY);
    float old[NK_LANES] = {0};
    NK_UNROLL for (int i = 0; i < pairs; i++) {
        __m512 largest = lowest;
        ask_values(ahead, SOFTMAX_LINES);
        NK_UNROLL for (int b = 0; b < PARTS; b++) {
            __m512 score = _mm512_castsi512_ps(raw[i][b]);
            if (type == NK_KV_INT8) {
                score = _mm512_mul_ps(
                    _mm512_cvtepi32_ps(raw[i][b]), token_scales(tile, block, 0, b));
            }
            raw[i][b] = _mm512_castps_si512(score);
            __mmask16 slots = seen_slots(whole, tile->position[i], block, b);
            largest = _mm512_max_ps(_mm512_mask_mov_ps(lowest, slots, score), largest);
        }
        float before = tile->item[i][0], top = nk_max_lanes(largest) * score_scale(type, tile, i);
        float now = top > before ? top : before;
        tile->item[i][0] = now;
        old[i] = before - now;
    }
    __m512 decays = _mm512_loadu_ps(old);
    nk_exp(1, &decays);
    _mm512_storeu_ps(tile->decay, decays);
    NK_UNROLL for (int i = 0; i < pairs; i++) {
        __m512 weights[PARTS];
        __m512 maximum = _mm512_set1_ps(tile->item[i][0]);
        __m512 scale = _mm512_set1_ps(score_scale(type, tile, i));
        ask_values(ahead, SOFTMAX_LINES);
        NK_UNROLL for (int b = 0; b < PARTS; b++) {
            weights[b] = _mm512_fmsub_ps(_mm512_castsi512_ps(raw[i][b]), scale, maximum);
        }
        nk_exp_of(type != NK_KV_F32, PARTS, weights);
        NK_UNROLL for (int b = 0; b < PARTS; b++) {
            __mmask16 slots = seen_slots(whole, tile->position[i], block, b);
            weights[b] = _mm512_maskz_mov_ps(slots, weights[b]);
        }
        __m512 sum = _mm512_add_ps(
            _mm512_add_ps(weights[0], weights[1]), _mm512_add_ps(weights[2], weights[3]));
        __m512 decay = _mm512_set1_ps(tile->decay[i]);
        sum = _mm512_fmadd_ps(_mm512_loadu_ps(tile->sums[i]), decay, sum);
        _mm512_storeu_ps(tile->sums[i], sum);
        store_weights(type, whole, tile, i, block, weights);
    }
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
    __m512i scores[MAX_PAIRS][PARTS];
    lines_ahead ahead = begin_ahead(type, tile->head_dim, block);
    // As many sums as hide the latency of a multiply-add, and fit the registers; the second half of
    // a block is left alone where nobody sees it, whatever its scores.
    bool needs_both = block->visible > NK_KV_BLOCK / 2;
    if (needs_both && pairs <= 4) {
        score_parts(pairs, 0, PARTS, type, tile, block, &ahead, scores);
    } else {
        score_parts(pairs, 0, PARTS / 2, type, tile, block, &ahead, scores);
        if (needs_both) {
            score_parts(pairs, PARTS / 2, PARTS / 2, type, tile, block, &ahead, scores);
        } else {
            NK_UNROLL for (int i = 0; i < pairs; i++) {
                NK_UNROLL for (int b = PARTS / 2; b < PARTS; b++) {
                    scores[i][b] = _mm512_setzero_si512();
                }
            }
        }
    }
    // The first pair sees least.
    if (tile->position[0] + 1 >= block->first_position + NK_KV_BLOCK) {
        soften(pairs, type, true, tile, block, &ahead, scores);
    } else {
        soften(pairs, type, false, tile, block, &ahead, scores);
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
