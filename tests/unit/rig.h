/* A model with everything that a pass needs around it, for tests that run one. */
#ifndef QG_TESTS_RIG_H
#define QG_TESTS_RIG_H

#include "model/model_int.h"

typedef struct rig {
    const qg_modeldir *dir; /* not owned */
    qg_pool *pool;
    qg_model *model;
    qg_scratch *scratch;
    qg_kv *kv;
} rig;

typedef struct rig_options {
    qg_dtype dtype, kv_dtype;
    uint32_t features;
    int threads;
    int32_t max_rows, max_ctx, n_blocks;
} rig_options;

/* Fails the test when something cannot be opened. */
void rig_open(rig *r, const qg_modeldir *dir, const rig_options *opt);
void rig_close(rig *r);
/* A row of a sequence without branches. */
qg_row rig_row(const qg_kv_seq *seq, int32_t pos, int32_t id, bool want);
/* One pass; fails the test unless it gives QG_OK. */
void rig_pass(rig *r, const qg_row *rows, int32_t n, float *hidden);
/* Feeds ids as positions [from, from + n) in one pass; hidden of all of them. */
void rig_feed(rig *r, qg_kv_seq *seq, int32_t from, const int32_t *ids, int32_t n, float *hidden);

#endif
