// avx512_attention_block.c without BF16.
#define NK_WITHOUT_BF16
#include "avx512_attention_block.c"
