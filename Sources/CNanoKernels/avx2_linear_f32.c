// Matrix products of f32: register tiles of up to 3 rows by a panel of 32 outputs.
//
// Of the shapes that fit 16 registers this one takes the fewest instructions for a multiplication.
// They are what is short where another thread of the same core has every other slot of its front
// end, as on most rented virtual CPUs.
#include "nano_kernels.h"

#if defined(__x86_64__)

#include "ahead.h"
#include "avx2_tile.h"

enum {
    // 3 rows x 4 vectors of sums, 3 values of x and a vector of weights take all 16 registers.
    MAX_ROWS = 3,
    F32_CHUNK = 96,  // inputs: 12 KiB of weights
    STEP = 4,  // inputs written out in the inner loop
    // With so few tiles the first one waits for memory: it asks for weights close to their use.
    FLAT_TILES = 3,
    LINE = 64,
};

// What the tiles of a block ask for: an equal share each of the chunk that follows. Asking for what
// lies past the end of the matrix does no harm.
typedef struct {
    const char *next;
    int lines;  // for each tile; 0: there are too few tiles
} lines_ahead;

static lines_ahead share_lines(const float *next, int tiles) {
    enum { CHUNK_LINES = F32_CHUNK * NK_PANEL * sizeof(float) / LINE };
    int lines = tiles <= FLAT_TILES ? 0 : nk_ceil_div(CHUNK_LINES, tiles);
    return (lines_ahead){.next = (const char *)next, .lines = lines};
}

NK_INLINE void ask_share(lines_ahead *ahead) {
    for (int i = 0; i < ahead->lines; i++, ahead->next += LINE) {
        _mm_prefetch(ahead->next, _MM_HINT_T1);
    }
}

// Inputs of some rows and the weights of one panel that they meet.
typedef struct {
    const float *x;
    ptrdiff_t x_stride;
    const float *weights;  // (count, 32)
    int count;
    bool asks_close;
} f32_chunk;

// The weights that a step passes by, some steps on.
NK_INLINE void ask_close(const float *w) {
    NK_UNROLL for (int i = 0; i < STEP * NK_PANEL * (int)sizeof *w; i += LINE) {
        _mm_prefetch((const char *)w + FLAT_PREFETCH_BYTES + i, _MM_HINT_T0);
    }
}

// tile[row] += input k of each row times the weights that lie `ahead` rows of the panel behind `*w`.
NK_INLINE void add_input(
    int rows, const float *const *x, int k, const float **w, int ahead, __m256 (*tile)[VECTORS]) {
    __m256 value[MAX_ROWS];
    NK_UNROLL for (int i = 0; i < rows; i++) value[i] = _mm256_broadcast_ss(x[i] + k);
    NK_UNROLL for (int v = 0; v < VECTORS; v++) {
        __m256 weights = _mm256_loadu_ps(*w + ahead * NK_PANEL + v * NK_LANES);
        NK_UNROLL for (int i = 0; i < rows; i++) {
            tile[i][v] = _mm256_fmadd_ps(value[i], weights, tile[i][v]);
        }
        *w = nk_after(tile[rows - 1][v], *w);
    }
}

// sums[row] += x[row] * weights
NK_INLINE void f32_tile_of(
    int rows, bool asks_close, const f32_chunk *chunk, float (*sums)[NK_PANEL]) {
    const float *x[MAX_ROWS], *w = chunk->weights;
    __m256 tile[MAX_ROWS][VECTORS];
    NK_UNROLL for (int i = 0; i < rows; i++) {
        x[i] = chunk->x + i * chunk->x_stride;
        NK_UNROLL for (int v = 0; v < VECTORS; v++) {
            tile[i][v] = _mm256_load_ps(sums[i] + v * NK_LANES);
        }
    }
    int k = 0;
    for (; k + STEP <= chunk->count; k += STEP, w += STEP * NK_PANEL) {
        if (asks_close) ask_close(w);
        NK_UNROLL for (int s = 0; s < STEP; s++) add_input(rows, x, k + s, &w, s, tile);
    }
    for (; k < chunk->count; k++, w += NK_PANEL) add_input(rows, x, k, &w, 0, tile);
    NK_UNROLL for (int i = 0; i < rows; i++) {
        NK_UNROLL for (int v = 0; v < VECTORS; v++) {
            _mm256_store_ps(sums[i] + v * NK_LANES, tile[i][v]);
        }
    }
}

NK_TILE void f32_tile(int rows, const f32_chunk *chunk, float (*sums)[NK_PANEL]) {
    if (chunk->asks_close) {
        switch (rows) {
            case 1: f32_tile_of(1, true, chunk, sums); return;
            case 2: f32_tile_of(2, true, chunk, sums); return;
            default: f32_tile_of(3, true, chunk, sums); return;
        }
    }
    switch (rows) {
        case 1: f32_tile_of(1, false, chunk, sums); break;
        case 2: f32_tile_of(2, false, chunk, sums); break;
        default: f32_tile_of(3, false, chunk, sums); break;
    }
}

NK_AVX2 static void block_f32(
    int rows, const float *x, ptrdiff_t x_stride, const float *weights, int inputs,
    float (*sums)[NK_PANEL], nk_ahead *beside) {
    int tiles = nk_ceil_div(rows, MAX_ROWS);
    for (int k = 0; k < inputs; k += F32_CHUNK, weights += F32_CHUNK * NK_PANEL) {
        f32_chunk chunk = {
            .x_stride = x_stride, .weights = weights, .count = nk_smaller(F32_CHUNK, inputs - k)};
        lines_ahead ahead = share_lines(weights + chunk.count * NK_PANEL, tiles);
        for (int row = 0, height; row < rows; row += height) {
            height = tile_height(rows - row, MAX_ROWS);
            chunk.x = x + row * x_stride + k;
            chunk.asks_close = row == 0 && ahead.lines == 0;
            ask_share(&ahead);
            f32_tile(height, &chunk, sums + row);
            nk_ask(beside, height, chunk.count);
        }
    }
}

NK_AVX2 void nk_avx2_linear_f32(
    const float *x, ptrdiff_t x_stride, int rows, nk_matrix_f32 matrix, int first_panel,
    int panel_count, nk_output output) {
    _Alignas(32) float sums[BLOCK_ROWS][NK_PANEL];
    for (int panel = first_panel; panel < first_panel + panel_count; panel++) {
        const float *weights = matrix.panels + (ptrdiff_t)panel * matrix.inputs * NK_PANEL;
        nk_output block_output = output;
        for (int row = 0; row < rows; row += BLOCK_ROWS) {
            int height = nk_smaller(BLOCK_ROWS, rows - row);
            memset(sums, 0, sizeof *sums * (size_t)height);
            block_f32(
                height, x + row * x_stride, x_stride, weights, matrix.inputs, sums, output.ahead);
            block_output.out = output.out + row * output.stride;
            store_rows(height, sums, panel, block_output);
        }
    }
}

#endif
