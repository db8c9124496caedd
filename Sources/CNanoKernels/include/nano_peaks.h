// What the machine can do at most: loops that measure it, for Swift to time.
//
// Like the kernels, these are pure functions: no globals, no allocation, no threads, no I/O.
#pragma once

#include "nano_kernels.h"

// The operands of a dot product. Sums are kept in 32 bits.
typedef enum { NK_PEAK_INT8 = 0, NK_PEAK_BF16 = 1, NK_PEAK_F32 = 2 } nk_peak_kind;

// Multiplies and adds in registers only, `iterations` times, on independent sums: as fast as the
// core can. Returns the operations done; a multiplication and its addition count as two. The
// instruction set must be supported.
//
//              int8                          bf16                       f32
// AVX512       vpdpbusd zmm                  vdpbf16ps zmm              vfmadd231ps zmm
// AVX512_VNNI  vpdpbusd zmm                  as f32                     vfmadd231ps zmm
// AVX2         vpmaddwd and vpaddd ymm       as f32                     vfmadd231ps ymm
// PORTABLE     16-bit multiply and add       as f32                     multiply and add
uint64_t nk_run_peak(nk_isa isa, nk_peak_kind kind, uint64_t iterations);

// Loads every byte once, in order, with the set's widest loads and a software prefetch ahead of
// them. `bytes` is aligned to 64 and `count` a multiple of 1024. The instruction set must be
// supported.
void nk_read_all(nk_isa isa, const void *bytes, size_t count);
