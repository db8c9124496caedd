// Matrix products: register tiles of up to 12 (int8: 8) rows by one panel of 32 outputs. A panel of
// weights stays in the cache while the rows pass over it, and meanwhile they ask for the next one.
// Every row of a tile runs the same chain of operations whatever the height of the tile, so its
// bits do not depend on its neighbours.
#include "nano_kernels.h"

#if defined(__x86_64__)

#include "ahead.h"
#include "avx512.h"

enum {
    MAX_ROWS = 12,
    // int8 keeps integer and float sums: 16 of the former hide the latency of a dot product, and few
    // of the latter find no register.
    MAX_INT8_ROWS = 8,
    LINE = 64,
    // The panels of a matrix lie end to end, and asking for what lies past the last one does no harm.
    // f32 and bf16: lines of a panel that pass between two requests for the next one; a flat tile,
    // which waits for memory, asks closer to the use instead.
    BURST_LINES = 32,
    FLAT_ROWS = 3,
    FLAT_PREFETCH_BYTES = 2048,
    // int8: every tile asks this far ahead in its panel, for the first-level cache, and for what
    // belongs to others after each so many inputs; requests far apart do not wait for each other.
    // Exactly a page ahead some CPUs take twice the time.
    INT8_PREFETCH_BYTES = 3584,
    INT8_STOP = 64,
    // Inputs of a panel that meet all rows before the next ones do, of int8 about so many, of f32 and
    // bf16 so many words, and rows whose sums wait meanwhile: their weights, their rows and what is
    // asked for share the second-level cache.
    BLOCK_INPUTS = 4096,
    BLOCK_WORDS = 1024,
    PARTIAL_ROWS = 192,
};

// Height of the next tile: as few tiles as possible, of nearly the same height.
static int tile_height(int rows_left, int most) {
    return nk_ceil_div(rows_left, nk_ceil_div(rows_left, most));
}

// A tile's share of the next block: `lines` of it for every BURST_LINES that go by.
typedef struct {
    const char *next;
    int lines;
} panel_ahead;

NK_INLINE void ask_ahead(int rows, panel_ahead *ahead) {
    if (rows <= FLAT_ROWS) return;
    for (int i = 0; i < ahead->lines; i++, ahead->next += LINE) {
        _mm_prefetch(ahead->next, _MM_HINT_T0);
    }
}

NK_INLINE void ask_close(int rows, const void *weights) {
    if (rows > FLAT_ROWS) return;
    _mm_prefetch((const char *)weights + FLAT_PREFETCH_BYTES, _MM_HINT_T0);
    _mm_prefetch((const char *)weights + FLAT_PREFETCH_BYTES + LINE, _MM_HINT_T0);
}

NK_INLINE int load_int(const void *source) {
    int value;
    memcpy(&value, source, sizeof value);
    return value;
}

// x[i] = x[i] / (1 + exp(-x[i])). An estimate of the reciprocal, made exact to the last bits by one of
// Newton's steps, takes a third of the time of a division. `rough`: within 7e-5.
NK_INLINE void silu(bool rough, int count, __m512 *x) {
    const __m512 one = _mm512_set1_ps(1.0f);
    __m512 sum[NK_EXP_MOST], estimate[NK_EXP_MOST];
    NK_UNROLL for (int i = 0; i < count; i++) {
        sum[i] = _mm512_xor_ps(x[i], _mm512_set1_ps(-0.0f));
    }
    nk_exp_of(rough, count, sum);
    NK_UNROLL for (int i = 0; i < count; i++) sum[i] = _mm512_add_ps(sum[i], one);
    NK_UNROLL for (int i = 0; i < count; i++) estimate[i] = _mm512_rcp14_ps(sum[i]);
    if (rough) {
        NK_UNROLL for (int i = 0; i < count; i++) x[i] = _mm512_mul_ps(x[i], estimate[i]);
        return;
    }
    NK_UNROLL for (int i = 0; i < count; i++) sum[i] = _mm512_fnmadd_ps(sum[i], estimate[i], one);
    NK_UNROLL for (int i = 0; i < count; i++) {
        x[i] = _mm512_mul_ps(x[i], _mm512_fmadd_ps(estimate[i], sum[i], estimate[i]));
    }
}

// Asks for the lines that a tile will write, or add to, from the first rows of `output` on: those of a
// long batch do not stay in the second-level cache from one layer to the next.
NK_INLINE void ask_output(int rows, int panel, nk_output output) {
    bool halved = output.epilogue == NK_SILU_MULTIPLY;
    float *out = output.out + (ptrdiff_t)panel * (halved ? NK_PANEL / 2 : NK_PANEL);
    NK_UNROLL for (int i = 0; i < rows; i++, out += output.stride) {
        __builtin_prefetch(out, 1);
        if (!halved) __builtin_prefetch(out + NK_LANES, 1);
    }
}

// Writes a finished tile, (rows, 2 vectors), to the first rows of `output`. `rough`: what is gated will
// be rounded to 8 bits.
NK_INLINE void store_tile(
    int rows, bool rough, __m512 (*sums)[2], int panel, nk_output output) {
    ptrdiff_t column = (ptrdiff_t)panel * NK_PANEL;
    if (output.bias) {
        __m512 low = _mm512_loadu_ps(output.bias + column);
        __m512 high = _mm512_loadu_ps(output.bias + column + NK_LANES);
        NK_UNROLL for (int i = 0; i < rows; i++) {
            sums[i][0] = _mm512_add_ps(sums[i][0], low);
            sums[i][1] = _mm512_add_ps(sums[i][1], high);
        }
    }
    if (output.epilogue == NK_SILU_MULTIPLY) {
        float *out = output.out + column / 2;
        NK_UNROLL for (int first = 0; first < rows; first += NK_EXP_MOST) {
            int count = nk_smaller(NK_EXP_MOST, rows - first);
            __m512 gates[NK_EXP_MOST];
            NK_UNROLL for (int i = 0; i < count; i++) gates[i] = sums[first + i][0];
            silu(rough, count, gates);
            NK_UNROLL for (int i = 0; i < count; i++, out += output.stride) {
                _mm512_storeu_ps(out, _mm512_mul_ps(gates[i], sums[first + i][1]));
            }
        }
        return;
    }
    float *out = output.out + column;
    NK_UNROLL for (int i = 0; i < rows; i++, out += output.stride) {
        if (output.epilogue == NK_ADD) {
            sums[i][0] = _mm512_add_ps(_mm512_loadu_ps(out), sums[i][0]);
            sums[i][1] = _mm512_add_ps(_mm512_loadu_ps(out + NK_LANES), sums[i][1]);
        }
        _mm512_storeu_ps(out, sums[i][0]);
        _mm512_storeu_ps(out + NK_LANES, sums[i][1]);
    }
}

// The tile of exactly `rows` rows, a constant within each case.
#define CASE(count, tile, ...) \
    case count: tile(count, __VA_ARGS__); break;
#define UP_TO_8(tile, ...)                                                                     \
    CASE(1, tile, __VA_ARGS__) CASE(2, tile, __VA_ARGS__) CASE(3, tile, __VA_ARGS__)           \
    CASE(4, tile, __VA_ARGS__) CASE(5, tile, __VA_ARGS__) CASE(6, tile, __VA_ARGS__)           \
    CASE(7, tile, __VA_ARGS__) CASE(8, tile, __VA_ARGS__)
#define UP_TO_12(tile, ...)                                                                    \
    UP_TO_8(tile, __VA_ARGS__) CASE(9, tile, __VA_ARGS__) CASE(10, tile, __VA_ARGS__)          \
    CASE(11, tile, __VA_ARGS__) CASE(12, tile, __VA_ARGS__)

// --- f32 and bf16: 4 bytes of inputs, one or two of them, go into each step of the inner loop.

typedef struct {
    const char *x;  // (rows, K) as 4-byte words
    ptrdiff_t stride;  // bytes
    const char *panels;
    int words;  // in a row
    bool is_bf16;
} float_product;

enum { BURST_WORDS = BURST_LINES / 2 };

NK_INLINE __m512 multiply_add(bool is_bf16, __m512 sum, __m512i word, __m512i weights) {
#if !defined(NK_WITHOUT_BF16)
    if (is_bf16) return nk_dot_bf16(sum, word, weights);
#endif
    return _mm512_fmadd_ps(_mm512_castsi512_ps(word), _mm512_castsi512_ps(weights), sum);
}

// sums += the products of the next `count` words of each row.
NK_INLINE void take_words(
    int rows, bool is_bf16, const char *x, ptrdiff_t stride, int count, const char *w,
    __m512 (*sums)[2]) {
    NK_NO_UNROLL for (int k = 0; k < count; k++, w += 2 * LINE) {
        __m512i low = _mm512_loadu_si512(w), high = _mm512_loadu_si512(w + LINE);
        ask_close(rows, w);
        NK_UNROLL for (int i = 0; i < rows; i++) {
            __m512i word = _mm512_set1_epi32(load_int(x + i * stride + 4 * k));
            sums[i][0] = multiply_add(is_bf16, sums[i][0], word, low);
            sums[i][1] = multiply_add(is_bf16, sums[i][1], word, high);
        }
    }
}

#if defined(NK_WITHOUT_BF16)
// The same of bf16, each word's two numbers one after the other. They become f32 first, those of a
// row at once: done step by step that would take half as long as the multiplications.
NK_INLINE void take_pairs(
    int rows, const char *x, ptrdiff_t stride, int count, const char *w, __m512 (*sums)[2]) {
    _Alignas(LINE) float numbers[2][MAX_ROWS][BURST_WORDS];
    NK_UNROLL for (int i = 0; i < rows; i++) {
        __m512i words = _mm512_maskz_loadu_epi32(nk_lanes_left(0, count), x + i * stride);
        _mm512_store_ps(numbers[0][i], nk_lower_bf16(words));
        _mm512_store_ps(numbers[1][i], nk_upper_bf16(words));
    }
    NK_NO_UNROLL for (int k = 0; k < count; k++, w += 2 * LINE) {
        __m512i low = _mm512_loadu_si512(w), high = _mm512_loadu_si512(w + LINE);
        ask_close(rows, w);
        NK_UNROLL for (int half = 0; half < 2; half++) {
            __m512 a = half ? nk_upper_bf16(low) : nk_lower_bf16(low);
            __m512 b = half ? nk_upper_bf16(high) : nk_lower_bf16(high);
            NK_UNROLL for (int i = 0; i < rows; i++) {
                __m512 number = _mm512_set1_ps(numbers[half][i][k]);
                sums[i][0] = _mm512_fmadd_ps(number, a, sums[i][0]);
                sums[i][1] = _mm512_fmadd_ps(number, b, sums[i][1]);
            }
        }
    }
}
#endif

// Words [first, end) of a panel's rows.
typedef struct {
    const float_product *product;
    int panel;
    int first, end;
} float_block;

NK_INLINE const char *block_weights(const float_block *block) {
    ptrdiff_t words = (ptrdiff_t)block->panel * block->product->words + block->first;
    return block->product->panels + words * 2 * LINE;
}

NK_INLINE void float_tile(
    int rows, bool is_bf16, const float_block *block, int row, float (*partial)[NK_PANEL],
    nk_output output, panel_ahead ahead) {
    const float_product *product = block->product;
    const char *w = block_weights(block);
    const char *x = product->x + row * product->stride;
    int words = block->end - block->first;
    output.out += row * output.stride;
    bool is_last = block->end == product->words;
    if (is_last) ask_output(rows, block->panel, output);
    __m512 sums[MAX_ROWS][2];
    NK_UNROLL for (int i = 0; i < rows; i++) {
        NK_UNROLL for (int half = 0; half < 2; half++) {
            sums[i][half] = block->first == 0 ? _mm512_setzero_ps()
                                              : _mm512_load_ps(partial[row + i] + half * NK_LANES);
        }
    }
    nk_share share = nk_begin_share(
        output.ahead, rows, words * (is_bf16 ? 2 : 1), nk_ceil_div(words, BURST_WORDS));
    for (int first = block->first; first < block->end; first += BURST_WORDS) {
        int count = nk_smaller(BURST_WORDS, block->end - first);
        const char *numbers = x + 4 * (ptrdiff_t)first;
        ask_ahead(rows, &ahead);
        nk_ask_share(output.ahead, &share);
#if defined(NK_WITHOUT_BF16)
        if (is_bf16) take_pairs(rows, numbers, product->stride, count, w, sums);
        if (!is_bf16)
#endif
            take_words(rows, is_bf16, numbers, product->stride, count, w, sums);
        w += BURST_LINES * LINE;
    }
    if (is_last) {
        store_tile(rows, false, sums, block->panel, output);
        return;
    }
    NK_UNROLL for (int i = 0; i < rows; i++) {
        _mm512_store_ps(partial[row + i], sums[i][0]);
        _mm512_store_ps(partial[row + i] + NK_LANES, sums[i][1]);
    }
}

NK_AVX512 static void f32_tile(
    int rows, const float_block *block, int row, float (*partial)[NK_PANEL], nk_output output,
    panel_ahead ahead) {
    switch (rows) { UP_TO_12(float_tile, false, block, row, partial, output, ahead) }
}

NK_AVX512 static void bf16_tile(
    int rows, const float_block *block, int row, float (*partial)[NK_PANEL], nk_output output,
    panel_ahead ahead) {
    switch (rows) { UP_TO_12(float_tile, true, block, row, partial, output, ahead) }
}

// All rows by one block of a panel. Blocks lie end to end, as panels do.
NK_AVX512 static void multiply_float_block(
    const float_block *block, int rows, float (*partial)[NK_PANEL], nk_output output) {
    int words = block->end - block->first;
    panel_ahead ahead = {
        .next = block_weights(block) + (ptrdiff_t)words * 2 * LINE,
        .lines = nk_ceil_div(BURST_LINES, nk_ceil_div(rows, MAX_ROWS)),
    };
    for (int row = 0, height; row < rows; row += height) {
        height = tile_height(rows - row, MAX_ROWS);
        if (block->product->is_bf16) {
            bf16_tile(height, block, row, partial, output, ahead);
        } else {
            f32_tile(height, block, row, partial, output, ahead);
        }
        ahead.next += nk_ceil_div(words, BURST_WORDS) * ahead.lines * LINE;
    }
}

NK_AVX512 static void multiply_floats(
    float_product product, int rows, int first_panel, int panel_count, nk_output output) {
    _Alignas(LINE) float partial[PARTIAL_ROWS][NK_PANEL];
    int words = product.words;
    for (int row = 0, height; row < rows; row += height) {
        height = words > BLOCK_WORDS ? nk_smaller(rows - row, PARTIAL_ROWS) : rows;
        for (int panel = first_panel; panel < first_panel + panel_count; panel++) {
            for (int first = 0; first < words; first += BLOCK_WORDS) {
                float_block block = {&product, panel, first,
                                     nk_smaller(first + BLOCK_WORDS, words)};
                multiply_float_block(&block, height, partial, output);
            }
        }
        product.x += height * product.stride;
        output.out += height * output.stride;
    }
}

NK_AVX512 void NK_SET(linear_f32)(
    const float *x, ptrdiff_t x_stride, int rows, nk_matrix_f32 matrix, int first_panel,
    int panel_count, nk_output output) {
    float_product product = {
        .x = (const char *)x,
        .stride = x_stride * (ptrdiff_t)sizeof *x,
        .panels = (const char *)matrix.panels,
        .words = matrix.inputs,
    };
    multiply_floats(product, rows, first_panel, panel_count, output);
}

NK_AVX512 void NK_SET(linear_bf16)(
    const nk_bf16 *x, ptrdiff_t x_stride, int rows, nk_matrix_bf16 matrix, int first_panel,
    int panel_count, nk_output output) {
    float_product product = {
        .x = (const char *)x,
        .stride = x_stride * (ptrdiff_t)sizeof *x,
        .panels = (const char *)matrix.panels,
        .words = nk_ceil_div(matrix.inputs, 2),
        .is_bf16 = true,
    };
    multiply_floats(product, rows, first_panel, panel_count, output);
}

// --- int8

// What a call works on, and how far it takes a tile at a time: groups [group, end) of a panel, of
// which a long one is too large for the second-level cache together with the rows that meet it.
typedef struct {
    const nk_rows_int8 *x;
    const nk_matrix_int8 *matrix;
    int groups;  // of the matrix
    int panel;
    int group, end;
} int8_block;

// Inputs of a tile on their way. Pointers three rows apart and a stride reach every row in the
// addressing modes of one instruction.
typedef struct {
    const int8_t *rows[(MAX_INT8_ROWS + 2) / 3];
    ptrdiff_t stride;
    const uint8_t *weights;
} int8_inputs;

NK_INLINE int8_inputs begin_inputs(int rows, const int8_block *block, int row) {
    const nk_matrix_int8 *matrix = block->matrix;
    ptrdiff_t first = (ptrdiff_t)block->group * matrix->group_size;
    ptrdiff_t panel = (ptrdiff_t)block->panel * nk_round_up(matrix->inputs, 4);
    int8_inputs inputs = {
        .stride = block->x->stride,
        .weights = matrix->panels + (panel + first) * NK_PANEL,
    };
    NK_UNROLL for (int i = 0; i < rows; i += 3) {
        inputs.rows[i / 3] = block->x->values + (row + i) * block->x->stride + first;
    }
    return inputs;
}

// The next block of weights: each step of the inner loop asks for the line at `next`, for the
// second-level cache, and moves it on, mostly by a part of a line. To ask twice costs less than to
// know when not to.
typedef struct {
    const char *next;
    ptrdiff_t step;
} block_ahead;

// dots += the next `length` inputs.
NK_INLINE void take_inputs(
    int rows, int length, int8_inputs *inputs, block_ahead *ahead, __m512i (*dots)[2]) {
    NK_NO_UNROLL for (; length > 0; length -= 4) {
        const uint8_t *w = inputs->weights;
        __m512i low = _mm512_loadu_si512(w), high = _mm512_loadu_si512(w + LINE);
        _mm_prefetch((const char *)w + INT8_PREFETCH_BYTES, _MM_HINT_T0);
        _mm_prefetch((const char *)w + INT8_PREFETCH_BYTES + LINE, _MM_HINT_T0);
        _mm_prefetch(ahead->next, _MM_HINT_T1);
        ahead->next += ahead->step;
        NK_UNROLL for (int i = 0; i < rows; i++) {
            const int8_t *x = inputs->rows[i / 3] + i % 3 * inputs->stride;
            __m512i four = _mm512_set1_epi32(load_int(x));
            dots[i][0] = _mm512_dpbusd_epi32(dots[i][0], low, four);
            dots[i][1] = _mm512_dpbusd_epi32(dots[i][1], high, four);
        }
        NK_UNROLL for (int i = 0; i < rows; i += 3) inputs->rows[i / 3] += 4;
        inputs->weights += 2 * LINE;
    }
}

// The next tile's inputs, a line of each row: another unit may have written them.
NK_INLINE void ask_rows_below(int rows, const int8_inputs *inputs) {
    NK_UNROLL for (int i = 0; i < rows; i++) {
        _mm_prefetch(
            (const char *)inputs->rows[i / 3] + (i % 3 + rows) * inputs->stride, _MM_HINT_T0);
    }
}

// The dot products of one group, from where they count.
NK_INLINE void dot_group(
    int rows, int length, const int32_t *starts, ptrdiff_t stride, int8_inputs *inputs,
    block_ahead *ahead, nk_ahead *others, nk_share *share, __m512i (*dots)[2]) {
    NK_UNROLL for (int i = 0; i < rows; i++) {
        dots[i][0] = dots[i][1] = _mm512_set1_epi32(starts[i * stride]);
    }
    for (; length > 0; length -= INT8_STOP) {
        nk_ask_share(others, share);
        ask_rows_below(rows, inputs);
        take_inputs(rows, nk_smaller(length, INT8_STOP), inputs, ahead, dots);
    }
}

// What takes back the origins of short dot products, times the scales of their groups.
NK_INLINE __m512 origins_back(const float *scales, int groups) {
    __m512 sum = _mm512_loadu_ps(scales);
    for (int g = 1; g < groups; g++) {
        sum = _mm512_add_ps(sum, _mm512_loadu_ps(scales + g * NK_PANEL));
    }
    return _mm512_mul_ps(sum, _mm512_set1_ps(-0x1.8p23f));
}

// Sums stay in units of the row's scale at hand, so that there is one for each dot product.
NK_INLINE void int8_tile_of(
    int rows, bool is_short, const int8_block *block, int row, float (*partial)[NK_PANEL],
    nk_output output, block_ahead ahead) {
    const nk_matrix_int8 *matrix = block->matrix;
    const nk_rows_int8 *x = block->x;
    const float *scales =
        matrix->scales + ((ptrdiff_t)block->panel * block->groups + block->group) * NK_PANEL;
    const int32_t *starts = x->starts + row * x->group_stride + block->group;
    const float *factors = x->factors + row * x->factor_stride + block->group / x->scale_groups;
    int8_inputs inputs = begin_inputs(rows, block, row);
    int left = nk_round_up(matrix->inputs, 4) - block->group * matrix->group_size;
    int count = nk_smaller(left, (block->end - block->group) * matrix->group_size);
    nk_share share =
        nk_begin_share(output.ahead, rows, count, nk_ceil_div(count, INT8_STOP));
    output.out += row * output.stride;
    bool is_last = block->end == block->groups;
    if (is_last) ask_output(rows, block->panel, output);
    __m512 sums[MAX_INT8_ROWS][2];
    NK_UNROLL for (int i = 0; i < rows; i++) {
        NK_UNROLL for (int half = 0; half < 2; half++) {
            sums[i][half] = block->group == 0 ? _mm512_setzero_ps()
                                              : _mm512_load_ps(partial[row + i] + half * NK_LANES);
        }
    }
    for (int group = block->group; group < block->end; factors++) {
        int end = nk_smaller(group + x->scale_groups, block->end);
        NK_UNROLL for (int half = 0; half < 2; half++) {
            __m512 back = is_short ? origins_back(scales + half * NK_LANES, end - group)
                                   : _mm512_setzero_ps();
            NK_UNROLL for (int i = 0; i < rows; i++) {
                __m512 factor = _mm512_set1_ps(factors[i * x->factor_stride]);
                sums[i][half] = _mm512_fmadd_ps(sums[i][half], factor, back);
            }
        }
        for (; group < end; group++, scales += NK_PANEL, starts++) {
            __m512i dots[MAX_INT8_ROWS][2];
            int length = nk_smaller(matrix->group_size, left);
            left -= length;
            dot_group(
                rows, length, starts, x->group_stride, &inputs, &ahead, output.ahead, &share, dots);
            NK_UNROLL for (int half = 0; half < 2; half++) {
                __m512 scale = _mm512_loadu_ps(scales + half * NK_LANES);
                NK_UNROLL for (int i = 0; i < rows; i++) {
                    __m512 dot = is_short ? _mm512_castsi512_ps(dots[i][half])
                                          : _mm512_cvtepi32_ps(dots[i][half]);
                    sums[i][half] = _mm512_fmadd_ps(dot, scale, sums[i][half]);
                }
            }
        }
    }
    if (!is_last) {
        NK_UNROLL for (int i = 0; i < rows; i++) {
            _mm512_store_ps(partial[row + i], sums[i][0]);
            _mm512_store_ps(partial[row + i] + NK_LANES, sums[i][1]);
        }
        return;
    }
    NK_UNROLL for (int i = 0; i < rows; i++) {
        __m512 factor = _mm512_set1_ps(factors[i * x->factor_stride]);
        sums[i][0] = _mm512_mul_ps(sums[i][0], factor);
        sums[i][1] = _mm512_mul_ps(sums[i][1], factor);
    }
    store_tile(rows, true, sums, block->panel, output);
}

NK_AVX512 static void int8_tile(
    int rows, const int8_block *block, int row, float (*partial)[NK_PANEL], nk_output output,
    block_ahead ahead) {
    switch (rows) { UP_TO_8(int8_tile_of, false, block, row, partial, output, ahead) }
}

// Of short groups.
NK_AVX512 static void short_int8_tile(
    int rows, const int8_block *block, int row, float (*partial)[NK_PANEL], nk_output output,
    block_ahead ahead) {
    switch (rows) { UP_TO_8(int8_tile_of, true, block, row, partial, output, ahead) }
}

// All rows by one block of a panel. Blocks lie end to end, as panels do.
NK_AVX512 static void multiply_block(
    const int8_block *block, int rows, float (*partial)[NK_PANEL], nk_output output) {
    const nk_matrix_int8 *matrix = block->matrix;
    int padded = nk_round_up(matrix->inputs, 4), first = block->group * matrix->group_size;
    int inputs = nk_smaller(block->end * matrix->group_size, padded) - first;
    int tiles = nk_ceil_div(rows, MAX_INT8_ROWS);
    block_ahead ahead = {
        .next = (const char *)matrix->panels
            + ((ptrdiff_t)block->panel * padded + first + inputs) * NK_PANEL,
        // The only tile of a block asks for the next one by its own reading ahead.
        .step = tiles == 1 ? 0 : nk_ceil_div(4 * NK_PANEL, tiles),
    };
    for (int row = 0, height; row < rows; row += height) {
        height = tile_height(rows - row, MAX_INT8_ROWS);
        if (matrix->group_size <= NK_SHORT_GROUP) {
            short_int8_tile(height, block, row, partial, output, ahead);
        } else {
            int8_tile(height, block, row, partial, output, ahead);
        }
        ahead.next += inputs / 4 * ahead.step;
    }
}

// Groups of a block: about BLOCK_INPUTS, in whole scales of the rows.
static int groups_of_block(const nk_matrix_int8 *matrix, int groups, int scale_groups) {
    int blocks = nk_ceil_div(matrix->inputs, BLOCK_INPUTS);
    return nk_round_up(nk_ceil_div(groups, blocks), scale_groups);
}

NK_AVX512 void NK_SET(linear_int8)(
    nk_rows_int8 x, int rows, nk_matrix_int8 matrix, int first_panel, int panel_count,
    nk_output output) {
    _Alignas(LINE) float partial[PARTIAL_ROWS][NK_PANEL];
    int groups = nk_ceil_div(matrix.inputs, matrix.group_size);
    int step = groups_of_block(&matrix, groups, x.scale_groups);
    for (int row = 0; row < rows; row += PARTIAL_ROWS) {
        int height = step < groups ? nk_smaller(rows - row, PARTIAL_ROWS) : rows;
        for (int panel = first_panel; panel < first_panel + panel_count; panel++) {
            for (int group = 0; group < groups; group += step) {
                int8_block block = {&x, &matrix, groups, panel, group,
                                    nk_smaller(group + step, groups)};
                multiply_block(&block, height, partial, output);
            }
        }
        if (height == rows) return;
        x.values += height * x.stride;
        x.factors += height * x.factor_stride;
        x.starts += height * x.group_stride;
        output.out += height * output.stride;
    }
}

#endif
