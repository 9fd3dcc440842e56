/* The heads of a Stream model, after the final norm:
 *
 *   hidden [hidden] -> pre [2 * inner]: the replies' half, the prompts' half
 *          each half -> rmsnorm -> risk | category
 *
 * No bias, no activation in between (the report's section 4; every public implementation agrees).
 */
#include "model/model_int.h"

#include "base/mem.h"

struct qg_stream_heads {
    int32_t inner, n_labels[QG_N_LABEL_GROUPS];
    qg_matrix pre;    /* [2 * inner][hidden] */
    qg_matrix out[2]; /* [risk + category][inner], replies and prompts */
    float *norm[2];   /* [inner] */
    uint8_t *mem;     /* all of the above */
};

static int32_t n_half(const int32_t *n_labels, int half)
{
    return n_labels[2 * half] + n_labels[2 * half + 1];
}

static void lay_out(qg_stream_heads *h, const qg_model *m, qg_carve *c)
{
    qg_matrix *all[] = {&h->pre, &h->out[0], &h->out[1]};
    for (size_t i = 0; i < QG_COUNT(all); i++)
        all[i]->wp = qg_carve_take(c, 1, m->gemm->packed_bytes(all[i]->n, all[i]->k));
    for (int half = 0; half < 2; half++)
        h->norm[half] = qg_carve_take(c, (size_t)h->inner, sizeof(float));
}

/* Packs two tensors, one below the other, through a copy in the kernel's element type: the heads
 * are half a million numbers, so nothing is won by doing it in place. */
static qg_status pack_two(const qg_model *m, const qg_matrix *to, const qg_tensor *a,
                          const qg_tensor *b, qg_err *err)
{
    const qg_tensor *parts[] = {a, b};
    size_t n = (size_t)to->n * (size_t)to->k;
    float *f = qg_malloc(n * sizeof *f);
    qg_bf16 *h = qg_malloc(n * sizeof *h);
    if (f && h) {
        float *at = f;
        for (int i = 0; i < 2; i++) {
            int64_t count = parts[i]->dim[0] * parts[i]->dim[1];
            qg_tensor_f32(at, parts[i], 0, count);
            at += count;
        }
        for (size_t i = 0; i < n; i++)
            h[i] = qg_f32_to_bf16(f[i]);
        const void *rows = m->gemm->format == QG_W_F32 ? (const void *)f : (const void *)h;
        m->gemm->pack(to->wp, rows, to->n, to->k, 0, qg_panels(to));
    }
    bool ok = f && h;
    qg_mfree(f);
    qg_mfree(h);
    return ok ? QG_OK : qg_fail(err, QG_ERR_NOMEM, "out of memory for the heads");
}

qg_status qg_heads_pack(qg_model *m, const qg_bound *b, qg_err *err)
{
    qg_stream_heads *h = qg_calloc(1, sizeof *h);
    if (!h)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory for the heads");
    m->heads = h;
    h->inner = b->inner;
    memcpy(h->n_labels, b->n_labels, sizeof h->n_labels);
    h->pre = (qg_matrix){.gemm = m->gemm, .n = 2 * (int64_t)h->inner, .k = m->cfg->hidden};
    for (int half = 0; half < 2; half++)
        h->out[half] = (qg_matrix){.gemm = m->gemm, .n = n_half(h->n_labels, half), .k = h->inner};
    qg_carve c = {0};
    lay_out(h, m, &c);
    if (c.overflow || !(h->mem = qg_aligned_alloc(64, c.at)))
        return qg_fail(err, QG_ERR_NOMEM, "out of memory for the heads");
    c = (qg_carve){.base = h->mem};
    lay_out(h, m, &c);
    QG_TRY(pack_two(m, &h->pre, b->pre[0], b->pre[1], err));
    for (int half = 0; half < 2; half++) {
        qg_tensor_f32(h->norm[half], b->pre_norm[half], 0, h->inner);
        QG_TRY(pack_two(m, &h->out[half], b->heads[2 * half], b->heads[2 * half + 1], err));
    }
    return QG_OK;
}

void qg_heads_free(qg_stream_heads *h)
{
    if (!h)
        return;
    qg_mfree(h->mem);
    qg_mfree(h);
}

int32_t qg_heads_inner(const qg_stream_heads *h)
{
    return h ? h->inner : 0;
}

bool qg_model_is_stream(const qg_model *model)
{
    return model->heads != NULL;
}

int32_t qg_model_n_labels(const qg_model *model, qg_label_group group)
{
    return model->heads ? model->heads->n_labels[group] : 0;
}

/* One half: norm in place, then its two heads side by side into out. */
static void half_heads(const qg_model *m, qg_scratch *s, qg_pool *pool, int half, int32_t rows,
                       float *out, int64_t ldo)
{
    const qg_stream_heads *h = m->heads;
    float *x = s->y + (int64_t)half * h->inner;
    for (int32_t i = 0; i < rows; i++)
        m->vec->rmsnorm(x + i * s->ldy, x + i * s->ldy, h->norm[half], h->inner, m->cfg->rms_eps);
    m->gemm->prep(s->xp, x, s->ldy, rows, h->inner, 0, h->inner);
    qg_product(s, pool, out, ldo, s->xp, &h->out[half], rows, 1, 0, qg_panels(&h->out[half]));
}

void qg_model_heads(const qg_model *model, qg_scratch *scratch, qg_pool *pool, const float *hidden,
                    int32_t n, float *out)
{
    const qg_stream_heads *h = model->heads;
    int64_t k = model->cfg->hidden, replies = n_half(h->n_labels, 0),
            width = replies + n_half(h->n_labels, 1);
    for (int32_t at = 0; at < n; at += scratch->max_rows) {
        int32_t rows = n - at < scratch->max_rows ? n - at : scratch->max_rows;
        model->gemm->prep(scratch->xp, hidden + at * k, k, rows, k, 0, k);
        qg_product(scratch, pool, scratch->y, scratch->ldy, scratch->xp, &h->pre, rows, 1, 0,
                   qg_panels(&h->pre));
        half_heads(model, scratch, pool, 0, rows, out + at * width, width);
        half_heads(model, scratch, pool, 1, rows, out + at * width + replies, width);
    }
}
