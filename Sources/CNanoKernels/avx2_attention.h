// What a tile of AVX2 attention keeps between the blocks that it visits.
#pragma once

#include "avx2.h"

enum { NK_AVX2_PAIRS = 6 };

// Words are 32 bits of what multiplies K or V: a float, or in int8 two 16-bit numbers.
typedef struct {
    int32_t query[NK_MAX_HEAD_DIM * NK_AVX2_PAIRS];  // (words, pairs)
    float score_scale[NK_AVX2_PAIRS];                // from query . key to the score
    int32_t correction[NK_AVX2_PAIRS];               // of int8 scores, for the keys' + 128
    _Alignas(32) int32_t weights[NK_AVX2_PAIRS][NK_KV_BLOCK];  // scores, then weights, as words
    float weight_scale[NK_AVX2_PAIRS];               // from int8 weight . values to what they add
    float decay[NK_LANES];                           // exp(old maximum - new maximum)
    float sums[NK_AVX2_PAIRS][NK_LANES];             // of the weights, slots 8 apart together
    float item[NK_AVX2_PAIRS][NK_ATTENTION_RECORD];  // its sum is filled in at its end
    int pairs;
    int head_dim;
} nk_avx2_attention_tile;

// One block of the tile's KV head.
typedef struct {
    const unsigned char *start;
    ptrdiff_t ahead;  // from here to what is read next: each line asks for its like there
    nk_kv_type type;
    int visible;  // slots that the rows at hand may see, 1 to 64
} nk_avx2_key_block;

// Takes a block into the softmax and the values of `pairs` pairs of the tile, from `first_pair` on.
void nk_avx2_attend_block(
    nk_avx2_attention_tile *tile, int first_pair, int pairs, const nk_avx2_key_block *block);
