#include "model/model_int.h"

#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void qg_model_choose_rows(qg_model *m, const qg_model_options *opt)
{
    qg_wformat format = opt->dtype == QG_DTYPE_F32 ? QG_W_F32 : QG_W_BF16;
    m->gemm = m->layer = qg_gemm_pick(format, opt->features);
    if (opt->dtype == QG_DTYPE_INT8)
        m->layer = qg_gemm_pick(QG_W_I8, opt->features);
    if (opt->dtype == QG_DTYPE_INT4)
        m->layer = qg_gemm_pick(QG_W_I4, opt->features);
    m->attn = qg_attn_pick(opt->kv_dtype == QG_DTYPE_INT8 ? QG_W_I8 : format, opt->features);
    m->vec = qg_vec_pick(opt->features);
}

qg_status qg_model_settle_dtype(const qg_config *config, qg_dtype *dtype, qg_err *err)
{
    const char *name = config->packed == QG_DTYPE_INT8 ? "int8" : "int4";
    if (*dtype == QG_DTYPE_AUTO)
        *dtype = config->packed != QG_DTYPE_AUTO ? config->packed : QG_DTYPE_BF16;
    if (config->packed != QG_DTYPE_AUTO && config->packed != *dtype)
        return qg_fail(err, QG_ERR_UNSUPPORTED,
                       "config.json: the model was quantised to %s and can be computed in nothing "
                       "else; use the model that it was made from",
                       name);
    return QG_OK;
}

qg_status qg_model_settle_kv_dtype(qg_dtype dtype, qg_dtype *kv_dtype, qg_err *err)
{
    if (*kv_dtype == QG_DTYPE_AUTO)
        *kv_dtype = dtype == QG_DTYPE_F32 ? QG_DTYPE_F32 : QG_DTYPE_BF16;
    if (dtype == QG_DTYPE_F32 && *kv_dtype != QG_DTYPE_F32)
        return qg_fail(err, QG_ERR_UNSUPPORTED,
                       "kv_dtype: with dtype float32, K and V are float32, too");
    if (dtype != QG_DTYPE_F32 && *kv_dtype != QG_DTYPE_BF16 && *kv_dtype != QG_DTYPE_INT8)
        return qg_fail(err, QG_ERR_UNSUPPORTED, "kv_dtype: K and V are kept in bf16 or int8");
    return QG_OK;
}

void qg_model_rows(const qg_model_options *opt, char *out, size_t n)
{
    qg_model m = {0};
    qg_model_choose_rows(&m, opt);
    snprintf(out, n, "%s %s %s %s", m.gemm->name, m.layer->name, m.attn->name, m.vec->name);
}

static qg_status set_up(qg_model *m, const qg_model_options *opt, qg_err *err)
{
    const qg_config *c = m->cfg;
    if (opt->dtype != QG_DTYPE_AUTO && opt->dtype != QG_DTYPE_F32 && opt->dtype != QG_DTYPE_BF16 &&
        opt->dtype != QG_DTYPE_INT8 && opt->dtype != QG_DTYPE_INT4)
        return qg_fail(err, QG_ERR_UNSUPPORTED,
                       "only float32, bfloat16, int8 and int4 are supported");
    if (opt->max_positions < 0 || opt->max_positions > c->max_positions)
        return qg_fail(err, QG_ERR_ARG, "%d positions asked for, the model has %d",
                       opt->max_positions, c->max_positions);
    m->max_positions = opt->max_positions ? opt->max_positions : c->max_positions;
    qg_model_options settled = *opt;
    QG_TRY(qg_model_settle_dtype(c, &settled.dtype, err));
    QG_TRY(qg_model_settle_kv_dtype(settled.dtype, &settled.kv_dtype, err));
    qg_model_choose_rows(m, &settled);
    m->attn_shape = (qg_attn_shape){
        .n_heads = c->n_heads,
        .n_kv_heads = c->n_kv_heads,
        .head_dim = c->head_dim,
        .scale = 1.0f / sqrtf((float)c->head_dim),
    };
    m->layers = qg_calloc((size_t)c->n_layers, sizeof *m->layers);
    if (!m->layers)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory for the layers");
    return QG_OK;
}

qg_status qg_model_open(qg_model **out, const qg_modeldir *dir, const qg_model_options *opt,
                        qg_pool *pool, qg_err *err)
{
    qg_bound bound;
    *out = NULL;
    QG_TRY(qg_bind(&bound, dir, err));
    qg_status rc = QG_ERR_NOMEM;
    qg_model *m = qg_calloc(1, sizeof *m);
    if (!m) {
        qg_fail(err, rc, "out of memory for the model");
        goto out;
    }
    m->dir = dir;
    m->cfg = qg_modeldir_config(dir);
    rc = set_up(m, opt, err);
    if (rc == QG_OK)
        rc = qg_pack(m, &bound, opt->packed, pool, err);
    if (rc == QG_OK)
        *out = m;
    else
        qg_model_close(m);
out:
    qg_unbind(&bound);
    return rc;
}

qg_status qg_model_measure(const qg_config *config, const qg_model_options *opt, int32_t max_rows,
                           int32_t max_ctx, int32_t n_threads, qg_model_size *out, qg_err *err)
{
    qg_model m = {.cfg = config};
    m.attn_shape = (qg_attn_shape){config->n_heads, config->n_kv_heads, config->head_dim, 1};
    m.layers = qg_calloc((size_t)config->n_layers, sizeof *m.layers);
    if (!m.layers)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    qg_model_choose_rows(&m, opt);
    const qg_kv_shape shape = qg_model_kv_shape(&m);
    *out = (qg_model_size){
        .weights = qg_pack_bytes(&m, strcmp(config->architecture, "Qwen3ForGuardModel") == 0),
        .scratch = qg_scratch_bytes(&m, max_rows, max_ctx, n_threads),
        .kv_block = qg_kv_block_bytes(&shape),
    };
    qg_mfree(m.layers);
    return QG_OK;
}

qg_status qg_model_check(const qg_modeldir *dir, qg_err *err)
{
    qg_bound bound;
    QG_TRY(qg_bind(&bound, dir, err));
    qg_unbind(&bound);
    return QG_OK;
}

void qg_model_close(qg_model *model)
{
    if (!model)
        return;
    qg_heads_free(model->heads);
    if (!model->mem_borrowed)
        qg_big_free(model->mem, model->mem_bytes);
    qg_mfree(model->layers);
    qg_mfree(model);
}

const qg_config *qg_model_config(const qg_model *model)
{
    return model->cfg;
}

qg_slice qg_model_packed(const qg_model *model)
{
    return qg_slice_of((const char *)model->mem, model->mem_bytes);
}

uint64_t qg_model_weight_bytes(const qg_model *model)
{
    return model->mem_bytes + model->file_bytes + (model->embed ? model->embed->bytes : 0);
}

const char *qg_model_kernel(const qg_model *model)
{
    return model->layer->name;
}

const char *qg_model_warning(const qg_model *model)
{
    return model->lm_head_differs
               ? "tie_word_embeddings is true, but lm_head.weight differs from the embedding: "
                 "lm_head.weight is used for the output"
               : NULL;
}

qg_kv_shape qg_model_kv_shape(const qg_model *model)
{
    return (qg_kv_shape){.n_layers = model->cfg->n_layers,
                         .n_kv_heads = model->cfg->n_kv_heads,
                         .head_dim = model->cfg->head_dim,
                         .format = model->attn->kv_format};
}
