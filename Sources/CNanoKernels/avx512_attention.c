// Causal attention over the paged KV cache for tiles of up to 8 (row, head) pairs that share a KV
// head: each vector of K and V is loaded and widened once for all pairs of the tile. Every pair
// runs its own chain of operations, so its bits do not depend on the other pairs, and a tile visits
// the blocks that all its rows see in full together, the others row by row.
#include "nano_kernels.h"

#if defined(__x86_64__)

#include "avx512.h"

enum {
    MAX_PAIRS = 8,  // two score accumulators a pair: 16 registers
    PREFETCH_BLOCKS = 2,
};

typedef struct {
    float query[NK_MAX_HEAD_DIM * MAX_PAIRS];     // (D, pairs)
    float values[MAX_PAIRS][NK_MAX_HEAD_DIM];     // sum over tokens of exp(score - maximum) * V
    float weights[MAX_PAIRS][NK_KV_BLOCK];        // exp(score - maximum) of the current block
    float maximum[NK_LANES];                      // a pair a lane
    float decay[NK_LANES];                        // exp(old maximum - new maximum)
    float sums[MAX_PAIRS][NK_LANES];              // of the weights, a lane per slot
    int pairs;
} attention_tile;

// One block of the tile's KV head.
typedef struct {
    const unsigned char *start;
    ptrdiff_t ahead;  // from here to a block to come: each line read asks for its like there
    nk_kv_type type;
    int head_dim;
    int visible;  // slots that the rows at hand may see, 1 to 16
    float scale;
} key_block;

typedef struct {
    __m512 first, second;
} vector_pair;

// Two neighbours along the summed axis: halves of each 32-bit lane in bf16, else `gap` bytes apart.
NK_INLINE vector_pair load_pair(
    nk_kv_type type, const unsigned char *source, ptrdiff_t gap, ptrdiff_t ahead) {
    _mm_prefetch((const char *)source + ahead, _MM_HINT_T0);
    if (type == NK_KV_F32) {
        _mm_prefetch((const char *)source + gap + ahead, _MM_HINT_T0);
        return (vector_pair){_mm512_loadu_ps(source), _mm512_loadu_ps(source + gap)};
    }
    __m512i both = _mm512_loadu_si512(source);
    return (vector_pair){
        _mm512_castsi512_ps(_mm512_slli_epi32(both, 16)),
        _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32((int)0xffff0000))),
    };
}

NK_INLINE ptrdiff_t element_bytes(nk_kv_type type) { return type == NK_KV_BF16 ? 2 : 4; }

// scores[i][slot] = scale * query . key, even and odd dimensions summed apart.
NK_INLINE void score(
    int pairs, nk_kv_type type, const attention_tile *tile, int first_pair, key_block block,
    __m512 *scores) {
    __m512 even[MAX_PAIRS], odd[MAX_PAIRS];
    NK_UNROLL for (int i = 0; i < pairs; i++) even[i] = odd[i] = _mm512_setzero_ps();
    const float *query = tile->query + first_pair;
    ptrdiff_t step = 2 * NK_KV_BLOCK * element_bytes(type);
    const unsigned char *key = block.start;
    for (int d = 0; d < block.head_dim; d += 2, key += step) {
        vector_pair k = load_pair(type, key, step / 2, block.ahead);
        NK_UNROLL for (int i = 0; i < pairs; i++) {
            even[i] = _mm512_fmadd_ps(k.first, _mm512_set1_ps(query[i]), even[i]);
            odd[i] = _mm512_fmadd_ps(k.second, _mm512_set1_ps(query[tile->pairs + i]), odd[i]);
        }
        query += 2 * tile->pairs;
    }
    NK_UNROLL for (int i = 0; i < pairs; i++) {
        scores[i] = _mm512_mul_ps(_mm512_add_ps(even[i], odd[i]), _mm512_set1_ps(block.scale));
    }
}

// Turns scores into weights and brings maximum, decay and sums up to date.
NK_INLINE void soften(
    int pairs, attention_tile *tile, int first_pair, int visible, const __m512 *scores) {
    __mmask16 slots = (__mmask16)((1u << visible) - 1);
    __m512 lowest = _mm512_set1_ps(-INFINITY);
    float *maximum = tile->maximum + first_pair, *decay = tile->decay + first_pair;
    float old[NK_LANES] = {0}, change[NK_LANES];
    NK_UNROLL for (int i = 0; i < pairs; i++) {
        float largest = nk_max_lanes(_mm512_mask_mov_ps(lowest, slots, scores[i]));
        old[i] = maximum[i];
        maximum[i] = largest > old[i] ? largest : old[i];
        old[i] -= maximum[i];
    }
    _mm512_storeu_ps(change, nk_exp(_mm512_loadu_ps(old)));
    NK_UNROLL for (int i = 0; i < pairs; i++) {
        decay[i] = change[i];
        __m512 weights = nk_exp(_mm512_sub_ps(scores[i], _mm512_set1_ps(maximum[i])));
        weights = _mm512_maskz_mov_ps(slots, weights);
        _mm512_storeu_ps(tile->weights[first_pair + i], weights);
        float *sums = tile->sums[first_pair + i];
        __m512 decayed = _mm512_mul_ps(_mm512_loadu_ps(sums), _mm512_set1_ps(change[i]));
        _mm512_storeu_ps(sums, _mm512_add_ps(decayed, weights));
    }
}

// values[i][column...] = values * decay + sum over visible tokens of weight * V, tokens ascending,
// for `vectors` x 16 columns.
NK_INLINE void add_values(
    int pairs, int vectors, nk_kv_type type, attention_tile *tile, int first_pair,
    key_block block, int column) {
    __m512 sums[MAX_PAIRS][4];
    NK_UNROLL for (int i = 0; i < pairs; i++) {
        __m512 decay = _mm512_set1_ps(tile->decay[first_pair + i]);
        NK_UNROLL for (int v = 0; v < vectors; v++) {
            const float *values = &tile->values[first_pair + i][column + v * NK_LANES];
            sums[i][v] = _mm512_mul_ps(_mm512_loadu_ps(values), decay);
        }
    }
    ptrdiff_t row = block.head_dim * element_bytes(type);
    const unsigned char *source = block.start + NK_KV_BLOCK * row + (ptrdiff_t)column * 4;
    for (int t = 0; t < block.visible; t += 2, source += 2 * row) {
        bool both = t + 1 < block.visible;
        NK_UNROLL for (int v = 0; v < vectors; v++) {
            vector_pair value = load_pair(type, source + v * 64, row, block.ahead);
            // A slot out of sight may hold NaN, which a weight of zero would not silence.
            if (!both) value.second = _mm512_setzero_ps();
            NK_UNROLL for (int i = 0; i < pairs; i++) {
                const float *weights = tile->weights[first_pair + i] + t;
                sums[i][v] = _mm512_fmadd_ps(value.first, _mm512_set1_ps(weights[0]), sums[i][v]);
                sums[i][v] = _mm512_fmadd_ps(value.second, _mm512_set1_ps(weights[1]), sums[i][v]);
            }
        }
    }
    NK_UNROLL for (int i = 0; i < pairs; i++) {
        NK_UNROLL for (int v = 0; v < vectors; v++) {
            _mm512_storeu_ps(&tile->values[first_pair + i][column + v * NK_LANES], sums[i][v]);
        }
    }
}

NK_INLINE void attend_pairs(
    int pairs, nk_kv_type type, attention_tile *tile, int first_pair, key_block block) {
    __m512 scores[MAX_PAIRS];
    score(pairs, type, tile, first_pair, block, scores);
    soften(pairs, tile, first_pair, block.visible, scores);
    int column = 0, vectors = pairs <= 4 ? 4 : 2;
    for (; column + vectors * NK_LANES <= block.head_dim; column += vectors * NK_LANES) {
        add_values(pairs, vectors, type, tile, first_pair, block, column);
    }
    for (; column < block.head_dim; column += NK_LANES) {
        add_values(pairs, 1, type, tile, first_pair, block, column);
    }
}

NK_INLINE void attend_typed(
    int pairs, nk_kv_type type, attention_tile *tile, int first_pair, key_block block) {
    switch (pairs) {
        case 1: attend_pairs(1, type, tile, first_pair, block); break;
        case 2: attend_pairs(2, type, tile, first_pair, block); break;
        case 3: attend_pairs(3, type, tile, first_pair, block); break;
        case 4: attend_pairs(4, type, tile, first_pair, block); break;
        case 5: attend_pairs(5, type, tile, first_pair, block); break;
        case 6: attend_pairs(6, type, tile, first_pair, block); break;
        case 7: attend_pairs(7, type, tile, first_pair, block); break;
        default: attend_pairs(8, type, tile, first_pair, block); break;
    }
}

NK_AVX512 static void attend_block(
    attention_tile *tile, int first_pair, int pairs, key_block block) {
    if (block.type == NK_KV_BF16) {
        attend_typed(pairs, NK_KV_BF16, tile, first_pair, block);
    } else {
        attend_typed(pairs, NK_KV_F32, tile, first_pair, block);
    }
}

// Rows and heads of one tile; pair = row * heads + head, counted within the tile.
typedef struct {
    int first_row, rows;
    int first_head, heads;
} tile_bounds;

NK_AVX512 static void begin_tile(
    attention_tile *tile, nk_attention_piece piece, tile_bounds bounds) {
    int pairs = tile->pairs = bounds.rows * bounds.heads;
    for (int pair = 0; pair < pairs; pair++) {
        ptrdiff_t row = bounds.first_row + pair / bounds.heads;
        ptrdiff_t head = bounds.first_head + pair % bounds.heads;
        const float *query = piece.query + row * piece.query_stride + head * piece.head_dim;
        for (int d = 0; d < piece.head_dim; d++) tile->query[d * pairs + pair] = query[d];
        memset(tile->values[pair], 0, sizeof *tile->values[pair] * (size_t)piece.head_dim);
    }
    memset(tile->sums, 0, sizeof tile->sums);
    for (int i = 0; i < NK_LANES; i++) tile->maximum[i] = -INFINITY;
}

NK_AVX512 static void finish_tile(
    const attention_tile *tile, nk_attention_piece piece, tile_bounds bounds) {
    for (int pair = 0; pair < tile->pairs; pair++) {
        ptrdiff_t row = bounds.first_row + pair / bounds.heads;
        ptrdiff_t head = bounds.first_head + pair % bounds.heads;
        float *out = piece.out + row * piece.out_stride + head * piece.head_dim;
        __m512 sum = _mm512_set1_ps(nk_sum_lanes(_mm512_loadu_ps(tile->sums[pair])));
        for (int d = 0; d < piece.head_dim; d += NK_LANES) {
            __m512 values = _mm512_loadu_ps(tile->values[pair] + d);
            _mm512_storeu_ps(out + d, _mm512_div_ps(values, sum));
        }
    }
}

// Block `index` of the sequence, of which a row at `position` sees a part.
static key_block block_at(
    int index, int last_index, int position, const nk_attention_piece *piece,
    const nk_kv_layer *cache) {
    int ahead = nk_smaller(index + PREFETCH_BLOCKS, last_index);
    ptrdiff_t blocks_ahead =
        (ptrdiff_t)piece->block_table[ahead] - piece->block_table[index];
    const unsigned char *base = cache->base + piece->kv_head * cache->head_stride;
    return (key_block){
        .start = base + piece->block_table[index] * cache->block_stride,
        .ahead = blocks_ahead * cache->block_stride,
        .type = cache->type,
        .head_dim = piece->head_dim,
        .visible = nk_smaller(position + 1 - index * NK_KV_BLOCK, NK_KV_BLOCK),
        .scale = piece->scale,
    };
}

NK_AVX512 static void attend_tile(
    nk_attention_piece piece, nk_kv_layer cache, tile_bounds bounds) {
    attention_tile tile;
    begin_tile(&tile, piece, bounds);
    int first_position = piece.first_position + bounds.first_row;
    int last_position = first_position + bounds.rows - 1;
    int last_index = last_position / NK_KV_BLOCK, shared = (first_position + 1) / NK_KV_BLOCK;
    for (int index = 0; index < shared; index++) {
        key_block block = block_at(index, last_index, first_position, &piece, &cache);
        attend_block(&tile, 0, tile.pairs, block);
    }
    for (int row = 0; row < bounds.rows; row++) {
        int position = first_position + row;
        for (int index = shared; index * NK_KV_BLOCK <= position; index++) {
            key_block block = block_at(index, last_index, position, &piece, &cache);
            attend_block(&tile, row * bounds.heads, bounds.heads, block);
        }
    }
    finish_tile(&tile, piece, bounds);
}

NK_AVX512 void nk_avx512_attention(nk_attention_piece piece, nk_kv_layer cache) {
    if (piece.head_dim % NK_LANES != 0) {
        nk_portable_kernels.attention(piece, cache);
        return;
    }
    int tile_heads = nk_ceil_div(piece.heads, nk_ceil_div(piece.heads, MAX_PAIRS));
    int tile_rows = MAX_PAIRS / tile_heads;
    for (int head = 0; head < piece.heads; head += tile_heads) {
        for (int row = 0; row < piece.rows; row += tile_rows) {
            tile_bounds bounds = {
                .first_row = row,
                .rows = nk_smaller(tile_rows, piece.rows - row),
                .first_head = head,
                .heads = nk_smaller(tile_heads, piece.heads - head),
            };
            attend_tile(piece, cache, bounds);
        }
    }
}

#endif
