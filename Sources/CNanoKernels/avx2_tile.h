// What the AVX2 matrix products share. A chunk of a panel's inputs stays in the first cache while
// the tiles of up to 96 rows pass over it and add to sums in memory; meanwhile they ask for the
// chunk that follows. Every row runs the same chain of operations whatever the height of its tile,
// so its bits do not depend on its neighbours.
#pragma once

#include "avx2.h"

// A tile is a function of its own, lest what surrounds it takes registers from it.
#define NK_TILE static __attribute__((noinline)) NK_AVX2

enum {
    VECTORS = NK_PANEL / NK_LANES,
    BLOCK_ROWS = 96,
    CHUNK = 256,  // inputs
    // Tiles this flat wait for memory: their weights are asked for closer to their use.
    FLAT_ROWS = 2,
    FLAT_PREFETCH_BYTES = 2048,
};

// Height of the next tile: as few tiles as possible, of nearly the same height.
static inline int tile_height(int rows_left, int most) {
    return nk_ceil_div(rows_left, nk_ceil_div(rows_left, most));
}

// What a tile asks for while it passes over a chunk: its share of the chunk that follows. Asking
// for what lies past the end of the matrix does no harm.
typedef struct {
    const char *next;
    int step;  // bytes, for each 128 bytes of the panel that one of two passes goes by
} weights_ahead;

// `rows` of the `block_rows` that pass over a chunk, from `row` on. `next` is the chunk that
// follows, of `bytes`.
static inline weights_ahead share_ahead(
    const void *next, ptrdiff_t bytes, int row, int rows, int block_rows) {
    return (weights_ahead){
        .next = (const char *)next + bytes * row / block_rows,
        .step = nk_ceil_div(64 * rows, block_rows),
    };
}

NK_INLINE void prefetch_weights(int rows, const void *weights, weights_ahead *ahead) {
    if (rows <= FLAT_ROWS) {
        _mm_prefetch((const char *)weights + FLAT_PREFETCH_BYTES, _MM_HINT_T0);
        _mm_prefetch((const char *)weights + FLAT_PREFETCH_BYTES + 64, _MM_HINT_T0);
    } else {
        _mm_prefetch(ahead->next, _MM_HINT_T1);
        ahead->next += ahead->step;
    }
}

NK_INLINE void add_bias(int rows, float (*sums)[NK_PANEL], const float *bias) {
    for (int i = 0; i < rows; i++) {
        for (int j = 0; j < NK_PANEL; j += NK_LANES) {
            __m256 value = _mm256_add_ps(_mm256_load_ps(sums[i] + j), _mm256_loadu_ps(bias + j));
            _mm256_store_ps(sums[i] + j, value);
        }
    }
}

// silu(gate) * up for the 16 outputs that a panel's row makes.
NK_INLINE void store_gated(const float *row, float *out) {
    for (int j = 0; j < NK_PANEL / 2; j += NK_LANES) {
        __m256 gate = _mm256_load_ps(row + j), up = _mm256_load_ps(row + NK_PANEL / 2 + j);
        __m256 decay = nk_exp(_mm256_xor_ps(gate, _mm256_set1_ps(-0.0f)));
        __m256 silu = _mm256_div_ps(gate, _mm256_add_ps(_mm256_set1_ps(1.0f), decay));
        _mm256_storeu_ps(out + j, _mm256_mul_ps(silu, up));
    }
}

// Writes the sums of a block of rows to the first rows of `output`.
NK_INLINE void store_rows(int rows, float (*sums)[NK_PANEL], int panel, nk_output output) {
    ptrdiff_t first = (ptrdiff_t)panel * NK_PANEL;
    if (output.bias) add_bias(rows, sums, output.bias + first);
    for (int i = 0; i < rows; i++) {
        float *out = output.out + i * output.stride;
        if (output.epilogue == NK_SILU_MULTIPLY) {
            store_gated(sums[i], out + first / 2);
            continue;
        }
        for (int j = 0; j < NK_PANEL; j += NK_LANES) {
            float *target = out + first + j;
            __m256 value = _mm256_load_ps(sums[i] + j);
            if (output.epilogue == NK_ADD) value = _mm256_add_ps(_mm256_loadu_ps(target), value);
            _mm256_storeu_ps(target, value);
        }
    }
}
