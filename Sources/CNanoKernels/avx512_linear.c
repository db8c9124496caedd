// Matrix products: register tiles of up to 12 (int8: 6) rows by one panel of 32 outputs. A panel of
// weights stays in the cache while the rows pass over it. Every row of a tile runs the same chain
// of operations whatever the height of the tile, so its bits do not depend on its neighbours.
#include "nano_kernels.h"

#if defined(__x86_64__)

#include "avx512.h"

enum {
    MAX_ROWS = 12,
    // int8 keeps integer and float accumulators: 6 rows x 2 vectors x 2, of 32 registers.
    MAX_INT8_ROWS = 6,
    // A tile this flat waits for memory; the panels of a matrix lie end to end, so the weights can
    // be asked for ahead, across panels. Prefetching past the end of the matrix does no harm.
    FLAT_ROWS = 3,
    PREFETCH_BYTES = 2048,
};

// Height of the next tile: as few tiles as possible, of nearly the same height.
static int tile_height(int rows_left, int most) {
    return nk_ceil_div(rows_left, nk_ceil_div(rows_left, most));
}

NK_INLINE void prefetch_weights(int rows, const void *weights) {
    if (rows > FLAT_ROWS) return;
    _mm_prefetch((const char *)weights + PREFETCH_BYTES, _MM_HINT_T0);
    _mm_prefetch((const char *)weights + PREFETCH_BYTES + 64, _MM_HINT_T0);
}

NK_INLINE int load_int(const void *source) {
    int value;
    memcpy(&value, source, sizeof value);
    return value;
}

// Writes a finished tile, (rows, 2 vectors), to the first rows of `output`.
NK_INLINE void store_tile(int rows, __m512 (*sums)[2], int panel, nk_output output) {
    ptrdiff_t column = (ptrdiff_t)panel * NK_PANEL;
    NK_UNROLL for (int half = 0; half < 2; half++, column += NK_LANES) {
        NK_UNROLL for (int i = 0; i < rows; i++) {
            float *out = output.out + i * output.stride + column;
            __m512 value = sums[i][half];
            if (output.bias) value = _mm512_add_ps(value, _mm512_loadu_ps(output.bias + column));
            if (output.epilogue == NK_ADD) value = _mm512_add_ps(_mm512_loadu_ps(out), value);
            _mm512_storeu_ps(out, value);
        }
    }
}

// --- f32

NK_INLINE void tile_f32(
    int rows, const float *x, ptrdiff_t x_stride, nk_matrix_f32 matrix, int panel,
    nk_output output) {
    const float *w = matrix.panels + (ptrdiff_t)panel * matrix.inputs * NK_PANEL;
    __m512 sums[MAX_ROWS][2];
    NK_UNROLL for (int i = 0; i < rows; i++) sums[i][0] = sums[i][1] = _mm512_setzero_ps();
    for (int k = 0; k < matrix.inputs; k++, w += NK_PANEL) {
        __m512 w0 = _mm512_loadu_ps(w), w1 = _mm512_loadu_ps(w + NK_LANES);
        prefetch_weights(rows, w);
        NK_UNROLL for (int i = 0; i < rows; i++) {
            __m512 value = _mm512_set1_ps(x[i * x_stride + k]);
            sums[i][0] = _mm512_fmadd_ps(value, w0, sums[i][0]);
            sums[i][1] = _mm512_fmadd_ps(value, w1, sums[i][1]);
        }
    }
    store_tile(rows, sums, panel, output);
}

NK_AVX512 static void any_tile_f32(
    int rows, const float *x, ptrdiff_t x_stride, nk_matrix_f32 matrix, int panel,
    nk_output output) {
    switch (rows) {
        case 1: tile_f32(1, x, x_stride, matrix, panel, output); break;
        case 2: tile_f32(2, x, x_stride, matrix, panel, output); break;
        case 3: tile_f32(3, x, x_stride, matrix, panel, output); break;
        case 4: tile_f32(4, x, x_stride, matrix, panel, output); break;
        case 5: tile_f32(5, x, x_stride, matrix, panel, output); break;
        case 6: tile_f32(6, x, x_stride, matrix, panel, output); break;
        case 7: tile_f32(7, x, x_stride, matrix, panel, output); break;
        case 8: tile_f32(8, x, x_stride, matrix, panel, output); break;
        case 9: tile_f32(9, x, x_stride, matrix, panel, output); break;
        case 10: tile_f32(10, x, x_stride, matrix, panel, output); break;
        case 11: tile_f32(11, x, x_stride, matrix, panel, output); break;
        default: tile_f32(12, x, x_stride, matrix, panel, output); break;
    }
}

NK_AVX512 void nk_avx512_linear_f32(
    const float *x, ptrdiff_t x_stride, int rows, nk_matrix_f32 matrix, int first_panel,
    int panel_count, nk_output output) {
    for (int panel = first_panel; panel < first_panel + panel_count; panel++) {
        nk_output tile_output = output;
        for (int row = 0, height; row < rows; row += height) {
            height = tile_height(rows - row, MAX_ROWS);
            tile_output.out = output.out + row * output.stride;
            any_tile_f32(height, x + row * x_stride, x_stride, matrix, panel, tile_output);
        }
    }
}

// --- bf16

NK_INLINE void tile_bf16(
    int rows, const nk_bf16 *x, ptrdiff_t x_stride, nk_matrix_bf16 matrix, int panel,
    nk_output output) {
    int inputs = nk_round_up(matrix.inputs, 2);
    const nk_bf16 *w = matrix.panels + (ptrdiff_t)panel * inputs * NK_PANEL;
    __m512 sums[MAX_ROWS][2];
    NK_UNROLL for (int i = 0; i < rows; i++) sums[i][0] = sums[i][1] = _mm512_setzero_ps();
    for (int k = 0; k < inputs; k += 2, w += 2 * NK_PANEL) {
        __m512bh w0 = (__m512bh)_mm512_loadu_si512(w);
        __m512bh w1 = (__m512bh)_mm512_loadu_si512(w + NK_PANEL);
        prefetch_weights(rows, w);
        NK_UNROLL for (int i = 0; i < rows; i++) {
            __m512bh pair = (__m512bh)_mm512_set1_epi32(load_int(x + i * x_stride + k));
            sums[i][0] = _mm512_dpbf16_ps(sums[i][0], pair, w0);
            sums[i][1] = _mm512_dpbf16_ps(sums[i][1], pair, w1);
        }
    }
    store_tile(rows, sums, panel, output);
}

NK_AVX512 static void any_tile_bf16(
    int rows, const nk_bf16 *x, ptrdiff_t x_stride, nk_matrix_bf16 matrix, int panel,
    nk_output output) {
    switch (rows) {
        case 1: tile_bf16(1, x, x_stride, matrix, panel, output); break;
        case 2: tile_bf16(2, x, x_stride, matrix, panel, output); break;
        case 3: tile_bf16(3, x, x_stride, matrix, panel, output); break;
        case 4: tile_bf16(4, x, x_stride, matrix, panel, output); break;
        case 5: tile_bf16(5, x, x_stride, matrix, panel, output); break;
        case 6: tile_bf16(6, x, x_stride, matrix, panel, output); break;
        case 7: tile_bf16(7, x, x_stride, matrix, panel, output); break;
        case 8: tile_bf16(8, x, x_stride, matrix, panel, output); break;
        case 9: tile_bf16(9, x, x_stride, matrix, panel, output); break;
        case 10: tile_bf16(10, x, x_stride, matrix, panel, output); break;
        case 11: tile_bf16(11, x, x_stride, matrix, panel, output); break;
        default: tile_bf16(12, x, x_stride, matrix, panel, output); break;
    }
}

NK_AVX512 void nk_avx512_linear_bf16(
    const nk_bf16 *x, ptrdiff_t x_stride, int rows, nk_matrix_bf16 matrix, int first_panel,
    int panel_count, nk_output output) {
    for (int panel = first_panel; panel < first_panel + panel_count; panel++) {
        nk_output tile_output = output;
        for (int row = 0, height; row < rows; row += height) {
            height = tile_height(rows - row, MAX_ROWS);
            tile_output.out = output.out + row * output.stride;
            any_tile_bf16(height, x + row * x_stride, x_stride, matrix, panel, tile_output);
        }
    }
}

// --- int8

NK_INLINE void tile_int8(
    int rows, nk_rows_int8 x, nk_matrix_int8 matrix, int panel, nk_output output) {
    int inputs = nk_round_up(matrix.inputs, 4);
    int groups = nk_ceil_div(matrix.inputs, matrix.group_size);
    const uint8_t *w = matrix.panels + (ptrdiff_t)panel * inputs * NK_PANEL;
    const float *scales = matrix.scales + (ptrdiff_t)panel * groups * NK_PANEL;
    __m512 sums[MAX_INT8_ROWS][2];
    NK_UNROLL for (int i = 0; i < rows; i++) sums[i][0] = sums[i][1] = _mm512_setzero_ps();
    for (int g = 0; g < groups; g++, scales += NK_PANEL) {
        __m512i dots[MAX_INT8_ROWS][2];
        NK_UNROLL for (int i = 0; i < rows; i++) {
            __m512i sum = _mm512_set1_epi32(x.sums[i * x.group_stride + g]);
            __m512i correction = _mm512_slli_epi32(sum, 7);  // 128 * sum
            dots[i][0] = dots[i][1] = _mm512_sub_epi32(_mm512_setzero_si512(), correction);
        }
        int end = nk_smaller((g + 1) * matrix.group_size, inputs);
        NK_UNROLL_TWICE for (int k = g * matrix.group_size; k < end; k += 4, w += 4 * NK_PANEL) {
            __m512i w0 = _mm512_loadu_si512(w), w1 = _mm512_loadu_si512(w + 2 * NK_PANEL);
            prefetch_weights(rows, w);
            NK_UNROLL for (int i = 0; i < rows; i++) {
                __m512i four = _mm512_set1_epi32(load_int(x.values + i * x.stride + k));
                dots[i][0] = _mm512_dpbusd_epi32(dots[i][0], w0, four);
                dots[i][1] = _mm512_dpbusd_epi32(dots[i][1], w1, four);
            }
        }
        NK_UNROLL for (int half = 0; half < 2; half++) {
            __m512 scale = _mm512_loadu_ps(scales + half * NK_LANES);
            NK_UNROLL for (int i = 0; i < rows; i++) {
                __m512 row_scale = _mm512_set1_ps(x.scales[i * x.group_stride + g]);
                __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(dots[i][half]), row_scale);
                sums[i][half] = _mm512_fmadd_ps(scaled, scale, sums[i][half]);
            }
        }
    }
    store_tile(rows, sums, panel, output);
}

NK_AVX512 static void any_tile_int8(
    int rows, nk_rows_int8 x, nk_matrix_int8 matrix, int panel, nk_output output) {
    switch (rows) {
        case 1: tile_int8(1, x, matrix, panel, output); break;
        case 2: tile_int8(2, x, matrix, panel, output); break;
        case 3: tile_int8(3, x, matrix, panel, output); break;
        case 4: tile_int8(4, x, matrix, panel, output); break;
        case 5: tile_int8(5, x, matrix, panel, output); break;
        default: tile_int8(6, x, matrix, panel, output); break;
    }
}

NK_AVX512 void nk_avx512_linear_int8(
    nk_rows_int8 x, int rows, nk_matrix_int8 matrix, int first_panel, int panel_count,
    nk_output output) {
    for (int panel = first_panel; panel < first_panel + panel_count; panel++) {
        nk_rows_int8 tile = x;
        nk_output tile_output = output;
        for (int row = 0, height; row < rows; row += height) {
            height = tile_height(rows - row, MAX_INT8_ROWS);
            tile.values = x.values + row * x.stride;
            tile.scales = x.scales + row * x.group_stride;
            tile.sums = x.sums + row * x.group_stride;
            tile_output.out = output.out + row * output.stride;
            any_tile_int8(height, tile, matrix, panel, tile_output);
        }
    }
}

#endif
