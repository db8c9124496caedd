// Packing of weights at load, and where things lie in the KV cache.
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

size_t nk_kv_head_bytes(nk_kv_type type, int head_dim) {
    size_t elements = 2 * NK_KV_BLOCK * (size_t)head_dim;
    switch (type) {
        case NK_KV_F32: return elements * sizeof(float);
        case NK_KV_BF16: return elements * sizeof(nk_bf16);
        case NK_KV_INT8: break;
    }
    return elements + 2 * NK_KV_BLOCK * sizeof(float);
}

void nk_kv_ask(int kv_heads, int head_dim, nk_kv_layer cache, int32_t block, int position) {
    enum { WORD = 4, LINE = 64 };
    int element = cache.type == NK_KV_INT8 ? 1 : cache.type == NK_KV_BF16 ? 2 : 4;
    int slot = position % NK_KV_BLOCK, tokens = WORD / element;
    ptrdiff_t panel = (ptrdiff_t)head_dim * NK_KV_BLOCK * element;
    const char *head = (const char *)cache.base + block * cache.block_stride;
    for (int h = 0; h < kv_heads; h++, head += cache.head_stride) {
        const char *keys = head + slot * WORD;
        const char *value = head + panel + slot / tokens * head_dim * WORD;
        for (int w = 0; w < head_dim / tokens; w++) {
            __builtin_prefetch(keys + w * NK_KV_BLOCK * WORD, 1);
        }
        for (int b = 0; b < head_dim * WORD; b += LINE) __builtin_prefetch(value + b, 1);
        if (cache.type != NK_KV_INT8) continue;
        const char *scales = head + 2 * panel + slot * WORD;
        __builtin_prefetch(scales, 1);
        __builtin_prefetch(scales + NK_KV_BLOCK * WORD, 1);
    }
}
