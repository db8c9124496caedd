// Packing of weights at load, rotary embedding, and writing the KV cache.
#include "nano_kernels.h"
#include "numbers.h"

void nk_pack_f32(const float *weights, int rows, int inputs, float *panel) {
    for (int k = 0; k < inputs; k++) {
        for (int j = 0; j < NK_PANEL; j++) {
            panel[(ptrdiff_t)k * NK_PANEL + j] =
                j < rows ? weights[(ptrdiff_t)j * inputs + k] : 0.0f;
        }
    }
}

void nk_pack_bf16(const float *weights, int rows, int inputs, nk_bf16 *panel) {
    memset(panel, 0, sizeof *panel * NK_PANEL * (size_t)nk_round_up(inputs, 2));
    for (int j = 0; j < rows; j++) {
        const float *row = weights + (ptrdiff_t)j * inputs;
        for (int k = 0; k < inputs; k++) {
            panel[((ptrdiff_t)(k / 2) * NK_PANEL + j) * 2 + k % 2] = nk_bf16_from_f32(row[k]);
        }
    }
}

void nk_pack_int8(
    const float *weights, int rows, int inputs, int group_size, uint8_t *panel, float *scales) {
    int groups = nk_ceil_div(inputs, group_size);
    memset(panel, 128, (size_t)NK_PANEL * (size_t)nk_round_up(inputs, 4));
    memset(scales, 0, sizeof *scales * NK_PANEL * (size_t)groups);
    for (int j = 0; j < rows; j++) {
        const float *row = weights + (ptrdiff_t)j * inputs;
        for (int g = 0; g < groups; g++) {
            int first = g * group_size, end = nk_smaller(first + group_size, inputs);
            float scale;
            bool usable =
                nk_group_scale(nk_largest_bits(row + first, end - first), &scale);
            scales[(ptrdiff_t)g * NK_PANEL + j] = scale;
            for (int k = first; usable && k < end; k++) {
                panel[((ptrdiff_t)(k / 4) * NK_PANEL + j) * 4 + k % 4] =
                    (uint8_t)((int)nk_round_even(row[k] / scale) + 128);
            }
        }
    }
}

void nk_rope(
    float *heads, int head_count, int head_dim, int rotary_dim, const float *cosines,
    const float *sines, bool interleaved) {
    int half = rotary_dim / 2;
    int step = interleaved ? 2 : 1, partner = interleaved ? 1 : half;
    for (int h = 0; h < head_count; h++) {
        float *head = heads + (ptrdiff_t)h * head_dim;
        for (int i = 0; i < half; i++) {
            float a = head[i * step], b = head[i * step + partner];
            head[i * step] = a * cosines[i] - b * sines[i];
            head[i * step + partner] = a * sines[i] + b * cosines[i];
        }
    }
}

size_t nk_kv_head_bytes(nk_kv_type type, int head_dim) {
    size_t element = type == NK_KV_BF16 ? sizeof(nk_bf16) : sizeof(float);
    return 2 * NK_KV_BLOCK * (size_t)head_dim * element;
}

static void append_f32(const float *key, const float *value, int head_dim, float *block, int slot) {
    float *values = block + (ptrdiff_t)head_dim * NK_KV_BLOCK;
    for (int d = 0; d < head_dim; d++) block[(ptrdiff_t)d * NK_KV_BLOCK + slot] = key[d];
    memcpy(values + (ptrdiff_t)slot * head_dim, value, sizeof *value * (size_t)head_dim);
}

static void append_bf16(
    const float *key, const float *value, int head_dim, nk_bf16 *block, int slot) {
    nk_bf16 *values = block + (ptrdiff_t)head_dim * NK_KV_BLOCK;
    for (int d = 0; d < head_dim; d++) {
        block[(d / 2 * NK_KV_BLOCK + slot) * 2 + d % 2] = nk_bf16_from_f32(key[d]);
        values[(slot / 2 * head_dim + d) * 2 + slot % 2] = nk_bf16_from_f32(value[d]);
    }
}

void nk_kv_append(
    const float *key, const float *value, int kv_heads, int head_dim, nk_kv_layer cache,
    int32_t block, int position) {
    int slot = position % NK_KV_BLOCK;
    for (int h = 0; h < kv_heads; h++) {
        unsigned char *target = cache.base + block * cache.block_stride + h * cache.head_stride;
        const float *k = key + (ptrdiff_t)h * head_dim, *v = value + (ptrdiff_t)h * head_dim;
        if (cache.type == NK_KV_BF16) {
            append_bf16(k, v, head_dim, (nk_bf16 *)(void *)target, slot);
        } else {
            append_f32(k, v, head_dim, (float *)(void *)target, slot);
        }
    }
}
