// Rotary embedding and the writing of the KV cache in plain C, compiled for each instruction set
// that includes it.
#pragma once

#include "numbers.h"

#define NK_GENERIC static inline __attribute__((always_inline))

NK_GENERIC void nk_turn_pairs(
    float *head, int pairs, int step, int partner, const float *cosines, const float *sines) {
    for (int i = 0; i < pairs; i++) {
        float a = head[i * step], b = head[i * step + partner];
        head[i * step] = a * cosines[i] - b * sines[i];
        head[i * step + partner] = a * sines[i] + b * cosines[i];
    }
}

NK_GENERIC void nk_generic_rope(
    float *heads, int head_count, int head_dim, int rotary_dim, const float *cosines,
    const float *sines, bool interleaved) {
    int half = rotary_dim / 2;
    for (int h = 0; h < head_count; h++, heads += head_dim) {
        if (interleaved) {
            nk_turn_pairs(heads, half, 2, 1, cosines, sines);
        } else {
            nk_turn_pairs(heads, half, 1, half, cosines, sines);
        }
    }
}

// --- One token of one KV head into slot `slot` of its block

NK_GENERIC void nk_append_f32(
    const float *key, const float *value, int head_dim, float *block, int slot) {
    float *values = block + (ptrdiff_t)head_dim * NK_KV_BLOCK;
    for (int d = 0; d < head_dim; d++) block[(ptrdiff_t)d * NK_KV_BLOCK + slot] = key[d];
    memcpy(values + (ptrdiff_t)slot * head_dim, value, sizeof *value * (size_t)head_dim);
}

NK_GENERIC void nk_append_bf16(
    const float *key, const float *value, int head_dim, nk_bf16 *block, int slot) {
    nk_bf16 *values = block + (ptrdiff_t)head_dim * NK_KV_BLOCK;
    for (int d = 0; d < head_dim; d++) {
        block[(d / 2 * NK_KV_BLOCK + slot) * 2 + d % 2] = nk_bf16_from_f32(key[d]);
    }
    values += (slot / 2 * head_dim) * 2 + slot % 2;
    for (int d = 0; d < head_dim; d++) values[2 * d] = nk_bf16_from_f32(value[d]);
}

// Rounds to -127 ... 127, or to zeros if there is no usable scale. Returns the scale.
NK_GENERIC float nk_round_int8(const float *x, int count, int8_t *values) {
    float scale;
    bool usable = nk_group_scale(nk_largest_bits(x, count), &scale);
    if (!usable) memset(values, 0, (size_t)count);
    for (int i = 0; usable && i < count; i++) values[i] = (int8_t)nk_round_even(x[i] / scale);
    return scale;
}

NK_GENERIC void nk_append_int8(
    const float *key, const float *value, int head_dim, unsigned char *block, int slot) {
    ptrdiff_t panel = (ptrdiff_t)head_dim * NK_KV_BLOCK;
    float *scales = (float *)(void *)(block + 2 * panel);
    int8_t rounded[NK_MAX_HEAD_DIM];
    scales[slot] = nk_round_int8(key, head_dim, rounded);
    for (int d = 0; d < head_dim; d++) {
        block[(d / 4 * NK_KV_BLOCK + slot) * 4 + d % 4] = (unsigned char)(rounded[d] + 128);
    }
    scales[NK_KV_BLOCK + slot] = nk_round_int8(value, head_dim, rounded);
    unsigned char *values = block + panel + (slot / 4 * head_dim) * 4 + slot % 4;
    for (int d = 0; d < head_dim; d++) values[4 * d] = (unsigned char)rounded[d];
}

NK_GENERIC void nk_generic_kv_append(
    const float *key, const float *value, int kv_heads, int head_dim, nk_kv_layer cache,
    int32_t block, int position) {
    int slot = position % NK_KV_BLOCK;
    unsigned char *target = cache.base + block * cache.block_stride;
    for (int h = 0; h < kv_heads; h++, target += cache.head_stride) {
        switch (cache.type) {
            case NK_KV_F32:
                nk_append_f32(key, value, head_dim, (float *)(void *)target, slot);
                break;
            case NK_KV_BF16:
                nk_append_bf16(key, value, head_dim, (nk_bf16 *)(void *)target, slot);
                break;
            case NK_KV_INT8: nk_append_int8(key, value, head_dim, target, slot); break;
        }
        key += head_dim;
        value += head_dim;
    }
}
