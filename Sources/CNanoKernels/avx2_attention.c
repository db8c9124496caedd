// Causal attention over the paged KV cache for tiles of up to 6 (row, head) pairs that share a KV
// head: K and V are read from memory once for all pairs of the tile. A tile visits the blocks that
// all its rows see in full together, and the block that its rows lie in row by row.
#include "nano_kernels.h"

#if defined(__x86_64__)

#include "avx2_attention.h"

typedef nk_avx2_attention_tile attention_tile;

// Rows and heads of one tile; pair = row * heads + head, counted within the tile.
typedef struct {
    int first_row, rows;
    int first_head, heads;
} tile_bounds;

// An int8 query as words: of each four dimensions the even and the odd ones.
NK_INLINE void store_int8_query(attention_tile *tile, int pair, const float *query) {
    int8_t values[NK_MAX_HEAD_DIM];
    float scale;
    int32_t start;
    int dim = tile->head_dim;
    nk_avx2_kernels.quantize_int8(query, dim, dim, values, &scale, &start);
    tile->correction[pair] = start - nk_dot_origin(dim);
    for (int d = 0; d < dim; d += 4) {
        int32_t *words = tile->query + d / 2 * tile->pairs + pair;
        words[0] = (uint16_t)values[d] | (int32_t)((uint32_t)(uint16_t)values[d + 2] << 16);
        words[tile->pairs] =
            (uint16_t)values[d + 1] | (int32_t)((uint32_t)(uint16_t)values[d + 3] << 16);
    }
    tile->score_scale[pair] *= scale;
}

NK_AVX2 static void begin_tile(
    attention_tile *tile, const nk_attention_piece *piece, nk_kv_type type, tile_bounds bounds) {
    int pairs = tile->pairs = bounds.rows * bounds.heads;
    tile->head_dim = piece->head_dim;
    for (int pair = 0; pair < pairs; pair++) {
        ptrdiff_t row = bounds.first_row + pair / bounds.heads;
        ptrdiff_t head = bounds.first_head + pair % bounds.heads;
        const float *query = piece->query + row * piece->query_stride + head * piece->head_dim;
        tile->score_scale[pair] = piece->scale;
        if (type == NK_KV_INT8) {
            store_int8_query(tile, pair, query);
            continue;
        }
        for (int d = 0; d < piece->head_dim; d++) {
            memcpy(&tile->query[d * pairs + pair], &query[d], sizeof *query);
        }
    }
}

// Block `index` of the sequence, of which a row sees `visible` slots. What is read next is the
// block that follows or, at the end, what the piece says.
static nk_avx2_key_block block_at(
    int index, int last_index, int visible, const nk_attention_piece *piece,
    const nk_kv_layer *cache) {
    const int32_t *table = piece->block_table;
    ptrdiff_t here = table[index] * cache->block_stride + piece->kv_head * cache->head_stride;
    ptrdiff_t next = here;
    if (index < last_index) {
        next = table[index + 1] * cache->block_stride + piece->kv_head * cache->head_stride;
    } else if (piece->next_block_table) {
        next = piece->next_block_table[0] * cache->block_stride
            + piece->next_kv_head * cache->head_stride;
    }
    return (nk_avx2_key_block){
        .start = cache->base + here,
        .ahead = next - here,
        .type = cache->type,
        .visible = visible,
    };
}

NK_INLINE void begin_item(attention_tile *tile) {
    for (int pair = 0; pair < tile->pairs; pair++) {
        tile->item[pair][0] = -INFINITY;
        memset(
            tile->item[pair] + NK_RECORD_VALUES, 0,
            sizeof *tile->item[pair] * (size_t)tile->head_dim);
    }
    memset(tile->sums, 0, sizeof tile->sums);
}

// Brings the tile's records to what one item holds. `last_read`: the last block that the caller
// goes on to.
NK_AVX2 static void attend_item(
    attention_tile *tile, const nk_attention_piece *piece, const nk_kv_layer *cache,
    tile_bounds bounds, int item, int last_read) {
    enum { BLOCKS = NK_ATTENTION_ITEM / NK_KV_BLOCK };
    int first_position = piece->first_position + bounds.first_row;
    int own = first_position / NK_KV_BLOCK;
    int first = item * BLOCKS, last = nk_smaller(first + BLOCKS - 1, own);
    begin_item(tile);
    for (int index = first; index <= last; index++) {
        nk_avx2_key_block block = block_at(index, last_read, NK_KV_BLOCK, piece, cache);
        if (index < own) {
            nk_avx2_attend_block(tile, 0, tile->pairs, &block);
            continue;
        }
        for (int row = 0; row < bounds.rows; row++) {
            block.visible = (first_position + row) % NK_KV_BLOCK + 1;
            nk_avx2_attend_block(tile, row * bounds.heads, bounds.heads, &block);
        }
    }
    for (int pair = 0; pair < tile->pairs; pair++) {
        tile->item[pair][1] = nk_sum_lanes(_mm256_loadu_ps(tile->sums[pair]));
    }
}

// total = total and item, as if their keys had entered one softmax.
NK_AVX2 static void merge_record(float *total, const float *item, int head_dim) {
    float maximum = total[0] > item[0] ? total[0] : item[0];
    float shares[NK_LANES] = {total[0] - maximum, item[0] - maximum};
    _mm256_storeu_ps(shares, nk_exp(_mm256_loadu_ps(shares)));
    __m256 old = _mm256_set1_ps(shares[0]), added = _mm256_set1_ps(shares[1]);
    total[0] = maximum;
    total[1] = fmaf(item[1], shares[1], total[1] * shares[0]);
    for (int i = NK_RECORD_VALUES; i < NK_RECORD_VALUES + head_dim; i += NK_LANES) {
        __m256 sum = _mm256_mul_ps(_mm256_loadu_ps(total + i), old);
        sum = _mm256_fmadd_ps(_mm256_loadu_ps(item + i), added, sum);
        _mm256_storeu_ps(total + i, sum);
    }
}

NK_AVX2 static void finish_record(const float *record, int head_dim, float *out) {
    __m256 sum = _mm256_set1_ps(record[1]);
    for (int d = 0; d < head_dim; d += NK_LANES) {
        __m256 values = _mm256_loadu_ps(record + NK_RECORD_VALUES + d);
        _mm256_storeu_ps(out + d, _mm256_div_ps(values, sum));
    }
}

NK_INLINE void copy_record(float *target, const float *record, int head_dim) {
    memcpy(target, record, sizeof *target * (size_t)(NK_RECORD_VALUES + head_dim));
}

// All items of a tile, merged in the order of their positions.
NK_AVX2 static void attend_tile(
    const nk_attention_piece *piece, const nk_kv_layer *cache, tile_bounds bounds) {
    attention_tile tile;
    float totals[NK_AVX2_PAIRS][NK_ATTENTION_RECORD];
    begin_tile(&tile, piece, cache->type, bounds);
    int last_block = piece->first_position / NK_KV_BLOCK;
    for (int item = 0; item <= piece->first_position / NK_ATTENTION_ITEM; item++) {
        attend_item(&tile, piece, cache, bounds, item, last_block);
        for (int pair = 0; pair < tile.pairs; pair++) {
            if (item == 0) {
                copy_record(totals[pair], tile.item[pair], tile.head_dim);
            } else {
                merge_record(totals[pair], tile.item[pair], tile.head_dim);
            }
        }
    }
    for (int pair = 0; pair < tile.pairs; pair++) {
        ptrdiff_t row = bounds.first_row + pair / bounds.heads;
        ptrdiff_t head = bounds.first_head + pair % bounds.heads;
        float *out = piece->out + row * piece->out_stride + head * piece->head_dim;
        finish_record(totals[pair], piece->head_dim, out);
    }
}

// Heads of a tile: as few tiles as possible, of nearly the same size.
static int tile_heads(int heads) {
    return nk_ceil_div(heads, nk_ceil_div(heads, NK_AVX2_PAIRS));
}

NK_AVX2 void nk_avx2_attention(nk_attention_piece piece, nk_kv_layer cache) {
    if (piece.head_dim % NK_LANES != 0) {
        nk_portable_attention(piece, cache);
        return;
    }
    int heads = tile_heads(piece.heads), rows = NK_AVX2_PAIRS / heads;
    for (int head = 0; head < piece.heads; head += heads) {
        for (int row = 0; row < piece.rows; row += rows) {
            tile_bounds bounds = {
                .first_row = row,
                .rows = nk_smaller(rows, piece.rows - row),
                .first_head = head,
                .heads = nk_smaller(heads, piece.heads - head),
            };
            attend_tile(&piece, &cache, bounds);
        }
    }
}

NK_AVX2 void nk_avx2_attention_item(
    nk_attention_piece piece, nk_kv_layer cache, int item, float *records) {
    if (piece.head_dim % NK_LANES != 0) {
        nk_portable_attention_item(piece, cache, item, records);
        return;
    }
    int last_block = nk_smaller(
        (item + 1) * (NK_ATTENTION_ITEM / NK_KV_BLOCK) - 1, piece.first_position / NK_KV_BLOCK);
    for (int head = 0, count; head < piece.heads; head += count) {
        attention_tile tile;
        count = nk_smaller(tile_heads(piece.heads), piece.heads - head);
        tile_bounds bounds = {.rows = 1, .first_head = head, .heads = count};
        begin_tile(&tile, &piece, cache.type, bounds);
        attend_item(&tile, &piece, &cache, bounds, item, last_block);
        for (int i = 0; i < count; i++, records += NK_ATTENTION_RECORD) {
            copy_record(records, tile.item[i], tile.head_dim);
        }
    }
}

NK_AVX2 void nk_avx2_merge_items(
    float *records, int items, int heads, int head_dim, float *out) {
    if (head_dim % NK_LANES != 0) {
        nk_portable_merge_items(records, items, heads, head_dim, out);
        return;
    }
    for (int head = 0; head < heads; head++) {
        float *total = records + (ptrdiff_t)head * NK_ATTENTION_RECORD;
        for (int item = 1; item < items; item++) {
            const float *next = total + (ptrdiff_t)item * heads * NK_ATTENTION_RECORD;
            merge_record(total, next, head_dim);
        }
        finish_record(total, head_dim, out + (ptrdiff_t)head * head_dim);
    }
}

#endif
