#include "model/model_int.h"

#include "base/limits.h"
#include "base/mem.h"

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Bytes of a row in xp: what stands between layers, for layers and heads. */
static size_t widest_xp(const qg_model *m)
{
    const int64_t out = larger(m->cfg->hidden, qg_heads_inner(m->heads));
    return (size_t)larger((int64_t)m->layer->x_bytes(m->cfg->hidden),
                          (int64_t)m->gemm->x_bytes(out));
}

/* And in xi: what is made inside a layer. */
static size_t widest_xi(const qg_model *m)
{
    const int64_t q_width = (int64_t)m->cfg->n_heads * m->cfg->head_dim;
    return m->layer->x_bytes(larger(q_width, m->cfg->intermediate));
}

static void lay_out(qg_scratch *s, const qg_model *m, qg_carve *c)
{
    const qg_config *cfg = m->cfg;
    size_t rows = (size_t)s->max_rows, hidden = (size_t)cfg->hidden, parts = (size_t)s->parts;
    size_t q_width = (size_t)cfg->n_heads * (size_t)cfg->head_dim;
    size_t half = (size_t)cfg->head_dim / 2;
    s->x = qg_carve_take(c, rows, hidden * sizeof(float));
    s->y = qg_carve_take(c, rows, (size_t)s->ldy * sizeof(float));
    s->a = qg_carve_take(c, rows, q_width * sizeof(float));
    s->xp = qg_carve_take(c, rows, widest_xp(m));
    s->xi = qg_carve_take(c, rows, widest_xi(m));
    s->mlp = qg_carve_take(c, parts * 2 * QG_MLP_ROWS, QG_X_PART * sizeof(float));
    s->cosv = qg_carve_take(c, rows, half * sizeof(float));
    s->sinv = qg_carve_take(c, rows, half * sizeof(float));
    s->tmp = qg_carve_take(c, parts * QG_ROW_GROUP, hidden * sizeof(float));
    s->attn = qg_carve_take(c, parts, s->attn_bytes);
    s->rows = qg_carve_take(c, rows, sizeof *s->rows);
    s->wanted = qg_carve_take(c, rows, sizeof *s->wanted);
    s->seqs = qg_carve_take(c, rows, sizeof *s->seqs);
    s->blocks = qg_carve_take(c, rows, (size_t)s->seq_blocks * sizeof *s->blocks);
}

/* Everything but the memory itself; gives the bytes it takes, or 0 when that does not fit. */
static size_t measure(qg_scratch *s, const qg_model *model, int32_t max_rows, int32_t max_ctx,
                      int32_t n_threads)
{
    const qg_config *cfg = model->cfg;
    const int64_t qkv = (int64_t)(cfg->n_heads + 2 * cfg->n_kv_heads) * cfg->head_dim;
    s->max_rows = max_rows;
    s->max_ctx = max_ctx;
    s->parts = n_threads;
    s->ldy = larger(larger(2 * (int64_t)cfg->intermediate, cfg->hidden), qkv);
    s->ldy = larger(s->ldy, 2 * (int64_t)qg_heads_inner(model->heads));
    s->attn_bytes = (model->attn->scratch_bytes(&model->attn_shape, max_ctx) + 63) / 64 * 64;
    s->seq_blocks = (int32_t)(((int64_t)max_ctx + QG_MAX_TREE_SLOTS) / QG_KV_BLOCK + 1);
    qg_carve c = {0};
    lay_out(s, model, &c);
    return c.overflow ? 0 : c.at;
}

size_t qg_scratch_bytes(const qg_model *model, int32_t max_rows, int32_t max_ctx, int32_t n_threads)
{
    qg_scratch s = {0};
    return measure(&s, model, max_rows, max_ctx, n_threads);
}

qg_status qg_scratch_open(qg_scratch **out, const qg_model *model, int32_t max_rows,
                          int32_t max_ctx, int32_t n_threads, qg_err *err)
{
    *out = NULL;
    if (max_rows < 1 || max_rows > QG_MAX_STEP_ROWS || max_ctx < 1 ||
        max_ctx > model->max_positions || n_threads < 1)
        return qg_fail(err, QG_ERR_ARG, "scratch for %d rows, %d positions, %d threads", max_rows,
                       max_ctx, n_threads);
    qg_scratch *s = qg_calloc(1, sizeof *s);
    if (!s)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory for scratch");
    const size_t bytes = measure(s, model, max_rows, max_ctx, n_threads);
    if (!bytes || !(s->mem = qg_big_alloc(bytes))) {
        qg_scratch_close(s);
        return qg_fail(err, QG_ERR_NOMEM, "out of memory for %zu MiB of scratch", bytes >> 20);
    }
    s->mem_bytes = bytes;
    qg_carve c = {.base = s->mem};
    lay_out(s, model, &c);
    *out = s;
    return QG_OK;
}

void qg_scratch_close(qg_scratch *scratch)
{
    if (!scratch)
        return;
    qg_big_free(scratch->mem, scratch->mem_bytes);
    qg_mfree(scratch);
}
