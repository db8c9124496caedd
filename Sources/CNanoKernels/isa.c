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

const nk_kernels *nk_kernels_for(nk_isa isa) {
    return isa == NK_ISA_AVX512 ? &nk_avx512_kernels : &nk_portable_kernels;
}

#else

bool nk_has_vnni(void) { return false; }

bool nk_has_bf16(void) { return false; }

static bool has_avx512_kernels(void) { return false; }

const nk_kernels *nk_kernels_for(nk_isa isa) {
    (void)isa;
    return &nk_portable_kernels;
}

#endif

bool nk_supports(nk_isa isa) {
    return isa == NK_ISA_PORTABLE || (isa == NK_ISA_AVX512 && has_avx512_kernels());
}

nk_isa nk_best_isa(void) { return has_avx512_kernels() ? NK_ISA_AVX512 : NK_ISA_PORTABLE; }
