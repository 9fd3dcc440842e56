/* A pass: rows of tokens from any mix of sequences through all layers. */
#include "model/model_int.h"

#include <math.h>

/* ---- plan ------------------------------------------------------------------------------------ */

static bool same_shape(qg_kv_shape a, qg_kv_shape b)
{
    return a.n_layers == b.n_layers && a.n_kv_heads == b.n_kv_heads && a.head_dim == b.head_dim &&
           a.format == b.format;
}

/* The block pointers of seq, at layer 0; rows of one sequence share them.  NULL: not a sequence of
 * this model. */
static const qg_seq_blocks *plan_seq(qg_pass *p, const qg_kv_seq *seq)
{
    qg_scratch *s = p->s;
    for (int32_t i = p->n_seqs - 1; i >= 0; i--) /* nearly always the last one */
        if (s->seqs[i].seq == seq)
            return &s->seqs[i];
    if (!seq || !seq->kv || !same_shape(qg_kv_shape_of(seq->kv), qg_model_kv_shape(p->m)))
        return NULL;
    qg_seq_blocks *b = &s->seqs[p->n_seqs++];
    *b = (qg_seq_blocks){.seq = seq, .first = p->n_blocks, .n = seq->n_blocks};
    if (b->n > s->seq_blocks)
        b->n = s->seq_blocks;
    for (int32_t i = 0; i < b->n; i++)
        s->blocks[p->n_blocks++] = qg_kv_layer(seq->kv, seq->blocks[i], 0);
    return b;
}

static bool row_is_valid(const qg_pass *p, const qg_row *r, int32_t n_slots)
{
    if (r->id < 0 || r->id >= p->m->cfg->vocab_size || r->pos < 0 || r->pos >= p->s->max_ctx ||
        r->tree_base < 0 || r->slot < 0 || r->slot >= n_slots)
        return false;
    if (r->pos < r->tree_base)
        return r->slot == r->pos;
    if (!r->path || r->tree_base > n_slots)
        return false;
    int32_t n = r->pos - r->tree_base + 1;
    for (int32_t i = 0; i < n; i++)
        if (r->path[i] < 0 || r->path[i] >= n_slots)
            return false;
    return r->path[n - 1] == r->slot;
}

static qg_status plan(qg_pass *p)
{
    qg_scratch *s = p->s;
    int64_t width = (int64_t)p->m->cfg->n_heads * p->m->cfg->head_dim;
    for (int32_t i = 0; i < p->n; i++) {
        const qg_row *r = &p->row[i];
        const qg_seq_blocks *b = plan_seq(p, r->seq);
        if (!b || !row_is_valid(p, r, b->n * QG_KV_BLOCK))
            return QG_ERR_ARG;
        s->rows[i] = (qg_attn_row){.q = s->y + i * s->ldy,
                                   .out = s->a + i * width,
                                   .blocks = (const void *const *)(s->blocks + b->first),
                                   .n_ctx = r->pos + 1,
                                   .tree_base = r->tree_base,
                                   .path = r->path};
        if (r->want)
            s->wanted[p->n_wanted++] = i;
    }
    return QG_OK;
}

static void step_blocks(qg_pass *p)
{
    qg_kv_shape shape = qg_model_kv_shape(p->m);
    size_t layer_bytes = qg_kv_block_bytes(&shape) / (size_t)shape.n_layers;
    for (size_t i = 0; i < p->n_blocks; i++)
        p->s->blocks[i] += layer_bytes;
}

/* ---- run ------------------------------------------------------------------------------------- */

static void tap(const qg_pass *p)
{
    if (p->s->tap)
        p->s->tap(p->s->tap_arg, p->layer_at, p->s->x);
}

static bool all_finite(const float *v, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(v[i]))
            return false;
    return true;
}

qg_status qg_model_forward(const qg_model *model, qg_scratch *scratch, qg_pool *pool,
                           const qg_row *rows, int32_t n_rows, float *hidden, bool (*stop)(void *),
                           void *stop_arg)
{
    qg_pass p = {
        .m = model, .s = scratch, .pool = pool, .row = rows, .n = n_rows, .hidden = hidden};
    if (n_rows < 1 || n_rows > scratch->max_rows)
        return QG_ERR_ARG;
    QG_TRY(plan(&p));
    qg_pass_begin(&p);
    for (p.layer_at = 0; p.layer_at < model->cfg->n_layers; p.layer_at++) {
        if (stop && stop(stop_arg))
            return QG_ERR_CANCELLED;
        p.layer = &model->layers[p.layer_at];
        if (p.layer_at > 0) {
            qg_pass_add_norm(&p, p.layer->norm_in);
            step_blocks(&p);
        }
        tap(&p);
        qg_pass_layer(&p);
    }
    qg_pass_end(&p);
    return all_finite(hidden, (int64_t)p.n_wanted * model->cfg->hidden) ? QG_OK : QG_ERR_INTERNAL;
}
