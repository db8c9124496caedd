// avx512_attention.c without BF16.
#define NK_WITHOUT_BF16
#include "avx512_attention.c"
