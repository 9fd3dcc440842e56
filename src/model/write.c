/* A model as a file of packed matrices: large things first, in the order in which they are made, so
 * that each begins at a multiple of 64 bytes; the vectors, small, at the end. */
#include "model/model_int.h"

#include "base/mem.h"
#include "fmt/st_write.h"
#include "kern/quant4.h"

#include <stdio.h>

typedef struct job {
    const qg_modeldir *dir;
    const qg_config *cfg;
    const qg_write_options *opt;
    qg_bound bound;
    qg_model m; /* only what packing looks at */
    qg_st_entry *entries;
    size_t n_entries;
    float *norms; /* [n_layers][norm_floats] as written, factors in them */
    size_t norm_floats;
    qg_equal equal;
    qg_st_writer out;
    bool tied;
} job;

static const char *const panel_names[] = {"self_attn.qkv_proj", "self_attn.o_proj",
                                          "mlp.gate_up_proj", "mlp.down_proj"};

/* ---- what will be in it ---------------------------------------------------------------------- */

static qg_st_entry *add(job *j, const char *dtype, size_t element, int n_dims, int64_t a, int64_t b,
                        int64_t c, int64_t d)
{
    qg_st_entry *e = &j->entries[j->n_entries++];
    *e = (qg_st_entry){.dtype = dtype, .n_dims = n_dims, .dim = {a, b, c, d}};
    e->bytes = element;
    for (int i = 0; i < n_dims; i++)
        e->bytes *= (size_t)e->dim[i];
    return e;
}

static void plan_output(job *j)
{
    const int64_t rows = j->cfg->vocab_size, k = j->cfg->hidden;
    if (!j->bound.stream) {
        qg_st_entry *e =
            add(j, "BF16", 2, 4, (rows + QG_NR - 1) / QG_NR, qg_k_pad(k) / 2, QG_NR, 2);
        snprintf(e->name, sizeof e->name, "%s.panels", j->tied ? "model.embed_tokens" : "lm_head");
    }
    if (j->bound.stream || !j->tied)
        snprintf(add(j, "BF16", 2, 2, rows, k, 1, 1)->name, sizeof j->entries->name,
                 "model.embed_tokens.weight");
}

static void plan_layers(job *j)
{
    const qg_config *c = j->cfg;
    const int64_t q = (int64_t)c->n_heads * c->head_dim, kv = (int64_t)c->n_kv_heads * c->head_dim;
    const int64_t n[] = {q + 2 * kv, c->hidden, 2 * (int64_t)c->intermediate, c->hidden};
    const int64_t k[] = {c->hidden, q, c->hidden, c->intermediate};
    const int64_t bytes = j->opt->dtype == QG_DTYPE_INT8 ? QG_GROUP_BYTES : QG_I4_GROUP_BYTES;
    for (int32_t i = 0; i < c->n_layers; i++)
        for (size_t p = 0; p < QG_COUNT(panel_names); p++) {
            qg_st_entry *e =
                add(j, "U8", 1, 3, (n[p] + QG_NR - 1) / QG_NR, qg_groups(k[p]), bytes, 1);
            snprintf(e->name, sizeof e->name, "model.layers.%d.%s.panels", i, panel_names[p]);
        }
}

static void plan_vector(job *j, int32_t layer, const char *name, int64_t n)
{
    qg_st_entry *e = add(j, "F32", 4, 1, n, 1, 1, 1);
    if (layer < 0)
        snprintf(e->name, sizeof e->name, "%s", name);
    else
        snprintf(e->name, sizeof e->name, "model.layers.%d.%s.weight", layer, name);
}

/* A Stream model's heads, in the order of write_heads. */
static int heads_of(const qg_bound *b, const qg_tensor **heads)
{
    int n = 0;
    for (int i = 0; b->stream && i < 2; i++) {
        heads[n++] = b->pre[i];
        heads[n++] = b->pre_norm[i];
    }
    for (int g = 0; b->stream && g < QG_N_LABEL_GROUPS; g++)
        heads[n++] = b->heads[g];
    return n;
}

enum { N_HEADS = 4 + QG_N_LABEL_GROUPS };

static void plan_vectors(job *j)
{
    const qg_config *c = j->cfg;
    const qg_tensor *heads[N_HEADS];
    plan_vector(j, -1, "model.norm.weight", c->hidden);
    for (int32_t i = 0; i < c->n_layers; i++) {
        plan_vector(j, i, "input_layernorm", c->hidden);
        plan_vector(j, i, "post_attention_layernorm", c->hidden);
        plan_vector(j, i, "self_attn.q_norm", c->head_dim);
        plan_vector(j, i, "self_attn.k_norm", c->head_dim);
    }
    for (int i = 0, n = heads_of(&j->bound, heads); i < n; i++) {
        const qg_tensor *t = heads[i];
        qg_st_entry *e = add(j, "F32", 4, t->n_dims, t->dim[0], t->dim[1], 1, 1);
        snprintf(e->name, sizeof e->name, "%s", t->name);
    }
}

/* ---- writing --------------------------------------------------------------------------------- */

static qg_status write_output(job *j, qg_pool *pool, qg_err *err)
{
    qg_matrix *to = &j->m.out;
    if (j->bound.stream)
        return QG_OK;
    *to = (qg_matrix){.gemm = j->m.gemm, .n = j->cfg->vocab_size, .k = j->cfg->hidden};
    const size_t bytes = j->m.gemm->packed_bytes(to->n, to->k);
    to->wp = qg_big_alloc(bytes);
    if (!to->wp)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory for the output matrix");
    qg_status rc = qg_pack_output(&j->m, &j->bound, pool, err);
    if (rc == QG_OK)
        rc = qg_st_put(&j->out, to->wp, bytes, err);
    qg_big_free(to->wp, bytes);
    return rc;
}

/* The embedding as rows of bf16, for look-ups. */
static qg_status write_embedding(job *j, qg_err *err)
{
    enum { ROWS = 64 };
    const size_t k = (size_t)j->cfg->hidden;
    float *f = qg_malloc(ROWS * k * sizeof *f);
    qg_bf16 *h = qg_malloc(ROWS * k * sizeof *h);
    qg_status rc = f && h ? QG_OK : qg_fail(err, QG_ERR_NOMEM, "out of memory");
    for (int64_t r = 0, n; rc == QG_OK && r < j->cfg->vocab_size; r += n) {
        n = j->cfg->vocab_size - r < ROWS ? j->cfg->vocab_size - r : ROWS;
        qg_tensor_f32(f, j->bound.embed, r * (int64_t)k, n * (int64_t)k);
        for (size_t i = 0; i < (size_t)n * k; i++)
            h[i] = qg_f32_to_bf16(f[i]);
        rc = qg_st_put(&j->out, h, (size_t)n * k * sizeof *h, err);
    }
    qg_mfree(f);
    qg_mfree(h);
    return rc;
}

static void place_layer(const job *j, qg_layer *l, qg_carve *at)
{
    const qg_config *c = j->cfg;
    const int64_t q = (int64_t)c->n_heads * c->head_dim, kv = (int64_t)c->n_kv_heads * c->head_dim;
    const int64_t n[] = {q + 2 * kv, c->hidden, 2 * (int64_t)c->intermediate, c->hidden};
    const int64_t k[] = {c->hidden, q, c->hidden, c->intermediate};
    qg_matrix *to[] = {&l->qkv, &l->o, &l->gate_up, &l->down};
    for (size_t i = 0; i < QG_COUNT(to); i++)
        *to[i] = (qg_matrix){
            .gemm = j->m.layer,
            .wp = qg_carve_take(at, 1, j->m.layer->packed_bytes(n[i], k[i])),
            .n = n[i],
            .k = k[i],
        };
}

static qg_status write_layer(job *j, qg_layer *l, size_t bytes, int32_t i, qg_pool *pool,
                             qg_err *err)
{
    const qg_bound_layer *b = &j->bound.layers[i];
    const size_t hidden = (size_t)j->cfg->hidden;
    l->norm_in = j->norms + (size_t)i * j->norm_floats;
    l->norm_post = l->norm_in + hidden;
    l->q_norm = l->norm_post + hidden;
    l->k_norm = l->q_norm + j->cfg->head_dim;
    if (j->opt->stats) {
        const float *means[QG_N_INPUTS];
        qg_stats_means(j->opt->stats, i, means);
        QG_TRY(qg_equal_search(&j->equal, j->cfg, b, means, j->m.layer, pool, err));
    } else {
        qg_equal_layer(&j->equal, j->cfg, b, pool);
    }
    memset(l->qkv.wp, 0, bytes);
    QG_TRY(qg_pack_layer(&j->m, l, b, &j->equal, pool, err));
    return qg_st_put(&j->out, l->qkv.wp, bytes, err);
}

static qg_status write_layers(job *j, qg_pool *pool, qg_err *err)
{
    qg_layer l = {0};
    qg_carve at = {0};
    place_layer(j, &l, &at);
    const size_t bytes = at.at;
    uint8_t *mem = at.overflow ? NULL : qg_big_alloc(bytes);
    if (!mem)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory for a layer");
    at = (qg_carve){.base = mem};
    place_layer(j, &l, &at);
    qg_status rc = QG_OK;
    for (int32_t i = 0; rc == QG_OK && i < j->cfg->n_layers; i++)
        rc = write_layer(j, &l, bytes, i, pool, err);
    qg_big_free(mem, bytes);
    return rc;
}

static qg_status write_f32(job *j, const qg_tensor *t, qg_err *err)
{
    enum { PIECE = 1024 };
    float v[PIECE];
    const int64_t n = t->dim[0] * t->dim[1];
    for (int64_t i = 0; i < n; i += PIECE) {
        const int64_t m = n - i < PIECE ? n - i : PIECE;
        qg_tensor_f32(v, t, i, m);
        QG_TRY(qg_st_put(&j->out, v, (size_t)m * sizeof *v, err));
    }
    return QG_OK;
}

static qg_status write_vectors(job *j, qg_err *err)
{
    const qg_tensor *heads[N_HEADS];
    QG_TRY(write_f32(j, j->bound.norm, err));
    QG_TRY(qg_st_put(&j->out, j->norms,
                     (size_t)j->cfg->n_layers * j->norm_floats * sizeof *j->norms, err));
    for (int i = 0, n = heads_of(&j->bound, heads); i < n; i++)
        QG_TRY(write_f32(j, heads[i], err));
    return QG_OK;
}

static qg_status write_all(job *j, qg_pool *pool, qg_err *err)
{
    QG_TRY(write_output(j, pool, err));
    if (j->bound.stream || !j->tied)
        QG_TRY(write_embedding(j, err));
    QG_TRY(write_layers(j, pool, err));
    return write_vectors(j, err);
}

/* ---- the whole ------------------------------------------------------------------------------- */

static qg_status check(const job *j, qg_err *err)
{
    if (j->cfg->packed != QG_DTYPE_AUTO)
        return qg_fail(err, QG_ERR_UNSUPPORTED, "%s: quantised already; use what it was made from",
                       qg_modeldir_name(j->dir));
    if (j->opt->dtype != QG_DTYPE_INT8 && j->opt->dtype != QG_DTYPE_INT4)
        return qg_fail(err, QG_ERR_ARG, "a model is quantised to int8 or int4");
    return QG_OK;
}

static qg_status prepare(job *j, qg_err *err)
{
    const qg_config *c = j->cfg;
    const size_t layers = (size_t)c->n_layers;
    qg_settle_lm_head(&j->bound, j->dir);
    j->tied = c->tied && !j->bound.lm_head_differs;
    j->m = (qg_model){.dir = j->dir,
                      .cfg = c,
                      .gemm = qg_gemm_pick(QG_W_BF16, j->opt->features),
                      .attn = qg_attn_pick(QG_W_BF16, j->opt->features),
                      .layer = qg_gemm_pick(j->opt->dtype == QG_DTYPE_INT8 ? QG_W_I8 : QG_W_I4,
                                            j->opt->features)};
    j->norm_floats = 2 * (size_t)c->hidden + 2 * (size_t)c->head_dim;
    j->norms = qg_calloc(layers, j->norm_floats * sizeof *j->norms);
    j->entries = qg_calloc(8 * layers + 4 + N_HEADS, sizeof *j->entries);
    if (!j->norms || !j->entries)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    plan_output(j);
    plan_layers(j);
    plan_vectors(j);
    return qg_equal_open(&j->equal, c, err);
}

qg_status qg_model_write(const qg_modeldir *dir, const char *path, const qg_write_options *opt,
                         qg_pool *pool, bool *tied, qg_err *err)
{
    job j = {.dir = dir, .cfg = qg_modeldir_config(dir), .opt = opt};
    QG_TRY(check(&j, err));
    QG_TRY(qg_bind(&j.bound, dir, err));
    qg_status rc = prepare(&j, err);
    if (rc == QG_OK)
        rc = qg_st_create(&j.out, path, j.entries, j.n_entries,
                          "\"format\":\"pt\",\"made_by\":\"qguard quantize\"", err);
    if (rc == QG_OK) {
        rc = write_all(&j, pool, err);
        if (rc == QG_OK)
            rc = qg_st_finish(&j.out, err);
        else
            qg_st_abort(&j.out);
    }
    *tied = j.tied;
    qg_equal_close(&j.equal);
    qg_mfree(j.norms);
    qg_mfree(j.entries);
    qg_unbind(&j.bound);
    return rc;
}
