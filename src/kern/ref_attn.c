/* Attention in plain C: all scores of a row, softmax, weighted sum of V over j rising. */
#include "kern/rows.h"

#include <math.h>
#include <string.h>

static int64_t slot_of(const qg_attn_row *row, int32_t j)
{
    return j < row->tree_base ? j : row->path[j - row->tree_base];
}

/* First element of K of position j; V is v_off elements further. */
static int64_t element_of(const qg_attn_shape *s, int64_t slot, int32_t kvh)
{
    return ((int64_t)kvh * s->block_len + slot % s->block_len) * s->head_dim;
}

static float load(qg_wformat format, const void *block, int64_t at)
{
    return format == QG_W_F32 ? ((const float *)block)[at]
                              : qg_bf16_to_f32(((const qg_bf16 *)block)[at]);
}

static void scores(qg_wformat format, const qg_attn_shape *s, const qg_attn_row *row, int32_t kvh,
                   const float *q, float *p)
{
    for (int32_t j = 0; j < row->n_ctx; j++) {
        int64_t slot = slot_of(row, j), at = element_of(s, slot, kvh);
        const void *block = row->blocks[slot / s->block_len];
        float sum = 0;
        for (int32_t d = 0; d < s->head_dim; d++)
            sum += q[d] * load(format, block, at + d);
        p[j] = sum * s->scale;
    }
}

/* In place; returns the sum of the exponentials.  NaN stays NaN. */
static float softmax(float *p, int32_t n)
{
    float max = p[0], sum = 0;
    for (int32_t j = 1; j < n; j++)
        max = p[j] > max ? p[j] : max;
    for (int32_t j = 0; j < n; j++) {
        p[j] = expf(p[j] - max);
        sum += p[j];
    }
    return sum;
}

static void weigh(qg_wformat format, const qg_attn_shape *s, const qg_attn_row *row, int32_t kvh,
                  const float *p, float *out)
{
    memset(out, 0, (size_t)s->head_dim * sizeof *out);
    for (int32_t j = 0; j < row->n_ctx; j++) {
        int64_t slot = slot_of(row, j), at = element_of(s, slot, kvh) + s->v_off;
        const void *block = row->blocks[slot / s->block_len];
        for (int32_t d = 0; d < s->head_dim; d++)
            out[d] += p[j] * load(format, block, at + d);
    }
}

static void run(qg_wformat format, const qg_attn_shape *s, const qg_attn_row *rows, int64_t n_rows,
                int32_t kvh, float *scratch)
{
    int32_t group = s->n_heads / s->n_kv_heads;
    float *q = scratch, *p = scratch + s->head_dim;
    for (int64_t r = 0; r < n_rows; r++)
        for (int32_t h = kvh * group; h < (kvh + 1) * group; h++) {
            const float *from = rows[r].q + (int64_t)h * s->head_dim;
            float *out = rows[r].out + (int64_t)h * s->head_dim;
            for (int32_t d = 0; d < s->head_dim; d++)
                q[d] = format == QG_W_F32 ? from[d] : qg_bf16_to_f32(qg_f32_to_bf16(from[d]));
            scores(format, s, &rows[r], kvh, q, p);
            float sum = softmax(p, rows[r].n_ctx);
            weigh(format, s, &rows[r], kvh, p, out);
            for (int32_t d = 0; d < s->head_dim; d++)
                out[d] /= sum;
        }
}

static void run_f32(const qg_attn_shape *s, const qg_attn_row *rows, int64_t n_rows, int32_t kvh,
                    void *scratch)
{
    run(QG_W_F32, s, rows, n_rows, kvh, scratch);
}

static void run_bf16(const qg_attn_shape *s, const qg_attn_row *rows, int64_t n_rows, int32_t kvh,
                     void *scratch)
{
    run(QG_W_BF16, s, rows, n_rows, kvh, scratch);
}

static size_t scratch_bytes(const qg_attn_shape *s, int32_t n_ctx)
{
    return ((size_t)n_ctx + (size_t)s->head_dim) * sizeof(float);
}

void qg_attn_store_f32(const qg_attn_shape *s, void *block, int32_t at, const float *k,
                       const float *v)
{
    float *to = block;
    for (int32_t h = 0; h < s->n_kv_heads; h++) {
        int64_t d = s->head_dim, e = ((int64_t)h * s->block_len + at) * d;
        memcpy(to + e, k + h * d, (size_t)d * sizeof *to);
        memcpy(to + s->v_off + e, v + h * d, (size_t)d * sizeof *to);
    }
}

void qg_attn_store_bf16(const qg_attn_shape *s, void *block, int32_t at, const float *k,
                        const float *v)
{
    qg_bf16 *to = block;
    for (int32_t h = 0; h < s->n_kv_heads; h++) {
        int64_t d = s->head_dim, e = ((int64_t)h * s->block_len + at) * d;
        for (int64_t i = 0; i < d; i++) {
            to[e + i] = qg_f32_to_bf16(k[h * d + i]);
            to[s->v_off + e + i] = qg_f32_to_bf16(v[h * d + i]);
        }
    }
}

const qg_attn qg_attn_f32_ref = {
    .name = "f32_ref",
    .kv_format = QG_W_F32,
    .scratch_bytes = scratch_bytes,
    .run = run_f32,
    .store = qg_attn_store_f32,
};

const qg_attn qg_attn_bf16_ref = {
    .name = "bf16_ref",
    .kv_format = QG_W_BF16,
    .scratch_bytes = scratch_bytes,
    .run = run_bf16,
    .store = qg_attn_store_bf16,
};
