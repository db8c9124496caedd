// avx512_attention_block.c for CPUs without BF16.
#define NK_WITHOUT_BF16
#include "avx512_attention_block.c"
