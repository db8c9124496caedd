// The reference twin of every kernel in plain C17, for any CPU. Inner loops run over the outputs of
// a panel or the slots of a block, which compilers vectorise without reordering a sum.
#include <math.h>

#include "ahead.h"
#include "generic.h"
#include "isa.h"
#include "numbers.h"

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif

static void store_panel(float *sums, int row, int panel, nk_output output) {
    ptrdiff_t first = (ptrdiff_t)panel * NK_PANEL;
    float *out = output.out + row * output.stride;
    for (int j = 0; output.bias && j < NK_PANEL; j++) sums[j] += output.bias[first + j];
    switch (output.epilogue) {
        case NK_STORE: memcpy(out + first, sums, sizeof *sums * NK_PANEL); break;
        case NK_ADD:
            for (int j = 0; j < NK_PANEL; j++) out[first + j] += sums[j];
            break;
        case NK_SILU_MULTIPLY:
            for (int j = 0; j < NK_PANEL / 2; j++) {
                float silu = sums[j] / (1.0f + expf(-sums[j]));
                out[first / 2 + j] = silu * sums[NK_PANEL / 2 + j];
            }
            break;
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
            nk_ask(output.ahead, 1, matrix.inputs);
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
            nk_ask(output.ahead, 1, matrix.inputs);
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
    int32_t origin = nk_dot_origin(matrix.group_size);
    for (int panel = first_panel; panel < first_panel + panel_count; panel++) {
        const uint8_t *weights = matrix.panels + (ptrdiff_t)panel * inputs * NK_PANEL;
        const float *scales = matrix.scales + (ptrdiff_t)panel * groups * NK_PANEL;
        for (int row = 0; row < rows; row++) {
            float sums[NK_PANEL] = {0};
            const float *factors = x.factors + row * x.factor_stride;
            for (int g = 0; g < groups; g++) {
                int first = g * matrix.group_size;
                int32_t dots[NK_PANEL];
                dot_group(
                    x.values + row * x.stride, weights, first,
                    nk_smaller(first + matrix.group_size, inputs), dots);
                int32_t start = x.starts[row * x.group_stride + g] - origin;
                float factor = g % x.scale_groups == 0 ? factors[g / x.scale_groups] : 1;
                for (int j = 0; j < NK_PANEL; j++) {
                    float dot = (float)(dots[j] + start);
                    sums[j] = sums[j] * factor + dot * scales[(ptrdiff_t)g * NK_PANEL + j];
                }
            }
            float last = factors[nk_ceil_div(groups, x.scale_groups)];
            for (int j = 0; j < NK_PANEL; j++) sums[j] *= last;
            store_panel(sums, row, panel, output);
            nk_ask(output.ahead, 1, matrix.inputs);
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
    const float *x, int count, int group_size, int8_t *values, float *scale, int32_t *starts) {
    bool usable = nk_group_scale(nk_largest_bits(x, count), scale);
    for (int first = 0, g = 0; first < count; first += group_size, g++) {
        int32_t sum = 0;
        for (int i = first; i < nk_smaller(first + group_size, count); i++) {
            values[i] = usable ? (int8_t)nk_round_even(x[i] / *scale) : 0;
            sum += values[i];
        }
        starts[g] = nk_dot_origin(group_size) - 128 * sum;
    }
    for (int i = count; i < nk_round_up(count, 4); i++) values[i] = 0;
}

static void rotate_quantize_int8(
    float *x, int count, nk_rotation rotation, int group_size, int8_t *values, float *scale,
    int32_t *starts) {
    rotate(x, count, rotation.run, rotation.signs, rotation.scale);
    quantize_int8(x, count, group_size, values, scale, starts);
}

static void rope(
    float *heads, int head_count, int head_dim, int rotary_dim, const float *cosines,
    const float *sines, bool interleaved) {
    nk_generic_rope(heads, head_count, head_dim, rotary_dim, cosines, sines, interleaved);
}

static void kv_append(
    const float *key, const float *value, int kv_heads, int head_dim, nk_kv_layer cache,
    int32_t block, int position) {
    nk_generic_kv_append(key, value, kv_heads, head_dim, cache, block, position);
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

const nk_kernels nk_portable_kernels = {
    .name = "portable",
    .linear_f32 = linear_f32,
    .linear_bf16 = linear_bf16,
    .linear_int8 = linear_int8,
    .rms_norm = rms_norm,
    .convert_bf16 = convert_bf16,
    .rotate = rotate,
    .quantize_int8 = quantize_int8,
    .rotate_quantize_int8 = rotate_quantize_int8,
    .rope = rope,
    .kv_append = kv_append,
    .attention = nk_portable_attention,
    .attention_item = nk_portable_attention_item,
    .merge_items = nk_portable_merge_items,
    .argmax = argmax,
    .sum_exp = sum_exp,
};
