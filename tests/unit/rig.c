#include "rig.h"

#include "unit.h"

void rig_open(rig *r, const qg_modeldir *dir, const rig_options *opt)
{
    qg_err err = {""};
    qg_model_options mo = {
        .dtype = opt->dtype, .kv_dtype = opt->kv_dtype, .features = opt->features};
    *r = (rig){.dir = dir};
    qg_status rc = qg_pool_open(&r->pool, opt->threads, &err);
    if (rc == QG_OK)
        rc = qg_model_open(&r->model, dir, &mo, r->pool, &err);
    if (rc == QG_OK)
        rc =
            qg_scratch_open(&r->scratch, r->model, opt->max_rows, opt->max_ctx, opt->threads, &err);
    if (rc == QG_OK) {
        qg_kv_shape shape = qg_model_kv_shape(r->model);
        rc = qg_kv_open(&r->kv, &shape, opt->n_blocks, &err);
    }
    if (rc != QG_OK)
        fail_msg("%s", err.msg);
}

void rig_close(rig *r)
{
    qg_kv_close(r->kv);
    qg_scratch_close(r->scratch);
    qg_model_close(r->model);
    qg_pool_close(r->pool);
    *r = (rig){0};
}

qg_row rig_row(const qg_kv_seq *seq, int32_t pos, int32_t id, bool want)
{
    return (qg_row){
        .id = id, .pos = pos, .slot = pos, .tree_base = INT32_MAX, .seq = seq, .want = want};
}

void rig_pass(rig *r, const qg_row *rows, int32_t n, float *hidden)
{
    assert_int_equal(qg_model_forward(r->model, r->scratch, r->pool, rows, n, hidden, NULL, NULL),
                     QG_OK);
}

void rig_feed(rig *r, qg_kv_seq *seq, int32_t from, const int32_t *ids, int32_t n, float *hidden)
{
    qg_row *rows = calloc((size_t)n, sizeof *rows);
    assert_non_null(rows);
    assert_int_equal(qg_kv_seq_grow(seq, from + n), QG_OK);
    for (int32_t i = 0; i < n; i++)
        rows[i] = rig_row(seq, from + i, ids[i], true);
    rig_pass(r, rows, n, hidden);
    free(rows);
}
