// Attention of the reference twin: it rounds what the fast sets round for a cache's precision, and
// then counts in f32. Whole numbers stay exact in it: 256 products of a query's and a key's 8 bits,
// like 64 of a weight's and a value's, stay below 2^24.
#include "isa.h"
#include "numbers.h"

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif

// One head of one row on its way through the blocks of an item.
typedef struct {
    float query[NK_MAX_HEAD_DIM];  // rounded; int8: the numbers without their scale
    float score_scale;             // from query . key to the score
    float weights[NK_KV_BLOCK];    // exp(score - maximum), rounded in the same way
    float weight_scale;            // from weight . values to what they add
    float decay;                   // exp(old maximum - new maximum)
} head_state;

typedef struct {
    const nk_attention_piece *piece;
    nk_kv_type type;
    const unsigned char *start;
    int visible;  // slots that the row sees, 1 to 64
} key_block;

static int element_bytes(nk_kv_type type) {
    return type == NK_KV_F32 ? 4 : type == NK_KV_BF16 ? 2 : 1;
}

// (rows, width) in f32 from a panel that packs as many rows as fill 4 bytes into one.
static void widen(
    const unsigned char *panel, nk_kv_type type, bool is_key, int rows, int width, float *out) {
    int packed = 4 / element_bytes(type);
    for (int row = 0; row < rows; row++, out += width) {
        ptrdiff_t first = (ptrdiff_t)(row / packed) * width * packed + row % packed;
        for (int i = 0; i < width; i++) {
            ptrdiff_t index = first + (ptrdiff_t)i * packed;
            if (type == NK_KV_F32) {
                out[i] = ((const float *)(const void *)panel)[index];
            } else if (type == NK_KV_BF16) {
                out[i] = nk_f32_from_bf16(((const nk_bf16 *)(const void *)panel)[index]);
            } else {
                out[i] = is_key ? (float)(panel[index] - 128) : (float)(int8_t)panel[index];
            }
        }
    }
}

static float round_to_bf16(float value) { return nk_f32_from_bf16(nk_bf16_from_f32(value)); }

static void begin_head(
    head_state *head, const float *query, nk_kv_type type, const nk_attention_piece *piece) {
    float scale = 1;
    int8_t values[NK_MAX_HEAD_DIM];
    int32_t start;
    int dim = piece->head_dim;
    if (type == NK_KV_INT8) {
        nk_portable_kernels.quantize_int8(query, dim, dim, values, &scale, &start);
    }
    for (int d = 0; d < dim; d++) {
        switch (type) {
            case NK_KV_F32: head->query[d] = query[d]; break;
            case NK_KV_BF16: head->query[d] = round_to_bf16(query[d]); break;
            case NK_KV_INT8: head->query[d] = (float)values[d]; break;
        }
    }
    head->score_scale = scale * piece->scale;
    head->weight_scale = 1;
}

// The scales of an int8 block: of its keys (0) or of its values (1).
static const float *token_scales(const key_block *block, int of_values) {
    ptrdiff_t panels = (ptrdiff_t)2 * NK_KV_BLOCK * block->piece->head_dim;
    return (const float *)(const void *)(block->start + panels) + of_values * NK_KV_BLOCK;
}

static void round_weights(head_state *head, const key_block *block) {
    if (block->type == NK_KV_BF16) {
        for (int t = 0; t < block->visible; t++) {
            head->weights[t] = round_to_bf16(head->weights[t]);
        }
    }
    if (block->type != NK_KV_INT8) return;
    const float *scales = token_scales(block, 1);
    for (int t = 0; t < block->visible; t++) head->weights[t] *= scales[t];
    float largest = nk_float_of(nk_largest_bits(head->weights, block->visible));
    float factor = largest > 0x1p-100f ? 255.0f / largest : 0.0f;
    head->weight_scale = largest * (1.0f / 255.0f);
    for (int t = 0; t < block->visible; t++) {
        // Not finite: NaN is in the scale already.
        bool usable = factor > 0.0f;
        head->weights[t] = usable ? nk_round_even(head->weights[t] * factor) : 0.0f;
    }
}

// Turns a block's keys (D, 64) into weights; brings the record's maximum and sum up to date.
static void soften(
    head_state *head, const float *keys, const key_block *block, float *record) {
    float scores[NK_KV_BLOCK] = {0};
    for (int d = 0; d < block->piece->head_dim; d++) {
        for (int t = 0; t < NK_KV_BLOCK; t++) {
            scores[t] += head->query[d] * keys[d * NK_KV_BLOCK + t];
        }
    }
    const float *scales = token_scales(block, 0);
    float maximum = record[0];
    for (int t = 0; t < block->visible; t++) {
        if (block->type == NK_KV_INT8) scores[t] *= scales[t];
        scores[t] *= head->score_scale;
        maximum = scores[t] > maximum ? scores[t] : maximum;
    }
    head->decay = expf(record[0] - maximum);
    record[0] = maximum;
    record[1] *= head->decay;
    for (int t = 0; t < block->visible; t++) {
        head->weights[t] = expf(scores[t] - maximum);
        record[1] += head->weights[t];
    }
    round_weights(head, block);
}

// Adds a block's values (64, D).
static void add_values(
    const head_state *head, const float *values, const key_block *block, float *record) {
    float sums[NK_MAX_HEAD_DIM] = {0};
    int dim = block->piece->head_dim;
    for (int t = 0; t < block->visible; t++) {
        for (int d = 0; d < dim; d++) sums[d] += head->weights[t] * values[t * dim + d];
    }
    float *out = record + NK_RECORD_VALUES;
    for (int d = 0; d < dim; d++) out[d] = out[d] * head->decay + sums[d] * head->weight_scale;
}

static void attend_block(head_state *heads, const key_block *block, float *records) {
    float widened[NK_MAX_HEAD_DIM * NK_KV_BLOCK];
    int dim = block->piece->head_dim, count = block->piece->heads;
    const unsigned char *values =
        block->start + (ptrdiff_t)dim * NK_KV_BLOCK * element_bytes(block->type);
    widen(block->start, block->type, true, dim, NK_KV_BLOCK, widened);
    for (int h = 0; h < count; h++) {
        soften(&heads[h], widened, block, records + h * NK_ATTENTION_RECORD);
    }
    widen(values, block->type, false, NK_KV_BLOCK, dim, widened);
    for (int h = 0; h < count; h++) {
        add_values(&heads[h], widened, block, records + h * NK_ATTENTION_RECORD);
    }
}

// records[head] of one row and item.
static void attend_item(
    const nk_attention_piece *piece, const nk_kv_layer *cache, int row, int item,
    float *records) {
    head_state heads[NK_MAX_GROUP_HEADS];
    int dim = piece->head_dim, end = piece->first_position + row + 1;
    for (int h = 0; h < piece->heads; h++) {
        float *record = records + h * NK_ATTENTION_RECORD;
        const float *query = piece->query + row * piece->query_stride + (ptrdiff_t)h * dim;
        begin_head(&heads[h], query, cache->type, piece);
        record[0] = -INFINITY;
        record[1] = 0;
        memset(record + NK_RECORD_VALUES, 0, sizeof *record * (size_t)dim);
    }
    int first = item * NK_ATTENTION_ITEM;
    for (end = nk_smaller(first + NK_ATTENTION_ITEM, end); first < end; first += NK_KV_BLOCK) {
        key_block block = {
            .piece = piece,
            .type = cache->type,
            .start = cache->base + piece->kv_head * cache->head_stride
                + piece->block_table[first / NK_KV_BLOCK] * cache->block_stride,
            .visible = nk_smaller(end - first, NK_KV_BLOCK),
        };
        attend_block(heads, &block, records);
    }
}

// total = total and item, as if their keys had entered one softmax.
static void merge_record(float *total, const float *item, int head_dim) {
    float maximum = total[0] > item[0] ? total[0] : item[0];
    float old = expf(total[0] - maximum), added = expf(item[0] - maximum);
    total[0] = maximum;
    total[1] = total[1] * old + item[1] * added;
    for (int i = NK_RECORD_VALUES; i < NK_RECORD_VALUES + head_dim; i++) {
        total[i] = total[i] * old + item[i] * added;
    }
}

static void finish_heads(const float *records, int heads, int head_dim, float *out) {
    for (int h = 0; h < heads; h++, records += NK_ATTENTION_RECORD, out += head_dim) {
        for (int d = 0; d < head_dim; d++) out[d] = records[NK_RECORD_VALUES + d] / records[1];
    }
}

void nk_portable_attention(nk_attention_piece piece, nk_kv_layer cache) {
    float totals[NK_MAX_GROUP_HEADS * NK_ATTENTION_RECORD];
    float records[NK_MAX_GROUP_HEADS * NK_ATTENTION_RECORD];
    for (int row = 0; row < piece.rows; row++) {
        int last_item = (piece.first_position + row) / NK_ATTENTION_ITEM;
        attend_item(&piece, &cache, row, 0, totals);
        for (int item = 1; item <= last_item; item++) {
            attend_item(&piece, &cache, row, item, records);
            for (int h = 0; h < piece.heads; h++) {
                ptrdiff_t offset = h * NK_ATTENTION_RECORD;
                merge_record(totals + offset, records + offset, piece.head_dim);
            }
        }
        finish_heads(totals, piece.heads, piece.head_dim, piece.out + row * piece.out_stride);
    }
}

void nk_portable_attention_item(
    nk_attention_piece piece, nk_kv_layer cache, int item, float *records) {
    attend_item(&piece, &cache, 0, item, records);
}

void nk_portable_merge_items(float *records, int items, int heads, int head_dim, float *out) {
    for (int item = 1; item < items; item++) {
        for (int h = 0; h < heads; h++) {
            float *total = records + h * NK_ATTENTION_RECORD;
            merge_record(
                total, total + (ptrdiff_t)item * heads * NK_ATTENTION_RECORD, head_dim);
        }
    }
    finish_heads(records, heads, head_dim, out);
}
