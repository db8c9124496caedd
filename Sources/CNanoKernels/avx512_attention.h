// A tile of attention on its way through the blocks, shared by the two files that work on it.
#pragma once

#include "avx512.h"

enum {
    MAX_PAIRS = 8,
    PARTS = NK_KV_BLOCK / NK_LANES,  // vectors of tokens in a block
};

// Of a bf16 cache queries and weights are rounded to bf16; built without BF16, which then multiplies
// f32, they are kept as f32 after that.
typedef struct {
    // In the precision of the cache's keys: (pair, D) of f32, bf16 or s8.
    _Alignas(64) unsigned char query[MAX_PAIRS][NK_MAX_HEAD_DIM * sizeof(float)];
    float query_scale[NK_LANES];    // of int8 queries, times the softmax's scale
    int32_t correction[MAX_PAIRS];  // of int8 queries: -128 * sum, for the keys' + 128
    int position[MAX_PAIRS];
    // The item at work, whose sum is still spread over lanes in `sums`, and the items before it.
    float item[MAX_PAIRS][NK_ATTENTION_RECORD];
    float total[MAX_PAIRS][NK_ATTENTION_RECORD];
    float sums[MAX_PAIRS][NK_LANES];
    float maximum[NK_LANES];  // the item's, a pair a lane
    // Of the block: scores, then int8 weights before they are rounded. Slots that no row sees may
    // hold anything.
    _Alignas(64) float scores[MAX_PAIRS][NK_KV_BLOCK];
    float decay[NK_LANES];  // exp(old maximum - new maximum), a pair a lane
    // exp(score - maximum) of the block: f32, bf16, or u8 with the values' scales multiplied in.
    _Alignas(64) unsigned char weights[MAX_PAIRS][NK_KV_BLOCK * sizeof(float)];
    float weight_scale[NK_LANES];  // of int8 weights
    int pairs;
    int head_dim;
    float scale;
} attention_tile;

// One block of the tile's KV head.
typedef struct {
    const unsigned char *start;
    int first_position;
    int visible;  // positions up to that of the tile's last row, 1 to 64
    const unsigned char *ahead;  // the block read next, asked for meanwhile; NULL: none
    int ahead_visible;
} key_block;

// One block for all pairs of the tile: scores, softmax, values.
void NK_SET(attend_block)(nk_kv_type type, attention_tile *tile, const key_block *block);
