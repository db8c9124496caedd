// Causal attention over the paged KV cache for tiles of up to 6 (row, head) pairs that share a KV
// head: K and V are read from memory once for all pairs of the tile. Every pair runs its own chain
// of operations, so its bits do not depend on the other pairs, and a tile visits the blocks that
// all its rows see in full together, the others row by row.
#include "nano_kernels.h"

#if defined(__x86_64__)

#include "avx2.h"

enum {
    MAX_PAIRS = 6,
    MAX_SCORED = 3,  // four score accumulators a pair: 12 registers
    MAX_VECTORS = 4,  // of 8 columns of V
    HALVES = NK_KV_BLOCK / NK_LANES,  // vectors that hold a number for each slot
    PREFETCH_BLOCKS = 2,
};

typedef struct {
    float query[NK_MAX_HEAD_DIM * MAX_PAIRS];  // (D, pairs)
    float values[MAX_PAIRS][NK_MAX_HEAD_DIM];  // sum over tokens of exp(score - maximum) * V
    float weights[MAX_PAIRS][NK_KV_BLOCK];     // scores of the current block, then their weights
    float maximum[NK_LANES];                   // a pair a lane
    float decay[NK_LANES];                     // exp(old maximum - new maximum)
    float sums[MAX_PAIRS][NK_LANES];           // of the weights, slots 8 apart together
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

// One of two neighbours along the summed axis: a half of each 32-bit lane in bf16, else `gap` bytes
// after the other.
NK_INLINE __m256 load_neighbour(
    nk_kv_type type, const unsigned char *source, ptrdiff_t gap, bool second) {
    if (type == NK_KV_F32) {
        return _mm256_loadu_ps((const float *)(const void *)(second ? source + gap : source));
    }
    __m256i both = _mm256_loadu_si256((const __m256i *)(const void *)source);
    __m256i upper = _mm256_set1_epi32((int)0xffff0000);
    return _mm256_castsi256_ps(
        second ? _mm256_and_si256(both, upper) : _mm256_slli_epi32(both, 16));
}

// Asks for the line to come that is like the one at `source`, and in f32 like its neighbour.
NK_INLINE void prefetch_pair(
    nk_kv_type type, const unsigned char *source, ptrdiff_t gap, ptrdiff_t ahead) {
    _mm_prefetch((const char *)source + ahead, _MM_HINT_T0);
    if (type == NK_KV_F32) _mm_prefetch((const char *)source + gap + ahead, _MM_HINT_T0);
}

NK_INLINE ptrdiff_t element_bytes(nk_kv_type type) { return type == NK_KV_BF16 ? 2 : 4; }

// scores[pair][slot] += query . key for one of two neighbouring dimensions.
NK_INLINE void add_dimension(
    int pairs, nk_kv_type type, const unsigned char *key, bool second, const float *query,
    __m256 (*scores)[HALVES]) {
    ptrdiff_t gap = NK_KV_BLOCK * element_bytes(type);
    __m256 low = load_neighbour(type, key, gap, second);
    __m256 high = load_neighbour(type, key + sizeof low, gap, second);
    NK_UNROLL for (int i = 0; i < pairs; i++) {
        __m256 q = _mm256_broadcast_ss(query + i);
        scores[i][0] = _mm256_fmadd_ps(low, q, scores[i][0]);
        scores[i][1] = _mm256_fmadd_ps(high, q, scores[i][1]);
    }
}

// weights[pair][slot] = scale * query . key, even and odd dimensions summed apart.
NK_INLINE void score(
    int pairs, nk_kv_type type, attention_tile *tile, int first_pair, key_block block) {
    __m256 even[MAX_SCORED][HALVES], odd[MAX_SCORED][HALVES];
    NK_UNROLL for (int i = 0; i < pairs; i++) {
        even[i][0] = even[i][1] = odd[i][0] = odd[i][1] = _mm256_setzero_ps();
    }
    const float *query = tile->query + first_pair;
    ptrdiff_t step = 2 * NK_KV_BLOCK * element_bytes(type);
    const unsigned char *key = block.start;
    for (int d = 0; d < block.head_dim; d += 2, key += step) {
        prefetch_pair(type, key, step / 2, block.ahead);
        add_dimension(pairs, type, key, false, query, even);
        add_dimension(pairs, type, nk_load_again(key), true, query + tile->pairs, odd);
        query += 2 * tile->pairs;
    }
    __m256 scale = _mm256_set1_ps(block.scale);
    NK_UNROLL for (int i = 0; i < pairs; i++) {
        float *scores = tile->weights[first_pair + i];
        NK_UNROLL for (int half = 0; half < HALVES; half++) {
            __m256 sum = _mm256_add_ps(even[i][half], odd[i][half]);
            _mm256_storeu_ps(scores + half * NK_LANES, _mm256_mul_ps(sum, scale));
        }
    }
}

// The new maximum of each pair, and what its sums so far are worth under it.
NK_INLINE void raise_maximum(int pairs, attention_tile *tile, int first_pair, const __m256 *seen) {
    __m256 lowest = _mm256_set1_ps(-INFINITY);
    float *maximum = tile->maximum + first_pair, change[NK_LANES] = {0};
    for (int i = 0; i < pairs; i++) {
        const float *scores = tile->weights[first_pair + i];
        __m256 low = _mm256_blendv_ps(lowest, _mm256_loadu_ps(scores), seen[0]);
        __m256 high = _mm256_blendv_ps(lowest, _mm256_loadu_ps(scores + NK_LANES), seen[1]);
        float largest = nk_max_lanes(_mm256_max_ps(low, high)), old = maximum[i];
        maximum[i] = largest > old ? largest : old;
        change[i] = old - maximum[i];
    }
    _mm256_storeu_ps(change, nk_exp(_mm256_loadu_ps(change)));
    for (int i = 0; i < pairs; i++) tile->decay[first_pair + i] = change[i];
}

// Turns scores into weights and brings maximum, decay and sums up to date.
NK_INLINE void soften(int pairs, attention_tile *tile, int first_pair, int visible) {
    __m256 seen[HALVES] = {
        _mm256_castsi256_ps(nk_lanes_below(visible)),
        _mm256_castsi256_ps(nk_lanes_below(visible - NK_LANES)),
    };
    raise_maximum(pairs, tile, first_pair, seen);
    for (int i = first_pair; i < first_pair + pairs; i++) {
        __m256 weights[HALVES], maximum = _mm256_set1_ps(tile->maximum[i]);
        NK_UNROLL for (int half = 0; half < HALVES; half++) {
            float *slots = tile->weights[i] + half * NK_LANES;
            __m256 weight = nk_exp(_mm256_sub_ps(_mm256_loadu_ps(slots), maximum));
            weights[half] = _mm256_and_ps(weight, seen[half]);
            _mm256_storeu_ps(slots, weights[half]);
        }
        __m256 decay = _mm256_set1_ps(tile->decay[i]);
        __m256 decayed = _mm256_mul_ps(_mm256_loadu_ps(tile->sums[i]), decay);
        __m256 added = _mm256_add_ps(weights[0], weights[1]);
        _mm256_storeu_ps(tile->sums[i], _mm256_add_ps(decayed, added));
    }
}

// sums[pair][v] += weight * V for one of two neighbouring tokens; weights[pair * 16]. What there is
// less of, weights or vectors of V, stays in registers.
NK_INLINE void add_token(
    int pairs, int vectors, nk_kv_type type, const unsigned char *source, ptrdiff_t row,
    bool second, const float *weights, __m256 (*sums)[MAX_VECTORS]) {
    __m256 kept[MAX_PAIRS];
    if (pairs < vectors) {
        NK_UNROLL for (int i = 0; i < pairs; i++) {
            kept[i] = _mm256_broadcast_ss(weights + i * NK_KV_BLOCK);
        }
        NK_UNROLL for (int v = 0; v < vectors; v++) {
            __m256 value = load_neighbour(type, source + v * 32, row, second);
            NK_UNROLL for (int i = 0; i < pairs; i++) {
                sums[i][v] = _mm256_fmadd_ps(value, kept[i], sums[i][v]);
            }
        }
    } else {
        NK_UNROLL for (int v = 0; v < vectors; v++) {
            kept[v] = load_neighbour(type, source + v * 32, row, second);
        }
        NK_UNROLL for (int i = 0; i < pairs; i++) {
            __m256 weight = _mm256_broadcast_ss(weights + i * NK_KV_BLOCK);
            NK_UNROLL for (int v = 0; v < vectors; v++) {
                sums[i][v] = _mm256_fmadd_ps(kept[v], weight, sums[i][v]);
            }
        }
    }
}

// values[i][column...] = values * decay + sum over visible tokens of weight * V, tokens ascending,
// for `vectors` x 8 columns.
NK_INLINE void add_values(
    int pairs, int vectors, nk_kv_type type, attention_tile *tile, int first_pair,
    key_block block, int column) {
    __m256 sums[MAX_PAIRS][MAX_VECTORS];
    NK_UNROLL for (int i = 0; i < pairs; i++) {
        __m256 decay = _mm256_set1_ps(tile->decay[first_pair + i]);
        NK_UNROLL for (int v = 0; v < vectors; v++) {
            const float *values = &tile->values[first_pair + i][column + v * NK_LANES];
            sums[i][v] = _mm256_mul_ps(_mm256_loadu_ps(values), decay);
        }
    }
    ptrdiff_t row = block.head_dim * element_bytes(type);
    const unsigned char *source = block.start + NK_KV_BLOCK * row + (ptrdiff_t)column * 4;
    const float *weights = tile->weights[first_pair];
    for (int t = 0; t < block.visible; t += 2, source += 2 * row) {
        NK_UNROLL for (int v = 0; v < vectors; v += 2) {
            prefetch_pair(type, source + v * 32, row, block.ahead);
        }
        add_token(pairs, vectors, type, source, row, false, weights + t, sums);
        // A slot out of sight may hold NaN, which a weight of zero would not silence.
        if (t + 1 == block.visible) break;
        add_token(pairs, vectors, type, nk_load_again(source), row, true, weights + t + 1, sums);
    }
    NK_UNROLL for (int i = 0; i < pairs; i++) {
        NK_UNROLL for (int v = 0; v < vectors; v++) {
            _mm256_storeu_ps(&tile->values[first_pair + i][column + v * NK_LANES], sums[i][v]);
        }
    }
}

NK_INLINE void attend_pairs(
    int pairs, nk_kv_type type, attention_tile *tile, int first_pair, key_block block) {
    int scored = pairs <= MAX_SCORED ? pairs : (pairs + 1) / 2;
    score(scored, type, tile, first_pair, block);
    if (scored < pairs) score(pairs - scored, type, tile, first_pair + scored, block);
    soften(pairs, tile, first_pair, block.visible);
    int column = 0, vectors = pairs < MAX_VECTORS ? MAX_VECTORS : 2;
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
        default: attend_pairs(6, type, tile, first_pair, block); break;
    }
}

NK_AVX2 static void attend_block(
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

NK_AVX2 static void begin_tile(
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

NK_AVX2 static void finish_tile(
    const attention_tile *tile, nk_attention_piece piece, tile_bounds bounds) {
    for (int pair = 0; pair < tile->pairs; pair++) {
        ptrdiff_t row = bounds.first_row + pair / bounds.heads;
        ptrdiff_t head = bounds.first_head + pair % bounds.heads;
        float *out = piece.out + row * piece.out_stride + head * piece.head_dim;
        __m256 sum = _mm256_set1_ps(nk_sum_lanes(_mm256_loadu_ps(tile->sums[pair])));
        for (int d = 0; d < piece.head_dim; d += NK_LANES) {
            __m256 values = _mm256_loadu_ps(tile->values[pair] + d);
            _mm256_storeu_ps(out + d, _mm256_div_ps(values, sum));
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

NK_AVX2 static void attend_tile(
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

NK_AVX2 void nk_avx2_attention(nk_attention_piece piece, nk_kv_layer cache) {
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
