// The reference twin of every kernel in plain C17, for any CPU. Inner loops run over the outputs of
// a panel or the slots of a block, which compilers vectorise without reordering a sum.
#include <math.h>

#include "isa.h"
#include "numbers.h"

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif

static void store_panel(const float *sums, int row, int panel, nk_output output) {
    float *out = output.out + row * output.stride + (ptrdiff_t)panel * NK_PANEL;
    const float *bias = output.bias ? output.bias + (ptrdiff_t)panel * NK_PANEL : NULL;
    for (int j = 0; j < NK_PANEL; j++) {
        float value = bias ? sums[j] + bias[j] : sums[j];
        out[j] = output.epilogue == NK_ADD ? out[j] + value : value;
    }
}

static void linear_f32(
    const float *x, ptrdiff_t x_stride, int rows, nk_matrix_f32 matrix, int first_panel,
    int panel_count, nk_output output) {
    for (int panel = first_panel; panel < first_panel + panel_count; panel++) {
        const float *weights = matrix.panels + (ptrdiff_t)panel * matrix.inputs * NK_PANEL;
        for (int row = 0; row < rows; row++) {
            const float *x_row = x + row * x_stride;
            float sums[NK_PANEL] = {0};
            for (int k = 0; k < matrix.inputs; k++) {
                const float *w = weights + (ptrdiff_t)k * NK_PANEL;
                for (int j = 0; j < NK_PANEL; j++) sums[j] += x_row[k] * w[j];
            }
            store_panel(sums, row, panel, output);
        }
    }
}

static void linear_bf16(
    const nk_bf16 *x, ptrdiff_t x_stride, int rows, nk_matrix_bf16 matrix, int first_panel,
    int panel_count, nk_output output) {
    int inputs = nk_round_up(matrix.inputs, 2);
    for (int panel = first_panel; panel < first_panel + panel_count; panel++) {
        const nk_bf16 *weights = matrix.panels + (ptrdiff_t)panel * inputs * NK_PANEL;
        for (int row = 0; row < rows; row++) {
            const nk_bf16 *x_row = x + row * x_stride;
            float sums[NK_PANEL] = {0};
            for (int k = 0; k < inputs; k += 2) {
                const nk_bf16 *w = weights + (ptrdiff_t)k * NK_PANEL;
                float x0 = nk_f32_from_bf16(x_row[k]), x1 = nk_f32_from_bf16(x_row[k + 1]);
                for (int j = 0; j < NK_PANEL; j++) {
                    sums[j] += x0 * nk_f32_from_bf16(w[2 * j]);
                    sums[j] += x1 * nk_f32_from_bf16(w[2 * j + 1]);
                }
            }
            store_panel(sums, row, panel, output);
        }
    }
}

// dots[j] = sum over k in [first, end) of (weight + 128) * x. The four weights of an output are
// taken out of one word, lowest byte first: a load of bytes four apart would not vectorise.
static void dot_group(const int8_t *x, const uint8_t *weights, int first, int end, int32_t *dots) {
    for (int j = 0; j < NK_PANEL; j++) dots[j] = 0;
    for (int k = first; k < end; k += 4) {
        uint32_t words[NK_PANEL];
        memcpy(words, weights + (ptrdiff_t)k * NK_PANEL, sizeof words);
        int32_t x0 = x[k], x1 = x[k + 1], x2 = x[k + 2], x3 = x[k + 3];
        for (int j = 0; j < NK_PANEL; j++) {
            dots[j] += (int32_t)(words[j] & 255) * x0 + (int32_t)(words[j] >> 8 & 255) * x1
                + (int32_t)(words[j] >> 16 & 255) * x2 + (int32_t)(words[j] >> 24) * x3;
        }
    }
}

static void linear_int8(
    nk_rows_int8 x, int rows, nk_matrix_int8 matrix, int first_panel, int panel_count,
    nk_output output) {
    int inputs = nk_round_up(matrix.inputs, 4);
    int groups = nk_ceil_div(matrix.inputs, matrix.group_size);
    for (int panel = first_panel; panel < first_panel + panel_count; panel++) {
        const uint8_t *weights = matrix.panels + (ptrdiff_t)panel * inputs * NK_PANEL;
        const float *scales = matrix.scales + (ptrdiff_t)panel * groups * NK_PANEL;
        for (int row = 0; row < rows; row++) {
            float sums[NK_PANEL] = {0};
            for (int g = 0; g < groups; g++) {
                int first = g * matrix.group_size;
                int32_t dots[NK_PANEL];
                dot_group(
                    x.values + row * x.stride, weights, first,
                    nk_smaller(first + matrix.group_size, inputs), dots);
                float row_scale = x.scales[row * x.group_stride + g];
                int32_t correction = 128 * x.sums[row * x.group_stride + g];
                for (int j = 0; j < NK_PANEL; j++) {
                    float scaled = (float)(dots[j] - correction) * row_scale;
                    sums[j] += scaled * scales[(ptrdiff_t)g * NK_PANEL + j];
                }
            }
            store_panel(sums, row, panel, output);
        }
    }
}

// Sums of long rows run in 16 lanes, which keeps the rounding error small.
enum { LANES = 16 };

static float sum_of_lanes(const float *lanes) {
    float sum = 0;
    for (int i = 0; i < LANES; i++) sum += lanes[i];
    return sum;
}

static void rms_norm(const float *x, const float *weight, float epsilon, int count, float *out) {
    float squares[LANES] = {0};
    for (int i = 0; i < count; i++) squares[i % LANES] += x[i] * x[i];
    float scale = 1.0f / sqrtf(sum_of_lanes(squares) / (float)count + epsilon);
    for (int i = 0; i < count; i++) out[i] = x[i] * scale * weight[i];
}

static void silu_multiply(const float *gate, const float *up, int count, float *out) {
    for (int i = 0; i < count; i++) out[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}

static void convert_bf16(const float *x, int count, nk_bf16 *out) {
    for (int i = 0; i < count; i++) out[i] = nk_bf16_from_f32(x[i]);
    if (count % 2 != 0) out[count] = 0;
}

static void rotate(float *x, int count, int run, uint64_t signs, float scale) {
    for (float *part = x; part + run <= x + count; part += run) {
        for (int i = 0; i < run; i++) {
            if (signs >> i & 1) part[i] = -part[i];
        }
        for (int distance = 1; distance < run; distance *= 2) {
            for (int i = 0; i < run; i++) {
                if (i & distance) continue;
                float a = part[i], b = part[i + distance];
                part[i] = a + b;
                part[i + distance] = a - b;
            }
        }
        for (int i = 0; i < run; i++) part[i] *= scale;
    }
}

static void quantize_int8(
    const float *x, int count, int group_size, int8_t *values, float *scales, int32_t *sums) {
    for (int first = 0, g = 0; first < count; first += group_size, g++) {
        int end = nk_smaller(first + group_size, count);
        bool usable = nk_group_scale(nk_largest_bits(x + first, end - first), &scales[g]);
        int32_t sum = 0;
        for (int i = first; i < end; i++) {
            values[i] = usable ? (int8_t)nk_round_even(x[i] / scales[g]) : 0;
            sum += values[i];
        }
        sums[g] = sum;
    }
    for (int i = count; i < nk_round_up(count, 4); i++) values[i] = 0;
}

static int argmax(const float *x, int count, float *maximum) {
    float largest = -INFINITY;
    for (int i = 0; i < count; i++) {
        if (x[i] > largest) largest = x[i];
    }
    *maximum = largest;
    for (int i = 0; i < count; i++) {
        if (x[i] == largest) return i;
    }
    return 0;
}

static float sum_exp(const float *x, int count, float maximum, float inverse_temperature) {
    float sums[LANES] = {0};
    for (int i = 0; i < count; i++) {
        sums[i % LANES] += expf((x[i] - maximum) * inverse_temperature);
    }
    return sum_of_lanes(sums);
}

// One (row, head) pair on its way through the key blocks.
typedef struct {
    float maximum;
    float sum;
    float values[NK_MAX_HEAD_DIM];  // sum over tokens of exp(score - maximum) * V
} attention_state;

// The panels of one block and KV head in f32: keys (D, 16), values (16, D).
typedef struct {
    const float *keys;
    const float *values;
} block_panels;

typedef struct {
    float keys[NK_MAX_HEAD_DIM * NK_KV_BLOCK];
    float values[NK_MAX_HEAD_DIM * NK_KV_BLOCK];
} widened_block;

// target[2 * row][i], target[2 * row + 1][i] = source[row][i][0], source[row][i][1]
static void widen_pairs(const nk_bf16 *source, int rows, int width, float *target) {
    for (int row = 0; row < rows; row++, source += 2 * width, target += 2 * width) {
        for (int i = 0; i < width; i++) {
            target[i] = nk_f32_from_bf16(source[2 * i]);
            target[width + i] = nk_f32_from_bf16(source[2 * i + 1]);
        }
    }
}

static block_panels open_block(
    const unsigned char *block, nk_kv_type type, int head_dim, widened_block *widened) {
    ptrdiff_t panel = (ptrdiff_t)head_dim * NK_KV_BLOCK;
    if (type == NK_KV_F32) {
        const float *keys = (const float *)(const void *)block;
        return (block_panels){keys, keys + panel};
    }
    const nk_bf16 *keys = (const nk_bf16 *)(const void *)block;
    widen_pairs(keys, head_dim / 2, NK_KV_BLOCK, widened->keys);
    widen_pairs(keys + panel, NK_KV_BLOCK / 2, head_dim, widened->values);
    return (block_panels){widened->keys, widened->values};
}

// Adds the first `visible` tokens of a block to the state of one pair.
static void attend_block(
    attention_state *state, const float *query, int head_dim, float scale, int visible,
    block_panels block) {
    float scores[NK_KV_BLOCK] = {0};
    for (int d = 0; d < head_dim; d++) {
        for (int t = 0; t < NK_KV_BLOCK; t++) {
            scores[t] += query[d] * block.keys[d * NK_KV_BLOCK + t];
        }
    }
    float maximum = state->maximum;
    for (int t = 0; t < visible; t++) {
        scores[t] *= scale;
        maximum = scores[t] > maximum ? scores[t] : maximum;
    }
    float decay = expf(state->maximum - maximum);
    state->maximum = maximum;
    state->sum *= decay;
    for (int d = 0; d < head_dim; d++) state->values[d] *= decay;
    for (int t = 0; t < visible; t++) {
        float weight = expf(scores[t] - maximum);
        state->sum += weight;
        for (int d = 0; d < head_dim; d++) {
            state->values[d] += weight * block.values[t * head_dim + d];
        }
    }
}

// All heads of one row.
static void attend_row(
    const float *query, float *out, int position, const nk_attention_piece *piece,
    const nk_kv_layer *cache) {
    attention_state states[NK_MAX_GROUP_HEADS];
    widened_block widened;
    int dim = piece->head_dim;
    for (int head = 0; head < piece->heads; head++) {
        states[head].maximum = -INFINITY;
        states[head].sum = 0;
        memset(states[head].values, 0, sizeof states[head].values);
    }
    for (int first = 0; first <= position; first += NK_KV_BLOCK) {
        const unsigned char *start = cache->base
            + piece->block_table[first / NK_KV_BLOCK] * cache->block_stride
            + piece->kv_head * cache->head_stride;
        block_panels block = open_block(start, cache->type, dim, &widened);
        int visible = nk_smaller(position + 1 - first, NK_KV_BLOCK);
        for (int head = 0; head < piece->heads; head++) {
            attend_block(&states[head], query + head * dim, dim, piece->scale, visible, block);
        }
    }
    for (int head = 0; head < piece->heads; head++) {
        for (int d = 0; d < dim; d++) {
            out[head * dim + d] = states[head].values[d] / states[head].sum;
        }
    }
}

static void attention(nk_attention_piece piece, nk_kv_layer cache) {
    for (int row = 0; row < piece.rows; row++) {
        attend_row(
            piece.query + row * piece.query_stride, piece.out + row * piece.out_stride,
            piece.first_position + row, &piece, &cache);
    }
}

const nk_kernels nk_portable_kernels = {
    .name = "portable",
    .linear_f32 = linear_f32,
    .linear_bf16 = linear_bf16,
    .linear_int8 = linear_int8,
    .rms_norm = rms_norm,
    .silu_multiply = silu_multiply,
    .convert_bf16 = convert_bf16,
    .rotate = rotate,
    .quantize_int8 = quantize_int8,
    .attention = attention,
    .argmax = argmax,
    .sum_exp = sum_exp,
};
