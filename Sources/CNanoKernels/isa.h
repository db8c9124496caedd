// The kernel tables of each instruction set, for isa.c.
#pragma once

#include "nano_kernels.h"

extern const nk_kernels nk_portable_kernels;

void nk_portable_attention(nk_attention_piece piece, nk_kv_layer cache);
void nk_portable_attention_item(
    nk_attention_piece piece, nk_kv_layer cache, int item, float *records);
void nk_portable_merge_items(float *records, int items, int heads, int head_dim, float *out);

#if defined(__x86_64__)
extern const nk_kernels nk_avx2_kernels;
extern const nk_kernels nk_avx512_vnni_kernels;
extern const nk_kernels nk_avx512_kernels;
#endif
