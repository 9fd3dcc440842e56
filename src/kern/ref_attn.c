/* Attention in plain C: all scores of a row, softmax, weighted sum of V over j rising. */
#include "kern/kv8.h"
#include "kern/rows.h"

#include <math.h>
#include <string.h>

/* One head's K and V of position j. */
typedef struct token {
    const void *k, *v;
    int64_t t; /* its place in the block */
} token;

static token token_of(qg_wformat format, const qg_attn_shape *s, const qg_attn_row *row,
                      int32_t kvh, int32_t j)
{
    const int32_t slot = j < row->tree_base ? j : row->path[j - row->tree_base];
    const uint8_t *k =
        (const uint8_t *)row->blocks[slot / QG_KV_BLOCK] + qg_kv_head_at(format, s->head_dim, kvh);
    return (token){k, k + qg_kv_half_bytes(format, s->head_dim), slot % QG_KV_BLOCK};
}

/* Dimension c; at: where it lies in half, which is the token's K or V. */
static float load(qg_wformat format, const qg_attn_shape *s, const void *half, int64_t t, int64_t c,
                  int64_t at)
{
    if (format == QG_W_I8)
        return qg_kv8_value(half, qg_kv_dim(s->head_dim), t, c, at);
    return format == QG_W_F32 ? ((const float *)half)[at]
                              : qg_bf16_to_f32(((const qg_bf16 *)half)[at]);
}

/* What is kept of v, a number of q or a weight. */
static float kept(qg_wformat format, float v)
{
    return format == QG_W_F32 ? v : qg_bf16_to_f32(qg_f32_to_bf16(v));
}

static void scores(qg_wformat format, const qg_attn_shape *s, const qg_attn_row *row, int32_t kvh,
                   const float *q, float *p)
{
    for (int32_t j = 0; j < row->n_ctx; j++) {
        const token at = token_of(format, s, row, kvh, j);
        float sum = 0;
        for (int32_t d = 0; d < s->head_dim; d++)
            sum += q[d] * load(format, s, at.k, at.t, d, qg_k_element(format, at.t, d));
        p[j] = sum * s->scale;
    }
}

/* In place; returns the sum of the exponentials as the format keeps them.  NaN stays NaN. */
static float softmax(qg_wformat format, float *p, int32_t n)
{
    float max = p[0], sum = 0;
    for (int32_t j = 1; j < n; j++)
        max = p[j] > max ? p[j] : max;
    for (int32_t j = 0; j < n; j++) {
        p[j] = kept(format, expf(p[j] - max));
        sum += p[j];
    }
    return sum;
}

static void weigh(qg_wformat format, const qg_attn_shape *s, const qg_attn_row *row, int32_t kvh,
                  const float *p, float *out)
{
    const int64_t dim = qg_kv_dim(s->head_dim);
    memset(out, 0, (size_t)s->head_dim * sizeof *out);
    for (int32_t j = 0; j < row->n_ctx; j++) {
        const token at = token_of(format, s, row, kvh, j);
        for (int32_t d = 0; d < s->head_dim; d++)
            out[d] += p[j] * load(format, s, at.v, at.t, d, qg_v_element(format, dim, at.t, d));
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
                q[d] = kept(format, from[d]);
            scores(format, s, &rows[r], kvh, q, p);
            float sum = softmax(format, p, rows[r].n_ctx);
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

static void run_i8(const qg_attn_shape *s, const qg_attn_row *rows, int64_t n_rows, int32_t kvh,
                   void *scratch)
{
    run(QG_W_I8, s, rows, n_rows, kvh, scratch);
}

static size_t scratch_bytes(const qg_attn_shape *s, int32_t n_ctx)
{
    return ((size_t)n_ctx + (size_t)s->head_dim) * sizeof(float);
}

void qg_attn_store_f32(const qg_attn_shape *s, void *block, int32_t kvh, int32_t at, const float *k,
                       const float *v)
{
    const int64_t d = s->head_dim, dim = qg_kv_dim(d);
    float *to = (float *)block + qg_kv_head_at(QG_W_F32, d, kvh) / sizeof *to;
    for (int64_t c = 0; c < dim; c++)
        to[qg_k_element(QG_W_F32, at, c)] = c < d ? k[c] : 0;
    memcpy(to + dim * QG_KV_BLOCK + qg_v_element(QG_W_F32, dim, at, 0), v, (size_t)d * sizeof *to);
}

void qg_attn_store_bf16(const qg_attn_shape *s, void *block, int32_t kvh, int32_t at,
                        const float *k, const float *v)
{
    const int64_t d = s->head_dim, dim = qg_kv_dim(d);
    qg_bf16 *to = (qg_bf16 *)block + qg_kv_head_at(QG_W_BF16, d, kvh) / sizeof *to;
    for (int64_t c = 0; c < dim; c++)
        to[qg_k_element(QG_W_BF16, at, c)] = c < d ? qg_f32_to_bf16(k[c]) : 0;
    to += dim * QG_KV_BLOCK;
    for (int64_t c = 0; c < d; c++)
        to[qg_v_element(QG_W_BF16, dim, at, c)] = qg_f32_to_bf16(v[c]);
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

const qg_attn qg_attn_i8_ref = {
    .name = "i8_ref",
    .kv_format = QG_W_I8,
    .scratch_bytes = scratch_bytes,
    .run = run_i8,
    .store = qg_attn_store_i8,
};
