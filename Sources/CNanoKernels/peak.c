// The loops are assembly where an instruction is meant: no compiler setting removes, merges or
// spills them. All registers hold zeros; the units take the same time for any other operands.
#include "nano_peaks.h"

typedef float nk_floats __attribute__((vector_size(16)));
typedef uint16_t nk_words __attribute__((vector_size(16)));

// Twelve sums: enough to hide four to six cycles of latency at two results a cycle.
#define NK_FOR_TWELVE(DO) \
    DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)

// sum = sum * x + y: a recurrence that a compiler can neither hoist nor fold.
#define NK_DECLARE_FLOATS(i) nk_floats sum##i = {0};
#define NK_DECLARE_WORDS(i) nk_words sum##i = {0};
#define NK_STEP(i) sum##i = sum##i * x + y;
#define NK_TOTAL(i) total += sum##i;

static uint64_t run_portable_f32(uint64_t iterations) {
    volatile float zero = 0;
    nk_floats x = {zero, zero, zero, zero}, y = x, total = x;
    NK_FOR_TWELVE(NK_DECLARE_FLOATS)
    for (uint64_t i = 0; i < iterations; i++) { NK_FOR_TWELVE(NK_STEP) }
    NK_FOR_TWELVE(NK_TOTAL)
    zero = total[0];
    return iterations * 12 * 4 * 2;
}

static uint64_t run_portable_int8(uint64_t iterations) {
    volatile uint16_t zero = 0;
    nk_words x = {zero, zero, zero, zero, zero, zero, zero, zero}, y = x, total = x;
    NK_FOR_TWELVE(NK_DECLARE_WORDS)
    for (uint64_t i = 0; i < iterations; i++) { NK_FOR_TWELVE(NK_STEP) }
    NK_FOR_TWELVE(NK_TOTAL)
    zero = total[0];
    return iterations * 12 * 8 * 2;
}

static uint64_t run_portable(nk_peak_kind kind, uint64_t iterations) {
    return kind == NK_PEAK_INT8 ? run_portable_int8(iterations) : run_portable_f32(iterations);
}

static void read_portable(const void *bytes, size_t count) {
    const uint64_t *words = bytes;
    uint64_t sums[4] = {0};
    for (size_t i = 0; i < count / 8; i += 4) {
        for (int k = 0; k < 4; k++) sums[k] += words[i + (size_t)k];
    }
    // Takes the sums as used.
    __asm__ volatile("" : : "r"(sums[0] + sums[1] + sums[2] + sums[3]));
}

#if defined(__x86_64__)

#define NK_LOW_REGISTERS \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"
#define NK_HIGH_REGISTERS \
    "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", \
        "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31"

// `clear` and `step` are for one register; \r is its number.
#define NK_LOOP(iterations, sums, clear, step, ...) \
    __asm__ volatile( \
        ".irp r,0,1," sums "\n" clear ".endr\n" \
        ".p2align 6\n" \
        "1:\n" \
        ".irp r," sums "\n" step ".endr\n" \
        "dec %0\n" \
        "jnz 1b\n" \
        "vzeroupper\n" \
        : "+r"(iterations) \
        : \
        : "cc", __VA_ARGS__)

#define NK_TWELVE_SUMS "4,5,6,7,8,9,10,11,12,13,14,15"
#define NK_TWENTY_FOUR_SUMS NK_TWELVE_SUMS ",16,17,18,19,20,21,22,23,24,25,26,27"

#define NK_AVX512_LOOP(instruction) \
    NK_LOOP( \
        iterations, NK_TWENTY_FOUR_SUMS, "vpxord %%zmm\\r, %%zmm\\r, %%zmm\\r\n", \
        instruction " %%zmm0, %%zmm1, %%zmm\\r\n", NK_LOW_REGISTERS, NK_HIGH_REGISTERS)

__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16"))) static uint64_t
run_avx512(nk_peak_kind kind, bool has_bf16, uint64_t iterations) {
    uint64_t instructions = iterations * 24;
    if (iterations == 0) return 0;
    if (kind == NK_PEAK_INT8) {
        NK_AVX512_LOOP("vpdpbusd");
        return instructions * 128;
    }
    if (kind == NK_PEAK_BF16 && has_bf16) {
        NK_AVX512_LOOP("vdpbf16ps");
        return instructions * 64;
    }
    NK_AVX512_LOOP("vfmadd231ps");
    return instructions * 32;
}

__attribute__((target("avx2,fma"))) static uint64_t run_avx2(
    nk_peak_kind kind, uint64_t iterations) {
    uint64_t steps = iterations * 12;
    if (iterations == 0) return 0;
    if (kind == NK_PEAK_INT8) {
        // int8 widened to 16 bits: 16 products in pairs, added to 8 sums of 32 bits.
        NK_LOOP(
            iterations, NK_TWELVE_SUMS, "vpxor %%ymm\\r, %%ymm\\r, %%ymm\\r\n",
            "vpmaddwd %%ymm0, %%ymm1, %%ymm2\n vpaddd %%ymm2, %%ymm\\r, %%ymm\\r\n",
            NK_LOW_REGISTERS);
        return steps * 32;
    }
    NK_LOOP(
        iterations, NK_TWELVE_SUMS, "vpxor %%ymm\\r, %%ymm\\r, %%ymm\\r\n",
        "vfmadd231ps %%ymm0, %%ymm1, %%ymm\\r\n", NK_LOW_REGISTERS);
    return steps * 16;
}

// 1 KiB a round; lines are asked for 16 KiB ahead, since the hardware's own prefetch may stop at
// the end of each page. A prefetch beyond the last byte does no harm.
#define NK_READ_LOOP(load, ...) \
    __asm__ volatile( \
        "1:\n" \
        ".irp line,0,64,128,192,256,320,384,448,512,576,640,704,768,832,896,960\n" \
        "prefetcht0 16384+\\line(%0)\n" load ".endr\n" \
        "add $1024, %0\n" \
        "cmp %1, %0\n" \
        "jb 1b\n" \
        "vzeroupper\n" \
        : "+r"(next) \
        : "r"(end) \
        : "cc", "memory", __VA_ARGS__)

__attribute__((target("avx512f"))) static void read_avx512(const void *bytes, size_t count) {
    const char *next = bytes, *end = next + count;
    if (count == 0) return;
    NK_READ_LOOP("vmovdqa64 \\line(%0), %%zmm0\n", "xmm0");
}

__attribute__((target("avx2"))) static void read_avx2(const void *bytes, size_t count) {
    const char *next = bytes, *end = next + count;
    if (count == 0) return;
    NK_READ_LOOP(
        "vmovdqa \\line(%0), %%ymm0\n vmovdqa 32+\\line(%0), %%ymm1\n", "xmm0", "xmm1");
}

uint64_t nk_run_peak(nk_isa isa, nk_peak_kind kind, uint64_t iterations) {
    switch (isa) {
    case NK_ISA_AVX512: return run_avx512(kind, true, iterations);
    case NK_ISA_AVX512_VNNI: return run_avx512(kind, false, iterations);
    case NK_ISA_AVX2: return run_avx2(kind, iterations);
    case NK_ISA_PORTABLE: break;
    }
    return run_portable(kind, iterations);
}

void nk_read_all(nk_isa isa, const void *bytes, size_t count) {
    switch (isa) {
    case NK_ISA_AVX512:
    case NK_ISA_AVX512_VNNI: read_avx512(bytes, count); return;
    case NK_ISA_AVX2: read_avx2(bytes, count); return;
    case NK_ISA_PORTABLE: read_portable(bytes, count); return;
    }
}

#else

uint64_t nk_run_peak(nk_isa isa, nk_peak_kind kind, uint64_t iterations) {
    (void)isa;
    return run_portable(kind, iterations);
}

void nk_read_all(nk_isa isa, const void *bytes, size_t count) {
    (void)isa;
    read_portable(bytes, count);
}

#endif
