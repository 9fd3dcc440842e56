/* A model directory in, one of packed 8-bit or 4-bit matrices out. */
#include "engine/engine_int.h"

#include "base/cpu.h"
#include "base/limits.h"
#include "base/mem.h"
#include "fmt/dirlist.h"
#include "fmt/outdir.h"
#include "text/json.h"

enum { ROWS = 256 /* of a pass */ };

void qg_quantize_options_init(qg_quantize_options *opt)
{
    *opt = (qg_quantize_options){.size = sizeof *opt, .dtype = QG_DTYPE_INT8};
}

/* ---- calibration ----------------------------------------------------------------------------- */

/* What it takes to run texts through a model: no scheduler, one text after the other, so that the
 * passes, and with them the sums, are the same each time. */
typedef struct runner {
    qg_model *model;
    qg_scratch *scratch;
    qg_kv *kv;
    qg_row *rows;  /* [ROWS] */
    float *hidden; /* [ROWS][hidden] */
    qg_pool *pool; /* not owned */
} runner;

static void close_runner(runner *r)
{
    qg_kv_close(r->kv);
    qg_scratch_close(r->scratch);
    qg_mfree(r->rows);
    qg_mfree(r->hidden);
    qg_model_close(r->model);
}

static qg_status open_runner(runner *r, const qg_modeldir *dir, uint32_t features, int32_t longest,
                             qg_pool *pool, qg_err *err)
{
    const qg_model_options mo = {.dtype = QG_DTYPE_BF16, .features = features};
    r->pool = pool;
    QG_TRY(qg_model_open(&r->model, dir, &mo, pool, err));
    const qg_kv_shape shape = qg_model_kv_shape(r->model);
    QG_TRY(qg_kv_open(&r->kv, &shape, longest / QG_KV_BLOCK + 1, err));
    QG_TRY(qg_scratch_open(&r->scratch, r->model, ROWS, longest, qg_pool_threads(pool), err));
    const size_t hidden = (size_t)qg_model_config(r->model)->hidden;
    r->rows = qg_calloc(ROWS, sizeof *r->rows);
    r->hidden = qg_calloc(ROWS, hidden * sizeof *r->hidden);
    return r->rows && r->hidden ? QG_OK : qg_fail(err, QG_ERR_NOMEM, "out of memory");
}

static qg_status run_text(runner *r, const int32_t *ids, int32_t n, qg_err *err)
{
    qg_kv_seq seq = {.kv = r->kv};
    qg_status rc = qg_kv_seq_grow(&seq, n);
    for (int32_t at = 0, m; rc == QG_OK && at < n; at += m) {
        m = n - at < ROWS ? n - at : ROWS;
        for (int32_t i = 0; i < m; i++)
            r->rows[i] = (qg_row){.id = ids[at + i],
                                  .pos = at + i,
                                  .slot = at + i,
                                  .tree_base = INT32_MAX,
                                  .seq = &seq,
                                  .want = true}; /* or the last layer would see few rows */
        rc = qg_model_forward(r->model, r->scratch, r->pool, r->rows, m, r->hidden, NULL, NULL);
    }
    qg_kv_seq_free(&seq);
    return rc ? qg_fail(err, rc, "a calibration text cannot be computed") : QG_OK;
}

static qg_status check_texts(const qg_quantize_options *opt, const qg_config *c, int32_t *longest,
                             qg_err *err)
{
    *longest = 0;
    for (size_t i = 0; i < opt->n_texts; i++) {
        if (!opt->n_ids[i] || opt->n_ids[i] > (size_t)c->max_positions)
            return qg_fail(err, QG_ERR_TOO_LONG,
                           "calibration text %zu has %zu tokens; must have 1 to %d", i + 1,
                           opt->n_ids[i], c->max_positions);
        *longest = (int32_t)opt->n_ids[i] > *longest ? (int32_t)opt->n_ids[i] : *longest;
    }
    return QG_OK;
}

static qg_status calibrate(qg_stats_inputs **stats, const qg_modeldir *dir,
                           const qg_quantize_options *opt, uint32_t features, qg_pool *pool,
                           qg_err *err)
{
    runner r = {0};
    int32_t longest;
    QG_TRY(check_texts(opt, qg_modeldir_config(dir), &longest, err));
    QG_TRY(qg_stats_open(stats, qg_modeldir_config(dir), ROWS, err));
    qg_status rc = open_runner(&r, dir, features, longest, pool, err);
    if (rc == QG_OK)
        qg_scratch_watch(r.scratch, *stats);
    for (size_t i = 0; rc == QG_OK && i < opt->n_texts; i++) {
        rc = run_text(&r, opt->ids[i], (int32_t)opt->n_ids[i], err);
        if (rc)
            qg_fail_prefix(err, rc, "text %zu", i + 1);
    }
    close_runner(&r);
    return rc;
}

/* ---- the directory --------------------------------------------------------------------------- */

static qg_status copy_text_files(qg_modeldir *dir, const char *out, qg_err *err)
{
    static const char *const names[] = {"generation_config.json", "tokenizer.json",
                                        "tokenizer_config.json", "chat_template.jinja",
                                        "chat_template.json"};
    for (size_t i = 0; i < QG_COUNT(names); i++) {
        qg_slice bytes;
        if (!qg_modeldir_has(dir, names[i]))
            continue;
        QG_TRY(qg_modeldir_file(dir, names[i], &bytes, err));
        QG_TRY(qg_outdir_write(out, names[i], bytes, err));
    }
    return QG_OK;
}

/* The source's, with what was done to it. */
static qg_status write_config(qg_modeldir *dir, const char *out, qg_dtype dtype, bool tied,
                              qg_err *err)
{
    qg_slice bytes;
    json_t *root;
    QG_TRY(qg_modeldir_file(dir, "config.json", &bytes, err));
    QG_TRY(qg_json_parse(bytes, 0, &root, err));
    json_t *how = json_pack("{s:s, s:i, s:s, s:i}", "quant_method", "qguard", "version", 1,
                            "format", dtype == QG_DTYPE_INT8 ? "int8" : "int4", "group_size", 128);
    bool ok = json_object_set_new(root, "quantization_config", how) == 0 &&
              json_object_set_new(root, "tie_word_embeddings", json_boolean(tied)) == 0;
    char *text = ok ? qg_json_dump(root) : NULL;
    qg_status rc = text ? qg_outdir_write(out, "config.json", qg_str(text), err)
                        : qg_fail(err, QG_ERR_NOMEM, "out of memory");
    qg_mfree(text);
    json_decref(root);
    return rc;
}

static qg_status write_dir(qg_modeldir *dir, const qg_quantize_options *opt, uint32_t features,
                           qg_pool *pool, qg_err *err)
{
    qg_stats_inputs *stats = NULL;
    bool tied = false;
    qg_status rc = qg_outdir_make(opt->out, err);
    if (rc == QG_OK && opt->n_texts)
        rc = calibrate(&stats, dir, opt, features, pool, err);
    const qg_write_options wo = {.dtype = opt->dtype, .features = features, .stats = stats};
    char *path = qg_path_join(opt->out, "model.safetensors");
    if (rc == QG_OK && !path)
        rc = qg_fail(err, QG_ERR_NOMEM, "out of memory");
    if (rc == QG_OK)
        rc = qg_model_write(dir, path, &wo, pool, &tied, err);
    if (rc == QG_OK)
        rc = copy_text_files(dir, opt->out, err);
    if (rc == QG_OK)
        rc = write_config(dir, opt->out, opt->dtype, tied, err);
    qg_mfree(path);
    qg_stats_close(stats);
    return rc;
}

qg_status qg_quantize(const qg_quantize_options *opt, qg_err *err)
{
    uint32_t mask = UINT32_MAX;
    qg_modeldir *dir = NULL;
    qg_pool *pool = NULL;
    qg_demo demo;
    if (!opt || opt->size != sizeof *opt || !opt->out)
        return qg_fail(err, QG_ERR_ARG, "options: size or out is not set");
    if (opt->n_threads < 0 || opt->n_threads > QG_MAX_THREADS)
        return qg_fail(err, QG_ERR_ARG, "threads: %d is not in 0..%d", opt->n_threads,
                       QG_MAX_THREADS);
    if (opt->cpu)
        QG_TRY(qg_cpu_parse(opt->cpu, &mask, err));
    qg_status rc = qg_demo_find(&demo, opt->model)
                       ? qg_modeldir_open_files(&dir, demo.files, demo.n, QG_MODELDIR_TENSORS, err)
                       : qg_modeldir_open(&dir, opt->model, QG_MODELDIR_TENSORS, err);
    if (rc == QG_OK)
        rc = qg_pool_open(&pool, opt->n_threads ? opt->n_threads : qg_cpu_count(), err);
    if (rc == QG_OK)
        rc = write_dir(dir, opt, qg_cpu_detect() & mask, pool, err);
    qg_pool_close(pool);
    qg_modeldir_close(dir);
    return rc;
}
