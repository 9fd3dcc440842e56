/* What is in a model: what fmt finds in its files, and whether each room would take its part. */
#include "engine/fit.h"

#include "base/cpu.h"
#include "base/limits.h"
#include "fmt/inspect.h"
#include "text/json.h"

static void try_weights(qg_inspection *in, qg_err *err)
{
    qg_err e;

    if (in->first != QG_OK) /* binding needs a whole directory; the reason is told already */
        return;
    qg_status rc = qg_model_check(in->dir, &e);
    qg_inspection_add(in, rc, &e, err);
}

static qg_status open_tok(qg_inspection *in, qg_tok **tok, qg_err *e)
{
    qg_slice json;

    QG_TRY(qg_modeldir_file(in->dir, "tokenizer.json", &json, e));
    qg_status rc = qg_tok_open(tok, json, e);
    return rc ? qg_fail_prefix(e, rc, "tokenizer.json") : QG_OK;
}

static qg_status open_tmpl(qg_inspection *in, qg_tmpl **tmpl, qg_err *e)
{
    qg_buf source;

    qg_buf_init(&source, QG_MAX_TEMPLATE_BYTES);
    qg_status rc = qg_modeldir_chat_template(in->dir, &source, e);
    if (rc == QG_OK) {
        rc = qg_tmpl_open(tmpl, qg_buf_slice(&source), e);
        if (rc)
            qg_fail_prefix(e, rc, "chat template");
    }
    qg_buf_free(&source);
    return rc;
}

/* Tokenizer and template, alone and together; what is absent has been told by fmt. */
static void try_text(qg_inspection *in, qg_err *err)
{
    const qg_config *c = qg_modeldir_config(in->dir);
    bool has_template =
        !qg_slice_is(qg_json_slice(json_object_get(in->report, "template")), "none");
    qg_tok *tok = NULL;
    qg_tmpl *tmpl = NULL;
    qg_guard *guard = NULL;
    qg_err e;

    if (qg_modeldir_has(in->dir, "tokenizer.json"))
        qg_inspection_add(in, open_tok(in, &tok, &e), &e, err);
    if (tok && c && qg_tok_n_ids(tok) > c->vocab_size)
        qg_inspection_add(in,
                          qg_fail(&e, QG_ERR_FORMAT,
                                  "tokenizer.json has ids up to %d, config.json a vocab_size of %d",
                                  qg_tok_n_ids(tok) - 1, c->vocab_size),
                          &e, err);
    if (has_template)
        qg_inspection_add(in, open_tmpl(in, &tmpl, &e), &e, err);
    if (tok && tmpl)
        qg_inspection_add(in, qg_guard_open(&guard, tok, tmpl, &e), &e, err);
    if (guard && qg_guard_forced(guard, &e) != QG_OK)
        json_array_append_new(json_object_get(in->report, "warnings"), json_string(e.msg));
    qg_guard_close(guard);
    qg_tmpl_close(tmpl);
    qg_tok_close(tok);
}

/* What the process will hold after its first verdict on a prompt of 371 tokens, the length that the
 * measurements are made with, by format; with K and V as --dtype has them, or in 8 bits. */
static qg_status put_resident(qg_inspection *in, bool builtin, qg_dtype kv, const char *key,
                              qg_err *err)
{
    enum { TOKENS = 371 + 32 }; /* and the answers */
    static const struct {
        const char *name;
        qg_dtype dtype;
    } formats[] = {{"float32", QG_DTYPE_F32},
                   {"bfloat16", QG_DTYPE_BF16},
                   {"int8", QG_DTYPE_INT8},
                   {"int4", QG_DTYPE_INT4}};
    const qg_config *c = qg_modeldir_config(in->dir);
    json_t *memory = json_object_get(in->report, "memory"), *o = json_object();
    qg_status rc = QG_OK;
    for (size_t i = 0; rc == QG_OK && c && memory && i < QG_COUNT(formats); i++) {
        qg_fit f;
        qg_formats in_use = {formats[i].dtype, kv};
        if ((c->packed != QG_DTYPE_AUTO && c->packed != formats[i].dtype) ||
            qg_model_settle_kv_dtype(in_use.weights, &in_use.kv, NULL) != QG_OK)
            continue;
        rc = qg_fit_measure(&f, in->dir, builtin, in_use, qg_cpu_detect(), 256, c->max_positions,
                            qg_cpu_count(), err);
        if (rc == QG_OK)
            json_object_set_new(
                o, formats[i].name,
                json_integer((json_int_t)(f.weights + f.rest + TOKENS * f.kv_token)));
        if (rc == QG_OK && kv == QG_DTYPE_INT8)
            json_object_set_new(memory, "kv_bytes_per_token_int8",
                                json_integer((json_int_t)f.kv_token));
    }
    if (memory)
        json_object_set(memory, key, o);
    json_decref(o);
    return rc;
}

qg_status qg_inspect(const char *model, char **json, qg_err *err)
{
    qg_demo demo;
    qg_err own;
    qg_inspection in;

    *json = NULL;
    err = err ? err : &own;
    bool builtin = qg_demo_find(&demo, model);
    QG_TRY(qg_inspection_open(&in, builtin ? NULL : model, demo.files, demo.n, err));
    if (builtin)
        json_object_set_new(in.report, "name", json_string(demo.name));
    if (in.dir) {
        try_weights(&in, err);
        try_text(&in, err);
        if (in.first == QG_OK &&
            (put_resident(&in, builtin, QG_DTYPE_AUTO, "resident_bytes", err) != QG_OK ||
             put_resident(&in, builtin, QG_DTYPE_INT8, "resident_bytes_int8_kv", err) != QG_OK))
            in.first = QG_ERR_NOMEM;
    }
    qg_status rc = in.first;
    *json = qg_json_dump_digits(in.report, 9);
    if (!*json)
        rc = qg_fail(err, QG_ERR_NOMEM, "out of memory");
    qg_inspection_close(&in);
    return rc;
}
