#include "isa.h"

#if defined(__x86_64__)

// __builtin_cpu_supports also asks whether the operating system saves the wide registers.
bool nk_has_vnni(void) { return __builtin_cpu_supports("avx512vnni"); }

bool nk_has_bf16(void) { return __builtin_cpu_supports("avx512bf16"); }

static bool has_avx512_kernels(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")
        && nk_has_vnni() && nk_has_bf16();
}

static bool has_avx2_kernels(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

const nk_kernels *nk_kernels_for(nk_isa isa) {
    switch (isa) {
        case NK_ISA_AVX512: return &nk_avx512_kernels;
        case NK_ISA_AVX2: return &nk_avx2_kernels;
        case NK_ISA_PORTABLE: break;
    }
    return &nk_portable_kernels;
}

#else

bool nk_has_vnni(void) { return false; }

bool nk_has_bf16(void) { return false; }

static bool has_avx512_kernels(void) { return false; }

static bool has_avx2_kernels(void) { return false; }

const nk_kernels *nk_kernels_for(nk_isa isa) {
    (void)isa;
    return &nk_portable_kernels;
}

#endif

bool nk_supports(nk_isa isa) {
    switch (isa) {
        case NK_ISA_AVX512: return has_avx512_kernels();
        case NK_ISA_AVX2: return has_avx2_kernels();
        case NK_ISA_PORTABLE: return true;
    }
    return false;
}

nk_isa nk_best_isa(void) {
    if (has_avx512_kernels()) return NK_ISA_AVX512;
    return has_avx2_kernels() ? NK_ISA_AVX2 : NK_ISA_PORTABLE;
}
