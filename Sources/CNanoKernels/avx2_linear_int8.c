// Matrix products of int8: register tiles of up to 4 rows by half a panel of 16 outputs.
#include "nano_kernels.h"

#if defined(__x86_64__)

#include "ahead.h"
#include "avx2_tile.h"

// 4 rows x 2 vectors of dot products; four vectors of weights, x and a product need the rest.
enum { MAX_ROWS = 4 };

// A row's values as 16-bit pairs, a word for each four inputs: (x0, x2) and (x1, x3). They meet
// weights whose even and odd bytes are taken apart the same way, so that the pair products of
// vpmaddwd are exact and add up to one 32-bit sum an output.
typedef struct {
    int32_t even[MAX_ROWS][CHUNK / 4];
    int32_t odd[MAX_ROWS][CHUNK / 4];
} paired_rows;

// Some inputs of one group, at most a chunk, and the weights of one panel that they meet.
typedef struct {
    nk_rows_int8 rows;
    const uint8_t *weights;
    const float *scales;  // of the group's weights
    int group;
    int32_t origin;  // that its dot products count from
    int first;  // input
    int count;
    bool begins, ends;  // the group
    weights_ahead ahead;
} chunk_int8;

// Sums of a block of rows. The dot products hold between the chunks of a group.
typedef struct {
    _Alignas(32) float sums[BLOCK_ROWS][NK_PANEL];
    _Alignas(32) int32_t dots[BLOCK_ROWS][NK_PANEL];
} block_sums;

NK_INLINE __m256i load_words(const void *source) {
    return _mm256_loadu_si256((const __m256i *)source);
}

NK_INLINE void store_words(void *target, __m256i words) {
    _mm256_storeu_si256((__m256i *)target, words);
}

NK_INLINE __m256i even_bytes(__m256i x) { return _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8); }

NK_INLINE __m256i odd_bytes(__m256i x) { return _mm256_srai_epi16(x, 8); }

NK_INLINE void pair_rows(int rows, const chunk_int8 *chunk, paired_rows *pairs) {
    for (int i = 0; i < rows; i++) {
        const int8_t *x = chunk->rows.values + i * chunk->rows.stride + chunk->first;
        int k = 0;
        for (; k + 32 <= chunk->count; k += 32) {
            __m256i bytes = load_words(x + k);
            store_words(&pairs->even[i][k / 4], even_bytes(bytes));
            store_words(&pairs->odd[i][k / 4], odd_bytes(bytes));
        }
        for (; k < chunk->count; k += 4) {
            int32_t four;
            memcpy(&four, x + k, sizeof four);
            __m256i bytes = _mm256_set1_epi32(four);
            pairs->even[i][k / 4] = _mm256_cvtsi256_si32(even_bytes(bytes));
            pairs->odd[i][k / 4] = _mm256_cvtsi256_si32(odd_bytes(bytes));
        }
    }
}

// What the dot product of a chunk's group starts from.
NK_INLINE __m256i correction(const chunk_int8 *chunk, int row) {
    int32_t start = chunk->rows.starts[row * chunk->rows.group_stride + chunk->group];
    return _mm256_set1_epi32(start - chunk->origin);
}

// dots[row] += x[row] * weights for half a panel.
NK_INLINE void add_products(
    int rows, const paired_rows *x, int count, const uint8_t *w, weights_ahead *ahead,
    __m256i (*dots)[2]) {
    const __m256i low_bytes = _mm256_set1_epi16(0xff);
    for (int k = 0; k < count / 4; k++, w += 4 * NK_PANEL) {
        __m256i w0 = load_words(w), w1 = load_words(w + 4 * NK_LANES);
        __m256i even0 = _mm256_and_si256(w0, low_bytes), odd0 = _mm256_srli_epi16(w0, 8);
        __m256i even1 = _mm256_and_si256(w1, low_bytes), odd1 = _mm256_srli_epi16(w1, 8);
        prefetch_weights(rows, w, ahead);
        NK_UNROLL for (int i = 0; i < rows; i++) {
            __m256i even = _mm256_set1_epi32(x->even[i][k]);
            __m256i odd = _mm256_set1_epi32(x->odd[i][k]);
            dots[i][0] = _mm256_add_epi32(dots[i][0], _mm256_madd_epi16(even, even0));
            dots[i][0] = _mm256_add_epi32(dots[i][0], _mm256_madd_epi16(odd, odd0));
            dots[i][1] = _mm256_add_epi32(dots[i][1], _mm256_madd_epi16(even, even1));
            dots[i][1] = _mm256_add_epi32(dots[i][1], _mm256_madd_epi16(odd, odd1));
        }
    }
}

// sums[row] = sums[row] * factor + (dot product of the group) * weight scale for half a panel.
NK_INLINE void finish_group(
    int rows, const chunk_int8 *chunk, int part, __m256i (*dots)[2], float (*sums)[NK_PANEL]) {
    NK_UNROLL for (int v = 0; v < 2; v++) {
        __m256 scale = _mm256_loadu_ps(chunk->scales + part + v * NK_LANES);
        NK_UNROLL for (int i = 0; i < rows; i++) {
            float *sum = sums[i] + part + v * NK_LANES;
            const nk_rows_int8 *x = &chunk->rows;
            __m256 before = _mm256_load_ps(sum);
            if (chunk->group % x->scale_groups == 0) {
                const float *factor =
                    x->factors + i * x->factor_stride + chunk->group / x->scale_groups;
                before = _mm256_mul_ps(before, _mm256_set1_ps(*factor));
            }
            __m256 dot = _mm256_cvtepi32_ps(dots[i][v]);
            _mm256_store_ps(sum, _mm256_fmadd_ps(dot, scale, before));
        }
    }
}

NK_INLINE void tile_int8(int rows, chunk_int8 chunk, int row, block_sums *block) {
    paired_rows pairs;
    pair_rows(rows, &chunk, &pairs);
    for (int part = 0; part < NK_PANEL; part += 2 * NK_LANES) {
        __m256i dots[MAX_ROWS][2];
        NK_UNROLL for (int i = 0; i < rows; i++) {
            int32_t *saved = block->dots[row + i] + part;
            dots[i][0] = dots[i][1] = correction(&chunk, i);
            if (!chunk.begins) dots[i][0] = load_words(saved);
            if (!chunk.begins) dots[i][1] = load_words(saved + NK_LANES);
        }
        add_products(
            rows, &pairs, chunk.count, chunk.weights + 4 * part, &chunk.ahead, dots);
        if (chunk.ends) {
            finish_group(rows, &chunk, part, dots, block->sums + row);
        } else {
            NK_UNROLL for (int i = 0; i < rows; i++) {
                store_words(block->dots[row + i] + part, dots[i][0]);
                store_words(block->dots[row + i] + part + NK_LANES, dots[i][1]);
            }
        }
    }
}

NK_AVX2 static void any_tile_int8(int rows, chunk_int8 chunk, int row, block_sums *block) {
    switch (rows) {
        case 1: tile_int8(1, chunk, row, block); break;
        case 2: tile_int8(2, chunk, row, block); break;
        case 3: tile_int8(3, chunk, row, block); break;
        default: tile_int8(4, chunk, row, block); break;
    }
}

// The rows of `x` from `row` on.
static nk_rows_int8 rows_from(nk_rows_int8 x, ptrdiff_t row) {
    x.values += row * x.stride;
    x.factors += row * x.factor_stride;
    x.starts += row * x.group_stride;
    return x;
}

NK_AVX2 static void block_int8(
    int rows, nk_rows_int8 x, const nk_matrix_int8 *matrix, const uint8_t *weights,
    const float *scales, block_sums *block, nk_ahead *ahead) {
    int inputs = nk_round_up(matrix->inputs, 4), size = matrix->group_size;
    for (int k = 0, end; k < inputs; k = end) {
        int group = k / size, group_end = nk_smaller((group + 1) * size, inputs);
        end = nk_smaller(k + CHUNK, group_end);
        chunk_int8 chunk = {
            .weights = weights + (ptrdiff_t)k * NK_PANEL,
            .scales = scales + (ptrdiff_t)group * NK_PANEL,
            .group = group,
            .origin = nk_dot_origin(size),
            .first = k,
            .count = end - k,
            .begins = k == group * size,
            .ends = end == group_end,
        };
        ptrdiff_t bytes = (ptrdiff_t)chunk.count * NK_PANEL;
        for (int row = 0, height; row < rows; row += height) {
            height = tile_height(rows - row, MAX_ROWS);
            chunk.rows = rows_from(x, row);
            chunk.ahead = share_ahead(chunk.weights + bytes, bytes, row, height, rows);
            any_tile_int8(height, chunk, row, block);
            nk_ask(ahead, height, chunk.count);
        }
    }
}

// sums[row] *= the scale that they are in units of.
NK_AVX2 static void multiply_by_last(
    int rows, nk_rows_int8 x, int groups, float (*sums)[NK_PANEL]) {
    int last = nk_ceil_div(groups, x.scale_groups);
    for (int row = 0; row < rows; row++) {
        __m256 factor = _mm256_set1_ps(x.factors[row * x.factor_stride + last]);
        for (int j = 0; j < NK_PANEL; j += NK_LANES) {
            float *sum = sums[row] + j;
            _mm256_store_ps(sum, _mm256_mul_ps(_mm256_load_ps(sum), factor));
        }
    }
}

NK_AVX2 void nk_avx2_linear_int8(
    nk_rows_int8 x, int rows, nk_matrix_int8 matrix, int first_panel, int panel_count,
    nk_output output) {
    block_sums block;
    int inputs = nk_round_up(matrix.inputs, 4);
    int groups = nk_ceil_div(matrix.inputs, matrix.group_size);
    for (int panel = first_panel; panel < first_panel + panel_count; panel++) {
        const uint8_t *weights = matrix.panels + (ptrdiff_t)panel * inputs * NK_PANEL;
        const float *scales = matrix.scales + (ptrdiff_t)panel * groups * NK_PANEL;
        nk_output block_output = output;
        for (int row = 0; row < rows; row += BLOCK_ROWS) {
            int height = nk_smaller(BLOCK_ROWS, rows - row);
            memset(block.sums, 0, sizeof *block.sums * (size_t)height);
            block_int8(
                height, rows_from(x, row), &matrix, weights, scales, &block, output.ahead);
            block_output.out = output.out + row * output.stride;
            multiply_by_last(height, rows_from(x, row), groups, block.sums);
            store_rows(height, block.sums, panel, block_output);
        }
    }
}

#endif
