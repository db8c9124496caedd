#include "isa.h"

#if defined(__x86_64__)

// __builtin_cpu_supports also asks whether the operating system saves the wide registers.
bool nk_supports(nk_isa isa) {
    bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    bool has_vnni = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")
        && __builtin_cpu_supports("avx512vnni");
    switch (isa) {
        case NK_ISA_AVX512: return has_vnni && __builtin_cpu_supports("avx512bf16");
        case NK_ISA_AVX512_VNNI: return has_vnni;
        case NK_ISA_AVX2: return has_avx2;
        case NK_ISA_PORTABLE: return true;
    }
    return false;
}

const nk_kernels *nk_kernels_for(nk_isa isa) {
    switch (isa) {
        case NK_ISA_AVX512: return &nk_avx512_kernels;
        case NK_ISA_AVX512_VNNI: return &nk_avx512_vnni_kernels;
        case NK_ISA_AVX2: return &nk_avx2_kernels;
        case NK_ISA_PORTABLE: break;
    }
    return &nk_portable_kernels;
}

// Intel's vdpbf16ps takes twice the time of the two multiply-adds that stand for it.
static nk_isa first_choice(void) {
    return __builtin_cpu_is("intel") ? NK_ISA_AVX512_VNNI : NK_ISA_AVX512;
}

#else

static nk_isa first_choice(void) { return NK_ISA_PORTABLE; }

bool nk_supports(nk_isa isa) { return isa == NK_ISA_PORTABLE; }

const nk_kernels *nk_kernels_for(nk_isa isa) {
    (void)isa;
    return &nk_portable_kernels;
}

#endif

nk_isa nk_best_isa(void) {
    nk_isa best = first_choice();
    while (!nk_supports(best)) best--;
    return best;
}
