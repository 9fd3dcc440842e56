/* Logits of the whole vocabulary, or of a few ids through a small matrix of their own. */
#include "model/model_int.h"

#include "base/mem.h"

struct qg_head {
    qg_matrix w; /* [n_ids][hidden] */
};

void qg_model_logits(const qg_model *model, qg_scratch *scratch, qg_pool *pool, const float *hidden,
                     int32_t n, float *logits, int64_t ldl)
{
    int64_t k = model->cfg->hidden;
    for (int32_t at = 0; at < n; at += scratch->max_rows) {
        int32_t rows = n - at < scratch->max_rows ? n - at : scratch->max_rows;
        model->gemm->prep(scratch->xp, hidden + at * k, k, rows, k, 0, k);
        qg_product(scratch, pool, logits + at * ldl, ldl, scratch->xp, &model->out, rows, 1, 0,
                   qg_panels(&model->out));
    }
}

/* The rows of ids, in the element type that pack reads.  Unpacking is exact and rounding a value
 * that came from bf16 changes nothing, so packing them again gives the same numbers. */
static void *gather_rows(const qg_model *m, const int32_t *ids, int32_t n_ids)
{
    size_t k = (size_t)m->cfg->hidden, n = (size_t)n_ids;
    bool f32 = m->gemm->format == QG_W_F32;
    float *row = qg_malloc(k * sizeof *row);
    void *out = NULL;
    size_t bytes;
    if (!row || !qg_mul_size(n, k * (f32 ? sizeof(float) : sizeof(qg_bf16)), &bytes) ||
        !(out = qg_malloc(bytes)))
        goto done;
    for (size_t i = 0; i < n; i++) {
        float *dst = f32 ? (float *)out + i * k : row;
        m->gemm->unpack_row(dst, m->out.wp, m->cfg->hidden, ids[i]);
        for (size_t j = 0; !f32 && j < k; j++)
            ((qg_bf16 *)out)[i * k + j] = qg_f32_to_bf16(row[j]);
    }
done:
    qg_mfree(row);
    return out;
}

qg_status qg_head_open(qg_head **out, const qg_model *model, const int32_t *ids, int32_t n_ids,
                       qg_err *err)
{
    *out = NULL;
    if (n_ids < 1)
        return qg_fail(err, QG_ERR_ARG, "a head of %d ids", n_ids);
    for (int32_t i = 0; i < n_ids; i++)
        if (ids[i] < 0 || ids[i] >= model->cfg->vocab_size)
            return qg_fail(err, QG_ERR_ARG, "id %d is not in [0, %d)", ids[i],
                           model->cfg->vocab_size);
    void *rows = gather_rows(model, ids, n_ids);
    qg_head *h = qg_calloc(1, sizeof *h);
    if (rows && h) {
        h->w = (qg_matrix){.gemm = model->gemm, .n = n_ids, .k = model->cfg->hidden};
        h->w.wp = qg_aligned_alloc(64, model->gemm->packed_bytes(h->w.n, h->w.k));
    }
    if (!rows || !h || !h->w.wp) {
        qg_mfree(rows);
        qg_head_close(h);
        return qg_fail(err, QG_ERR_NOMEM, "out of memory for a head of %d ids", n_ids);
    }
    model->gemm->pack(h->w.wp, rows, h->w.n, h->w.k, 0, qg_panels(&h->w));
    qg_mfree(rows);
    *out = h;
    return QG_OK;
}

void qg_head_close(qg_head *head)
{
    if (!head)
        return;
    qg_mfree(head->w.wp);
    qg_mfree(head);
}

void qg_head_logits(const qg_head *head, const qg_model *model, qg_scratch *scratch,
                    const float *hidden, int32_t n, float *logits)
{
    const qg_gemm *gemm = model->gemm;
    int64_t k = head->w.k, ids = head->w.n;
    for (int32_t at = 0; at < n; at += scratch->max_rows) {
        int32_t rows = n - at < scratch->max_rows ? n - at : scratch->max_rows;
        gemm->prep(scratch->xp, hidden + at * k, k, rows, k, 0, k);
        gemm->run(logits + at * ids, ids, scratch->xp, head->w.wp, rows, ids, k, 0,
                  qg_panels(&head->w));
    }
}
