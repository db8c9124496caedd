// Matrix products of bf16: register tiles of up to 6 rows by half a panel of 16 outputs.
#include "nano_kernels.h"

#if defined(__x86_64__)

#include "ahead.h"
#include "avx2_tile.h"

// 6 rows x 2 vectors of sums, 2 of weights and one of x take 15 of 16 registers. Flat tiles take
// the whole panel.
enum { MAX_ROWS = 6 };

NK_INLINE int tile_vectors(int rows) { return rows <= FLAT_ROWS ? VECTORS : VECTORS / 2; }

NK_INLINE void load_sums(
    int rows, int vectors, float (*sums)[NK_PANEL], int part, __m256 (*tile)[VECTORS]) {
    NK_UNROLL for (int i = 0; i < rows; i++) {
        NK_UNROLL for (int v = 0; v < vectors; v++) {
            tile[i][v] = _mm256_load_ps(sums[i] + part + v * NK_LANES);
        }
    }
}

NK_INLINE void store_sums(
    int rows, int vectors, __m256 (*tile)[VECTORS], int part, float (*sums)[NK_PANEL]) {
    NK_UNROLL for (int i = 0; i < rows; i++) {
        NK_UNROLL for (int v = 0; v < vectors; v++) {
            _mm256_store_ps(sums[i] + part + v * NK_LANES, tile[i][v]);
        }
    }
}

typedef struct {
    const nk_bf16 *x;
    ptrdiff_t x_stride;
    const nk_bf16 *weights;
    int count;  // even
    weights_ahead ahead;
} chunk_bf16;

NK_INLINE void widen_bf16(int rows, chunk_bf16 chunk, float (*values)[CHUNK]) {
    for (int i = 0; i < rows; i++) {
        const nk_bf16 *x = chunk.x + i * chunk.x_stride;
        int k = 0;
        for (; k + NK_LANES <= chunk.count; k += NK_LANES) {
            __m128i eight = _mm_loadu_si128((const __m128i *)(const void *)(x + k));
            __m256i bits = _mm256_slli_epi32(_mm256_cvtepu16_epi32(eight), 16);
            _mm256_store_ps(values[i] + k, _mm256_castsi256_ps(bits));
        }
        for (; k < chunk.count; k++) values[i][k] = nk_f32_from_bf16(x[k]);
    }
}

// The first or the second inputs of eight outputs' pairs.
NK_INLINE __m256 load_bf16(const nk_bf16 *w, bool second) {
    __m256i pairs = _mm256_loadu_si256((const __m256i *)(const void *)w);
    __m256i upper = _mm256_set1_epi32((int)0xffff0000);
    return _mm256_castsi256_ps(
        second ? _mm256_and_si256(pairs, upper) : _mm256_slli_epi32(pairs, 16));
}

// tile[row] += x[row][k] * w for one input of a pair.
NK_INLINE void add_input_bf16(
    int rows, float (*x)[CHUNK], int k, const nk_bf16 *w, bool second, __m256 (*tile)[VECTORS]) {
    int vectors = tile_vectors(rows);
    __m256 weights[VECTORS];
    NK_UNROLL for (int v = 0; v < vectors; v++) {
        weights[v] = load_bf16(w + 2 * v * NK_LANES, second);
    }
    NK_UNROLL for (int i = 0; i < rows; i++) {
        __m256 value = _mm256_broadcast_ss(x[i] + k);
        NK_UNROLL for (int v = 0; v < vectors; v++) {
            tile[i][v] = _mm256_fmadd_ps(value, weights[v], tile[i][v]);
        }
    }
}

// sums[row] += x[row] * weights
NK_INLINE void tile_bf16(int rows, chunk_bf16 chunk, float (*sums)[NK_PANEL]) {
    int vectors = tile_vectors(rows);
    _Alignas(32) float x[MAX_ROWS][CHUNK];
    widen_bf16(rows, chunk, x);
    for (int part = 0; part < NK_PANEL; part += vectors * NK_LANES) {
        const nk_bf16 *w = chunk.weights + 2 * part;
        __m256 tile[MAX_ROWS][VECTORS];
        load_sums(rows, vectors, sums, part, tile);
        for (int k = 0; k < chunk.count; k += 2, w += 2 * NK_PANEL) {
            prefetch_weights(rows, w, &chunk.ahead);
            add_input_bf16(rows, x, k, w, false, tile);
            add_input_bf16(rows, x, k + 1, nk_load_again(w), true, tile);
        }
        store_sums(rows, vectors, tile, part, sums);
    }
}

NK_TILE void any_tile_bf16(int rows, chunk_bf16 chunk, float (*sums)[NK_PANEL]) {
    switch (rows) {
        case 1: tile_bf16(1, chunk, sums); break;
        case 2: tile_bf16(2, chunk, sums); break;
        case 3: tile_bf16(3, chunk, sums); break;
        case 4: tile_bf16(4, chunk, sums); break;
        case 5: tile_bf16(5, chunk, sums); break;
        default: tile_bf16(6, chunk, sums); break;
    }
}

NK_AVX2 static void block_bf16(
    int rows, const nk_bf16 *x, ptrdiff_t x_stride, const nk_bf16 *weights, int inputs,
    float (*sums)[NK_PANEL], nk_ahead *beside) {
    for (int k = 0; k < inputs; k += CHUNK, weights += CHUNK * NK_PANEL) {
        chunk_bf16 chunk = {
            .x_stride = x_stride, .weights = weights, .count = nk_smaller(CHUNK, inputs - k)};
        const nk_bf16 *next = weights + chunk.count * NK_PANEL;
        for (int row = 0, height; row < rows; row += height) {
            height = tile_height(rows - row, MAX_ROWS);
            chunk.x = x + row * x_stride + k;
            chunk.ahead = share_ahead(next, CHUNK * NK_PANEL * 2, row, height, rows);
            any_tile_bf16(height, chunk, sums + row);
            nk_ask(beside, height, chunk.count);
        }
    }
}

NK_AVX2 void nk_avx2_linear_bf16(
    const nk_bf16 *x, ptrdiff_t x_stride, int rows, nk_matrix_bf16 matrix, int first_panel,
    int panel_count, nk_output output) {
    _Alignas(32) float sums[BLOCK_ROWS][NK_PANEL];
    int inputs = nk_round_up(matrix.inputs, 2);
    for (int panel = first_panel; panel < first_panel + panel_count; panel++) {
        const nk_bf16 *weights = matrix.panels + (ptrdiff_t)panel * inputs * NK_PANEL;
        nk_output block_output = output;
        for (int row = 0; row < rows; row += BLOCK_ROWS) {
            int height = nk_smaller(BLOCK_ROWS, rows - row);
            memset(sums, 0, sizeof *sums * (size_t)height);
            block_bf16(height, x + row * x_stride, x_stride, weights, inputs, sums, output.ahead);
            block_output.out = output.out + row * output.stride;
            store_rows(height, sums, panel, block_output);
        }
    }
}

#endif
