// The kernel tables of each instruction set, for isa.c.
#pragma once

#include "nano_kernels.h"

extern const nk_kernels nk_portable_kernels;

#if defined(__x86_64__)
extern const nk_kernels nk_avx2_kernels;
extern const nk_kernels nk_avx512_kernels;
#endif
