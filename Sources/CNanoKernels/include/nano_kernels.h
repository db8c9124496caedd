// The whole contract between Swift, which decides, and the kernels, which compute.
//
// Every kernel is a pure function over the rows or panels that the caller names: no globals, no
// allocation, no threads, no I/O. Pointers do not alias unless a parameter says so.
//
// Batch invariance: the bits of one output row depend only on that row's inputs, never on which
// rows or panels share the call. Reductions therefore run in a fixed order, stated per kernel.
// Two instruction sets may differ from each other in the last bits; one never differs from itself.
//
// Shape letters: R rows (tokens), K inputs of a matrix, N outputs, P panels of 32 outputs,
// G groups of inputs, H query heads of one KV head, D head dimension.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint16_t nk_bf16;  // the upper half of an IEEE-754 binary32

enum {
    NK_PANEL = 32,     // outputs in one panel of a packed matrix
    NK_KV_BLOCK = 64,  // tokens in one block of the paged KV cache; they enter a softmax together
    NK_MAX_HEAD_DIM = 256,
    NK_MAX_ROTATION = 64,
    NK_MAX_GROUP_HEADS = 16,  // query heads that may share one KV head
    NK_ATTENTION_ITEM = 512,  // positions after which partial results are merged
    // f32 numbers of a partial result: the largest score, the sum of exp(score - largest), and a
    // cache line behind the first, the sum of exp(score - largest) * V (D).
    NK_ATTENTION_RECORD = NK_MAX_HEAD_DIM + 16,
};

// CPUs that run one run those before it, too. AVX2 is AVX2 with FMA; AVX512_VNNI is AVX-512 F, BW, VL
// and DQ with VNNI; AVX512 has BF16 too.
typedef enum {
    NK_ISA_PORTABLE = 0,
    NK_ISA_AVX2 = 1,
    NK_ISA_AVX512_VNNI = 2,
    NK_ISA_AVX512 = 3,
} nk_isa;

typedef enum { NK_KV_F32 = 0, NK_KV_BF16 = 1, NK_KV_INT8 = 2 } nk_kv_type;

// What a matrix product does with its result. ADD accumulates into `out` (the residual stream).
// SILU_MULTIPLY takes the first 16 outputs of a panel for gates and the last 16 for what they gate:
// out[r][16p + j] = silu(gate[j]) * up[j], silu(x) = x / (1 + exp(-x)).
typedef enum { NK_STORE = 0, NK_ADD = 1, NK_SILU_MULTIPLY = 2 } nk_epilogue;

// Memory that an operation bound by memory reads soon, run after run. A matrix product asks for it
// while it multiplies, into the second-level cache, so that waiting and arithmetic overlap: `rate`
// cache lines for each NK_AHEAD_UNIT of rows x inputs of a panel. `run`, `offset` and `credit` say
// how far it has come; run == run_count: all has been asked for.
typedef struct {
    const char *start;
    ptrdiff_t bytes;
} nk_run;

enum { NK_AHEAD_UNIT = 1 << 20 };

typedef struct {
    const nk_run *runs;
    int run_count;
    int run;
    ptrdiff_t offset;  // bytes, within the run
    int64_t rate;
    int64_t credit;
} nk_ahead;

// Where a tile of a matrix product writes: out[row][column], f32, row stride in elements, at least
// 32 (SILU_MULTIPLY: 16) for each panel that a call writes, so that a last partial panel may be
// written in full.
typedef struct {
    float *out;
    ptrdiff_t stride;
    const float *bias;  // (32 * panels) or NULL
    nk_epilogue epilogue;
    nk_ahead *ahead;  // or NULL; changes no result
} nk_output;

// f32 matrix: panels[p][k][32].
typedef struct {
    const float *panels;
    int inputs;  // K
} nk_matrix_f32;

// bf16 matrix: panels[p][K2 / 2][32][2], K2 = K rounded up to 2, the extra input zero.
typedef struct {
    const nk_bf16 *panels;
    int inputs;
} nk_matrix_bf16;

// int8 matrix: panels[p][K4 / 4][32][4], weight + 128 as u8, K4 = K rounded up to 4 (extra inputs
// hold 128); scales[p][g][32]. Group g covers inputs [g * group_size, min((g + 1) * group_size, K)),
// group_size a multiple of 4; the last group may be shorter. weight = (u8 - 128) * scale.
typedef struct {
    const uint8_t *panels;
    const float *scales;
    int inputs;
    int group_size;
} nk_matrix_int8;

// The dot product of a short group counts from this number: the bits of 1.5 * 2^23 as f32, so that
// the finished integer, read as f32, is 1.5 * 2^23 + dot and needs no conversion.
enum { NK_SHORT_GROUP = 256, NK_SHORT_ORIGIN = 0x4b400000 };

static inline int32_t nk_dot_origin(int group_size) {
    return group_size <= NK_SHORT_GROUP ? NK_SHORT_ORIGIN : 0;
}

// How runs of values are turned: see `rotate`.
typedef struct {
    int run;
    float scale;
    uint64_t signs;
} nk_rotation;

// int8 rows: values[row][K4], the extra inputs zero. Each scale_groups groups of the matrix share a
// scale of the row, given as factors[row]: what nk_scale_factors makes of these scales.
// starts[row][g] is what the dot product of group g counts from: nk_dot_origin(group_size) - 128
// times the sum of the row's values in the group, which makes up for the + 128 of the weights.
typedef struct {
    const int8_t *values;
    ptrdiff_t stride;  // of values, bytes: at least K4
    const float *factors;
    ptrdiff_t factor_stride;  // elements: scales of a row + 1
    int scale_groups;
    const int32_t *starts;
    ptrdiff_t group_stride;  // of starts, elements: number of groups
} nk_rows_int8;

// Turns the `count` scales of a row, in place, into count + 1 factors: scale i - 1 / scale i for the
// sum so far, which then is in units of scale i, and last the scale that such a sum ends in. A scale
// of zero stands for any; factor 0 clears what leading ones have left.
void nk_scale_factors(float *scales, int count);

// The paged KV cache of one layer. Block b of KV head h starts at base + b * block_stride +
// h * head_stride (bytes). The 64 is the token within the block, so token t of a sequence is slot
// t % 64 of block table[t / 64].
// f32: K panel [D][64], V panel [64][D]. bf16: K panel [D/2][64][2], V panel [64/2][D][2].
// int8: K panel [D/4][64][4] of value + 128 as u8, V panel [64/4][D][4] of s8, then the scales of
// the 64 keys and of the 64 values, f32. int8 needs D to be a multiple of 4.
typedef struct {
    unsigned char *base;
    ptrdiff_t block_stride;
    ptrdiff_t head_stride;
    nk_kv_type type;
} nk_kv_layer;

// Rows of one sequence at consecutive positions first_position, first_position + 1, ... of one
// block (positions / 64 are equal) that attend, with the H query heads that share KV head `kv_head`.
typedef struct {
    const float *query;  // (rows, H, D): row stride given, heads D apart
    ptrdiff_t query_stride;
    float *out;  // (rows, H, D)
    ptrdiff_t out_stride;
    int rows;
    int heads;
    int head_dim;
    int kv_head;
    int first_position;
    const int32_t *block_table;
    float scale;
    // What is read next, to be asked for while the last span is at work; NULL: nothing.
    const int32_t *next_block_table;
    int next_kv_head;
} nk_attention_piece;

typedef struct {
    const char *name;  // "portable", "avx2_fma", "avx512_vnni", "avx512_vnni_bf16"

    // out[r][32p + j] = sum over k of x[r][k] * w[32p + j][k] for rows [0, rows) of x and out, panels
    // [first_panel, first_panel + panel_count). Order: one accumulator per output, k ascending.
    void (*linear_f32)(
        const float *x, ptrdiff_t x_stride, int rows, nk_matrix_f32 matrix, int first_panel,
        int panel_count, nk_output output);
    // The same on bf16 inputs with f32 accumulation; inputs are taken two at a time, ascending.
    // x rows are padded with a zero to an even K.
    void (*linear_bf16)(
        const nk_bf16 *x, ptrdiff_t x_stride, int rows, nk_matrix_bf16 matrix, int first_panel,
        int panel_count, nk_output output);
    // The same on int8: per group, an exact integer dot product; then the sum in f32, groups
    // ascending, of dot * weight scale, multiplied by a factor of the row before the first group of
    // each scale of the row, and once at the end. In short groups a sum may lose up to
    // scale_groups^2 + 1 weight scales times the row's for each scale of the row, where rounding to
    // int8 has usually lost some hundred: it may hold 1.5 * 2^23 weight scales for a while.
    void (*linear_int8)(
        nk_rows_int8 x, int rows, nk_matrix_int8 matrix, int first_panel, int panel_count,
        nk_output output);

    // out[i] = x[i] * weight[i] / sqrt(mean(x^2) + epsilon)
    void (*rms_norm)(const float *x, const float *weight, float epsilon, int count, float *out);
    // Round to nearest even. Writes count rounded up to 2, the extra element zero.
    void (*convert_bf16)(const float *x, int count, nk_bf16 *out);
    // In place, each whole run of `run` values, a power of two up to NK_MAX_ROTATION: value i is
    // negated where bit i of `signs` is set, then the run becomes its Walsh-Hadamard transform
    // (Sylvester's order) times `scale`; the values left over stay as they are. Turning weights and
    // activations alike, with scales whose product is 1 / run, keeps every dot product and spreads
    // what sticks out of a group over all of it, before it is rounded.
    void (*rotate)(float *x, int count, int run, uint64_t signs, float scale);
    // A part of a row, symmetric, one scale: *scale = max|x| / 127, value = round to nearest even of
    // x / scale; a row of zeros has scale 0. Writes count rounded up to 4, the extra elements zero,
    // and what the dot product of each group counts from.
    void (*quantize_int8)(
        const float *x, int count, int group_size, int8_t *values, float *scale, int32_t *starts);
    // The same of what rotation makes of x, which may be used up.
    void (*rotate_quantize_int8)(
        float *x, int count, nk_rotation rotation, int group_size, int8_t *values, float *scale,
        int32_t *starts);

    // Rotary embedding of one row, in place. cosines and sines are (rotary_dim / 2) for the row's
    // position. interleaved: pairs (2i, 2i + 1), as GGUF stores llama; else (i, i + rotary_dim / 2).
    void (*rope)(
        float *heads, int head_count, int head_dim, int rotary_dim, const float *cosines,
        const float *sines, bool interleaved);
    // Writes one token's K and V (heads, D) of every KV head into slot `position` % 64 of `block`.
    // int8: symmetric, one scale for the token's key and one for its value, per head.
    void (*kv_append)(
        const float *key, const float *value, int kv_heads, int head_dim, nk_kv_layer cache,
        int32_t block, int position);

    // Causal attention: row i sees positions [0, first_position + i]. Online softmax over absolute
    // key blocks of 64 in ascending order (running maximum and sum updated once a block); items of
    // 512 positions begin anew and are merged in ascending order. With a bf16 cache query and
    // weights may be rounded to bf16. With an int8 cache they may be rounded to 8 bits: the query
    // with one scale a head, the weights, times the values' scales, with one scale a block.
    // Slots of the last block beyond the row's position may hold anything, NaN included.
    void (*attention)(nk_attention_piece piece, nk_kv_layer cache);
    // The same in parts, for a piece of one row: item i covers positions [512 i, 512 (i + 1)) and
    // writes one record a head, records[head][NK_ATTENTION_RECORD]; `out` is not written.
    void (*attention_item)(
        nk_attention_piece piece, nk_kv_layer cache, int item, float *records);
    // Merges records[item][head], items ascending, into out (H, D); uses the first item's up.
    void (*merge_items)(float *records, int items, int heads, int head_dim, float *out);

    // The largest value and its smallest index. NaN never wins; all NaN gives index 0.
    int (*argmax)(const float *x, int count, float *maximum);
    // Sum over i of exp((x[i] - maximum) * inverse_temperature), whose arguments may be taken for -87
    // or 80 beyond these.
    float (*sum_exp)(const float *x, int count, float maximum, float inverse_temperature);
} nk_kernels;

// The instruction set whose kernels are the fastest on this CPU.
nk_isa nk_best_isa(void);
// True if this CPU can run the kernels of `isa`.
bool nk_supports(nk_isa isa);
// The kernels of an instruction set; portable is the reference twin of the others.
const nk_kernels *nk_kernels_for(nk_isa isa);

// --- Packing, once at load. `rows` are consecutive outputs of one panel: weights[row][K], f32;
// rows < 32 fill the rest of the panel with zero weights.
void nk_pack_f32(const float *weights, int rows, int inputs, float *panel);
void nk_pack_bf16(const float *weights, int rows, int inputs, nk_bf16 *panel);
void nk_pack_int8(
    const float *weights, int rows, int inputs, int group_size, uint8_t *panel, float *scales);

// What nk_pack_int8 would lose on weights[row][K]: the sum of squared rounding errors, and the sum
// of the squared weights.
void nk_int8_error(
    const float *weights, int rows, int inputs, int group_size, double *errors, double *squares);

// Asks for the lines that kv_append is about to write, few of them neighbours, so that they are on
// their way while the row is made ready.
void nk_kv_ask(int kv_heads, int head_dim, nk_kv_layer cache, int32_t block, int position);

// Bytes of one KV head in one block.
size_t nk_kv_head_bytes(nk_kv_type type, int head_dim);

// --- GGUF block formats to f32. `count` is a multiple of the format's block length.
// Returns false for a type that is not supported. `type` is ggml's number.
bool nk_dequantize(int type, const void *source, int64_t count, float *out);
// Elements and bytes of one block; both 0 for a type that is not supported.
void nk_block_format(int type, int *elements, int *bytes);
