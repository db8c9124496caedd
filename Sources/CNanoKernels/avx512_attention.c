// Causal attention over the paged KV cache for tiles of up to 8 (row, head) pairs that share a KV
// head. Keys enter the softmax a block at a time; items of 512 positions begin anew and are merged
// in order, by whoever computed them.
#include "nano_kernels.h"

#if defined(__x86_64__)

#include "avx512_attention.h"

NK_AVX512 static void store_query(
    nk_kv_type type, attention_tile *tile, int pair, const float *query) {
    int dim = tile->head_dim;
    void *out = tile->query[pair];
    if (type == NK_KV_F32) {
        memcpy(out, query, sizeof *query * (size_t)dim);
    } else if (type == NK_KV_BF16) {
#if defined(NK_WITHOUT_BF16)
        for (int d = 0; d < dim; d += NK_LANES) {
            __m512i rounded = nk_round_bf16(_mm512_loadu_ps(query + d));
            _mm512_storeu_ps((float *)out + d, nk_lower_bf16(rounded));
        }
#else
        NK_SET(kernels).convert_bf16(query, dim, out);
#endif
    } else {
        float scale;
        int32_t start;
        NK_SET(kernels).quantize_int8(query, dim, dim, out, &scale, &start);
        tile->correction[pair] = start - nk_dot_origin(dim);
        tile->query_scale[pair] = scale * tile->scale;
    }
}

NK_INLINE void begin_item(attention_tile *tile) {
    _mm512_storeu_ps(tile->maximum, _mm512_set1_ps(-INFINITY));
    for (int pair = 0; pair < tile->pairs; pair++) {
        _mm512_storeu_ps(tile->sums[pair], _mm512_setzero_ps());
        for (int d = 0; d < tile->head_dim; d += NK_LANES) {
            _mm512_storeu_ps(&tile->item[pair][NK_RECORD_VALUES + d], _mm512_setzero_ps());
        }
    }
}

// total = total and item, as if their keys had entered one softmax.
NK_INLINE void merge_record(float *total, const float *item, int head_dim) {
    float maximum = total[0] > item[0] ? total[0] : item[0];
    float differences[NK_LANES] = {total[0] - maximum, item[0] - maximum}, shares[NK_LANES];
    __m512 powers = _mm512_loadu_ps(differences);
    nk_exp(1, &powers);
    _mm512_storeu_ps(shares, powers);
    total[0] = maximum;
    total[1] = total[1] * shares[0] + item[1] * shares[1];
    __m512 old = _mm512_set1_ps(shares[0]), new = _mm512_set1_ps(shares[1]);
    for (int d = NK_RECORD_VALUES; d < NK_RECORD_VALUES + head_dim; d += NK_LANES) {
        __m512 sum = _mm512_mul_ps(_mm512_loadu_ps(total + d), old);
        sum = _mm512_fmadd_ps(_mm512_loadu_ps(item + d), new, sum);
        _mm512_storeu_ps(total + d, sum);
    }
}

NK_INLINE void copy_record(float *out, const float *record, int head_dim) {
    memcpy(out, record, sizeof *out * (size_t)(NK_RECORD_VALUES + head_dim));
}

NK_INLINE void write_record(const float *record, int head_dim, float *out) {
    __m512 sum = _mm512_set1_ps(record[1]);
    for (int d = 0; d < head_dim; d += NK_LANES) {
        __m512 values = _mm512_loadu_ps(record + NK_RECORD_VALUES + d);
        _mm512_storeu_ps(out + d, _mm512_div_ps(values, sum));
    }
}

// Positions [first, end) of one item, for all pairs of the tile.
NK_AVX512 static void attend_item(
    attention_tile *tile, const nk_attention_piece *piece, const nk_kv_layer *cache, int first,
    int end) {
    const unsigned char *base = cache->base + piece->kv_head * cache->head_stride;
    begin_item(tile);
    for (; first < end; first += NK_KV_BLOCK) {
        const int32_t *number = piece->block_table + first / NK_KV_BLOCK;
        key_block block = {
            .start = base + number[0] * cache->block_stride,
            .first_position = first,
            .visible = nk_smaller(end - first, NK_KV_BLOCK),
        };
        if (first + NK_KV_BLOCK < end) {
            block.ahead = base + number[1] * cache->block_stride;
            block.ahead_visible = nk_smaller(end - first - NK_KV_BLOCK, NK_KV_BLOCK);
        } else if (piece->next_block_table) {
            block.ahead = cache->base + piece->next_kv_head * cache->head_stride
                + piece->next_block_table[0] * cache->block_stride;
            block.ahead_visible = NK_KV_BLOCK;
        }
        NK_SET(attend_block)(cache->type, tile, &block);
    }
    for (int pair = 0; pair < tile->pairs; pair++) {
        tile->item[pair][0] = tile->maximum[pair];
        tile->item[pair][1] = nk_sum_lanes(_mm512_loadu_ps(tile->sums[pair]));
    }
}

NK_AVX512 static void begin_tile(
    nk_kv_type type, attention_tile *tile, const nk_attention_piece *piece, int first_pair) {
    tile->pairs = nk_smaller(MAX_PAIRS, piece->rows * piece->heads - first_pair);
    tile->head_dim = piece->head_dim;
    tile->scale = piece->scale;
    for (int i = 0; i < tile->pairs; i++) {
        int row = (first_pair + i) / piece->heads, head = (first_pair + i) % piece->heads;
        tile->position[i] = piece->first_position + row;
        const float *query =
            piece->query + row * piece->query_stride + (ptrdiff_t)head * piece->head_dim;
        store_query(type, tile, i, query);
    }
}

// All items, merged in the order of their positions.
NK_AVX512 static void attend_tile(
    const nk_attention_piece *piece, const nk_kv_layer *cache, int first_pair) {
    attention_tile tile;
    begin_tile(cache->type, &tile, piece, first_pair);
    int end = tile.position[tile.pairs - 1] + 1, dim = piece->head_dim;
    for (int first = 0; first < end; first += NK_ATTENTION_ITEM) {
        attend_item(&tile, piece, cache, first, nk_smaller(first + NK_ATTENTION_ITEM, end));
        for (int i = 0; i < tile.pairs; i++) {
            if (first == 0) {
                copy_record(tile.total[i], tile.item[i], dim);
            } else {
                merge_record(tile.total[i], tile.item[i], dim);
            }
        }
    }
    for (int i = 0; i < tile.pairs; i++) {
        int row = (first_pair + i) / piece->heads, head = (first_pair + i) % piece->heads;
        float *out = piece->out + row * piece->out_stride + (ptrdiff_t)head * dim;
        write_record(tile.total[i], dim, out);
    }
}

// One item of a piece of one row.
NK_AVX512 static void attend_partly(
    const nk_attention_piece *piece, const nk_kv_layer *cache, int first_pair, int item,
    float *records) {
    attention_tile tile;
    begin_tile(cache->type, &tile, piece, first_pair);
    int first = item * NK_ATTENTION_ITEM;
    int end = nk_smaller(first + NK_ATTENTION_ITEM, piece->first_position + 1);
    attend_item(&tile, piece, cache, first, end);
    for (int i = 0; i < tile.pairs; i++) {
        copy_record(
            records + (ptrdiff_t)(first_pair + i) * NK_ATTENTION_RECORD, tile.item[i],
            piece->head_dim);
    }
}

NK_AVX512 void NK_SET(attention)(nk_attention_piece piece, nk_kv_layer cache) {
    if (piece.head_dim % NK_LANES != 0) {
        nk_portable_kernels.attention(piece, cache);
        return;
    }
    for (int pair = 0; pair < piece.rows * piece.heads; pair += MAX_PAIRS) {
        attend_tile(&piece, &cache, pair);
    }
}

NK_AVX512 void NK_SET(attention_item)(
    nk_attention_piece piece, nk_kv_layer cache, int item, float *records) {
    if (piece.head_dim % NK_LANES != 0) {
        nk_portable_kernels.attention_item(piece, cache, item, records);
        return;
    }
    for (int pair = 0; pair < piece.heads; pair += MAX_PAIRS) {
        attend_partly(&piece, &cache, pair, item, records);
    }
}

NK_AVX512 void NK_SET(merge_items)(
    float *records, int items, int heads, int head_dim, float *out) {
    if (head_dim % NK_LANES != 0) {
        nk_portable_kernels.merge_items(records, items, heads, head_dim, out);
        return;
    }
    for (int head = 0; head < heads; head++) {
        float *total = records + (ptrdiff_t)head * NK_ATTENTION_RECORD;
        for (int item = 1; item < items; item++) {
            const float *next = total + (ptrdiff_t)item * heads * NK_ATTENTION_RECORD;
            merge_record(total, next, head_dim);
        }
        write_record(total, head_dim, out + (ptrdiff_t)head * head_dim);
    }
}

#endif
