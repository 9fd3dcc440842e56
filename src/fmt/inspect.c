#define _GNU_SOURCE /* memmem */
#include "fmt/inspect.h"

#include "base/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool put_int(json_t *o, const char *key, int64_t n)
{
    return json_object_set_new(o, key, json_integer(n)) == 0;
}

/* Adds v and lends it back; NULL when out of memory, which all of jansson's setters take for a
 * failure of their own. */
static json_t *put_new(json_t *o, const char *key, json_t *v)
{
    return json_object_set_new(o, key, v) == 0 ? v : NULL;
}

static bool put_str(json_t *o, const char *key, const char *s)
{
    return json_object_set_new(o, key, json_string(s)) == 0;
}

static bool say(json_t *report, const char *list, const char *sentence)
{
    return json_array_append_new(json_object_get(report, list), json_string(sentence)) == 0;
}

static void take_problem(void *ud, qg_status status, const char *sentence)
{
    (void)status;
    (void)say(ud, "problems", sentence);
}

/* ---- configuration --------------------------------------------------------------------------- */

static const char *kind_of(const qg_config *c)
{
    if (!c)
        return "unknown";
    if (strcmp(c->architecture, "Qwen3ForCausalLM") == 0)
        return "gen";
    return strcmp(c->architecture, "Qwen3ForGuardModel") == 0 ? "stream" : "unknown";
}

/* 1e-6 in float32, printed as a double, would be 9.9999999747524271e-7. */
static double as_written(float x)
{
    char text[32];

    snprintf(text, sizeof text, "%.7g", (double)x);
    return strtod(text, NULL);
}

static bool put_config(json_t *report, const qg_config *c)
{
    json_t *o = put_new(report, "config", json_object());
    bool ok =
        put_str(o, "architecture", c->architecture) && put_int(o, "vocab_size", c->vocab_size) &&
        put_int(o, "hidden_size", c->hidden) && put_int(o, "intermediate_size", c->intermediate) &&
        put_int(o, "num_hidden_layers", c->n_layers) &&
        put_int(o, "num_attention_heads", c->n_heads) &&
        put_int(o, "num_key_value_heads", c->n_kv_heads) && put_int(o, "head_dim", c->head_dim) &&
        put_int(o, "max_position_embeddings", c->max_positions) &&
        json_object_set_new(o, "rms_norm_eps", json_real(as_written(c->rms_eps))) == 0 &&
        json_object_set_new(o, "rope_theta", json_real(c->rope_theta)) == 0 &&
        json_object_set_new(o, "tie_word_embeddings", json_boolean(c->tied)) == 0 &&
        put_str(o, "dtype", c->dtype == QG_DTYPE_AUTO ? "-" : qg_dtype_name(c->dtype));
    json_t *eos = put_new(o, "eos_token_id", json_array());
    for (int32_t i = 0; ok && i < c->n_eos; i++)
        ok = json_array_append_new(eos, json_integer(c->eos[i])) == 0;
    return ok && eos;
}

/* ---- tensors --------------------------------------------------------------------------------- */

static bool put_files(json_t *tensors, const qg_modeldir *dir)
{
    json_t *files = put_new(tensors, "files", json_object());
    bool ok = files != NULL;

    for (size_t i = 0; ok && i < qg_modeldir_n_shards(dir); i++) {
        const qg_shard *s = qg_modeldir_shard(dir, i);
        json_t *o = json_object();
        /* a file name need not be UTF-8, JSON must be */
        ok = put_int(o, "tensors", (int64_t)s->n_tensors) &&
             put_int(o, "bytes", (int64_t)s->map.size);
        if (json_object_set(files, s->file, o) != 0)
            ok = ok && json_object_set(files, "?", o) == 0;
        json_decref(o);
    }
    return ok;
}

static size_t elements_of(const qg_tensor *t)
{
    return (size_t)t->dim[0] * (size_t)t->dim[1] * (size_t)t->dim[2] * (size_t)t->dim[3];
}

static bool put_tensors(json_t *report, const qg_modeldir *dir)
{
    size_t n = qg_modeldir_n_tensors(dir), elements = 0;
    json_t *o = put_new(report, "tensors", json_object()), *by_format = json_object();
    bool ok = o && by_format;

    for (size_t i = 0; ok && i < n; i++) {
        const qg_tensor *t = qg_modeldir_tensor_at(dir, i);
        const char *format = qg_tensor_format(t);
        elements += elements_of(t);
        ok = put_int(by_format, format,
                     json_integer_value(json_object_get(by_format, format)) + (int64_t)t->bytes);
    }
    ok = ok && put_int(o, "count", (int64_t)n) && put_int(o, "parameters", (int64_t)elements) &&
         json_object_set(o, "bytes", by_format) == 0;
    json_decref(by_format);
    return ok && put_files(o, dir);
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Whether the model is tied and yet its output matrix is a matrix of its own. */
static bool head_differs(const qg_modeldir *dir, bool *stored)
{
    const qg_tensor *e = qg_modeldir_tensor(dir, "model.embed_tokens.weight");
    const qg_tensor *h = qg_modeldir_tensor(dir, "lm_head.weight");

    *stored = h != NULL;
    if (!h || !e)
        return false;
    bool same = h->dtype == e->dtype && h->blocks == e->blocks && h->bytes == e->bytes &&
                (h->bytes == 0 || memcmp(h->data, e->data, h->bytes) == 0);
    qg_modeldir_drop(dir, e);
    qg_modeldir_drop(dir, h);
    return !same;
}

/* As computed in bfloat16: matrices and KV two bytes an element, norms four.  The limits of
 * config.h keep every product below 2^50. */
static bool put_memory(json_t *report, const qg_config *c, bool own_head)
{
    int64_t hidden = c->hidden, layers = c->n_layers;
    int64_t q = (int64_t)c->n_heads * c->head_dim, kv = (int64_t)c->n_kv_heads * c->head_dim;
    int64_t matrices = layers * (hidden * (2 * q + 2 * kv) + 3 * hidden * c->intermediate) +
                       (own_head ? 2 : 1) * hidden * c->vocab_size;
    int64_t norms = layers * 2 * (hidden + c->head_dim) + hidden;
    int64_t per_token = 2 * 2 * layers * kv;
    json_t *o = put_new(report, "memory", json_object());

    return put_str(o, "dtype", "bfloat16") &&
           put_int(o, "weight_bytes", 2 * matrices + 4 * norms) &&
           put_int(o, "kv_bytes_per_token", per_token) &&
           put_int(o, "kv_bytes_full_context", per_token * c->max_positions);
}

/* ---- text files ------------------------------------------------------------------------------ */

static bool contains(qg_slice s, const char *word)
{
    return s.n && memmem(s.p, s.n, word, strlen(word)) != NULL;
}

/* By words that only these templates have: the policy text of Qwen3Guard-Gen, the switch of plain
 * Qwen3 (which Stream models use). */
static const char *template_kind(qg_slice source)
{
    if (contains(source, "BEGIN UNSAFE CONTENT CATEGORIES"))
        return "gen";
    return contains(source, "enable_thinking") ? "qwen3" : "other";
}

/* Weights alone are enough for logits, so what is absent is told as a warning; what is there and
 * broken is a problem. */
static qg_status put_template(qg_inspection *in, qg_err *err)
{
    static const char *const places[] = {"chat_template.jinja", "tokenizer_config.json",
                                         "chat_template.json"};
    const char *kind = "none";
    bool anywhere = false;
    qg_buf source;
    qg_err e;

    for (size_t i = 0; i < QG_COUNT(places); i++)
        anywhere = anywhere || qg_modeldir_has(in->dir, places[i]);
    qg_buf_init(&source, QG_MAX_TEMPLATE_BYTES);
    qg_status rc = qg_modeldir_chat_template(in->dir, &source, &e);
    if (rc == QG_OK)
        kind = template_kind(qg_buf_slice(&source));
    else if (rc == QG_ERR_NOMEM || anywhere)
        qg_inspection_add(in, rc, &e, err);
    else if (!say(in->report, "warnings", e.msg))
        rc = QG_ERR_NOMEM;
    qg_buf_free(&source);
    if (!put_str(in->report, "template", kind))
        rc = QG_ERR_NOMEM;
    return rc == QG_ERR_NOMEM ? rc : QG_OK;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static bool put_warnings(qg_inspection *in, bool differs)
{
    bool ok = true;

    for (size_t i = 0; ok && i < qg_modeldir_n_warnings(in->dir); i++)
        ok = say(in->report, "warnings", qg_modeldir_warning(in->dir, i));
    if (differs)
        ok = ok && say(in->report, "warnings",
                       "tie_word_embeddings is true, but lm_head.weight differs from the "
                       "embedding: lm_head.weight is used for the output");
    if (!qg_modeldir_has(in->dir, "tokenizer.json"))
        ok = ok && say(in->report, "warnings", "no tokenizer.json: only logits can be computed");
    return ok;
}

static bool put_facts(qg_inspection *in)
{
    const qg_config *c = qg_modeldir_config(in->dir);
    bool stored, differs = head_differs(in->dir, &stored);

    if (!put_str(in->report, "kind", kind_of(c)) || (c && !put_config(in->report, c)) ||
        !put_tensors(in->report, in->dir) || (c && !put_memory(in->report, c, !c->tied || differs)))
        return false;
    return put_warnings(in, c && c->tied && differs);
}

/* Moves a member behind all others. */
static bool to_the_end(json_t *o, const char *key)
{
    json_t *v = json_incref(json_object_get(o, key));

    json_object_del(o, key);
    return json_object_set_new(o, key, v) == 0;
}

qg_status qg_inspection_open(qg_inspection *out, const char *path, const qg_file *files,
                             size_t n_files, qg_err *err)
{
    *out = (qg_inspection){.report = json_object()};
    json_t *r = out->report;
    if (json_object_set_new(r, "warnings", json_array()) != 0 ||
        json_object_set_new(r, "problems", json_array()) != 0)
        goto no_memory;
    if (path)
        out->first = qg_modeldir_survey(&out->dir, path, take_problem, r, err);
    else
        out->first = qg_modeldir_survey_files(&out->dir, files, n_files, take_problem, r, err);
    if (out->first == QG_ERR_NOMEM)
        goto no_memory;
    if (!out->dir) {
        if (!say(r, "problems", err->msg))
            goto no_memory;
        return QG_OK;
    }
    /* like a file's, the directory's name need not be UTF-8 */
    if (!put_str(r, "name", qg_modeldir_name(out->dir)) && !put_str(r, "name", "?"))
        goto no_memory;
    if (!put_facts(out) || put_template(out, err) != QG_OK || !to_the_end(r, "warnings") ||
        !to_the_end(r, "problems"))
        goto no_memory;
    return QG_OK;
no_memory:
    qg_inspection_close(out);
    return qg_fail(err, QG_ERR_NOMEM, "out of memory");
}

void qg_inspection_add(qg_inspection *in, qg_status status, const qg_err *e, qg_err *err)
{
    if (status == QG_OK)
        return;
    (void)say(in->report, "problems", e->msg);
    if (in->first == QG_OK) {
        in->first = status;
        if (err)
            *err = *e;
    }
}

void qg_inspection_close(qg_inspection *in)
{
    qg_modeldir_close(in->dir);
    json_decref(in->report);
    *in = (qg_inspection){0};
}
