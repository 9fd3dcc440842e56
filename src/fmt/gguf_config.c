/* A GGUF file's metadata as a config.json, which config.c then reads and checks like any other. */
#define _GNU_SOURCE /* memmem */
#include "fmt/gguf.h"

#include "base/limits.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define ARCH "qwen3"

static qg_status missing(const qg_gguf *g, const char *key, qg_err *err)
{
    return qg_fail(err, QG_ERR_FORMAT, "%s: %s is missing", g->file, key);
}

static qg_status refused(const qg_gguf *g, qg_slice key, qg_err *err)
{
    return qg_fail(err, QG_ERR_UNSUPPORTED,
                   "%s: %.*s: it would change the results in a way that is not computed here",
                   g->file, (int)key.n, key.p);
}

static qg_status check_architecture(const qg_gguf *g, qg_err *err)
{
    static const char stream[] = "risk_level"; /* in the names of a Stream model's heads */
    qg_slice name = {0};
    QG_TRY(qg_gguf_str(g, "general.architecture", &name, err));
    if (!name.p)
        return missing(g, "general.architecture", err);
    if (!qg_slice_is(name, ARCH))
        return qg_fail(err, QG_ERR_UNSUPPORTED,
                       "%s: general.architecture is \"%.*s\"; only \"" ARCH "\" can be read",
                       g->file, name.n < 60 ? (int)name.n : 0, name.p);
    for (size_t i = 0; i < g->n_tensors; i++) {
        const qg_slice t = g->tensors[i].name;
        if (memmem(t.p, t.n, stream, sizeof stream - 1))
            return qg_fail(err, QG_ERR_UNSUPPORTED,
                           "%s: %.*s belongs to a Stream model: no GGUF form of those is defined; "
                           "use the directory with its *.safetensors",
                           g->file, (int)t.n, t.p);
    }
    return QG_OK;
}

/* Anything but zero, false and "none" (or, of some, anything but one). */
static qg_status check_plain(const qg_gguf *g, const char *key, bool one_is_plain, qg_err *err)
{
    const qg_gguf_value *v = qg_gguf_find(g, key);
    if (!v)
        return QG_OK;
    if (v->list)
        return refused(g, v->key, err);
    if (v->type == QG_GGUF_STRING) {
        qg_slice s = {0};
        QG_TRY(qg_gguf_str(g, key, &s, err));
        return qg_slice_is(s, "none") ? QG_OK : refused(g, v->key, err);
    }
    double n = 0;
    if (v->type == QG_GGUF_F32 || v->type == QG_GGUF_F64) {
        QG_TRY(qg_gguf_num(g, key, &n, err));
    } else if (v->type == QG_GGUF_BOOL) {
        bool on = false;
        QG_TRY(qg_gguf_bool(g, key, &on, err));
        n = on;
    } else {
        int64_t i = 0;
        QG_TRY(qg_gguf_int(g, key, INT64_MAX, &i, err));
        n = (double)i;
    }
    return n == 0 || (one_is_plain && n == 1) ? QG_OK : refused(g, v->key, err);
}

/* What other models of this family of files may ask for. */
static qg_status check_switches(const qg_gguf *g, qg_err *err)
{
    static const struct {
        const char *key;
        bool one_is_plain;
    } keys[] = {
        {ARCH ".rope.scaling.type", false},
        {ARCH ".rope.scaling.factor", true},
        {ARCH ".rope.scale_linear", true},
        {ARCH ".attention.sliding_window", false},
        {ARCH ".attention.scale", false},
        {ARCH ".attention.clamp_kqv", false},
        {ARCH ".attention.max_alibi_bias", false},
        {ARCH ".attn_logit_softcapping", false},
        {ARCH ".final_logit_softcapping", false},
        {ARCH ".logit_scale", true},
        {ARCH ".residual_scale", true},
        {ARCH ".embedding_scale", true},
        {ARCH ".expert_count", false},
        {ARCH ".pooling_type", false},
        {ARCH ".use_parallel_residual", false},
    };
    bool causal = true;
    for (size_t i = 0; i < QG_COUNT(keys); i++)
        QG_TRY(check_plain(g, keys[i].key, keys[i].one_is_plain, err));
    QG_TRY(qg_gguf_bool(g, ARCH ".attention.causal", &causal, err));
    return causal ? QG_OK : refused(g, qg_str(ARCH ".attention.causal"), err);
}

static qg_status put_int(const qg_gguf *g, qg_buf *out, const char *key, const char *name,
                         int64_t *n, qg_err *err)
{
    *n = -1;
    QG_TRY(qg_gguf_int(g, key, INT32_MAX, n, err));
    if (*n < 0)
        return missing(g, key, err);
    return qg_buf_addf(out, ",\"%s\":%" PRId64, name, *n)
               ? qg_fail(err, QG_ERR_NOMEM, "out of memory")
               : QG_OK;
}

static qg_status put_num(const qg_gguf *g, qg_buf *out, const char *key, const char *name,
                         qg_err *err)
{
    double v = NAN;
    QG_TRY(qg_gguf_num(g, key, &v, err));
    if (!qg_gguf_find(g, key))
        return missing(g, key, err);
    if (!isfinite(v))
        return qg_fail(err, QG_ERR_FORMAT, "%s: %s is not a finite number", g->file, key);
    return qg_buf_addf(out, ",\"%s\":%.17e", name, v) ? qg_fail(err, QG_ERR_NOMEM, "out of memory")
                                                      : QG_OK;
}

static qg_status put_sizes(const qg_gguf *g, qg_buf *out, qg_err *err)
{
    static const struct {
        const char *key, *name;
    } keys[] = {
        {ARCH ".embedding_length", "hidden_size"},
        {ARCH ".feed_forward_length", "intermediate_size"},
        {ARCH ".block_count", "num_hidden_layers"},
        {ARCH ".attention.head_count", "num_attention_heads"},
        {ARCH ".attention.head_count_kv", "num_key_value_heads"},
        {ARCH ".context_length", "max_position_embeddings"},
        {ARCH ".attention.key_length", "head_dim"},
    };
    int64_t n = 0, head, value, rotated;
    for (size_t i = 0; i < QG_COUNT(keys); i++)
        QG_TRY(put_int(g, out, keys[i].key, keys[i].name, &n, err));
    head = value = rotated = n;
    QG_TRY(qg_gguf_int(g, ARCH ".attention.value_length", INT32_MAX, &value, err));
    if (value != head)
        return refused(g, qg_str(ARCH ".attention.value_length"), err);
    QG_TRY(qg_gguf_int(g, ARCH ".rope.dimension_count", INT32_MAX, &rotated, err));
    return rotated == head ? QG_OK : refused(g, qg_str(ARCH ".rope.dimension_count"), err);
}

/* As many rows as there are tokens: the file's own count where it gives one. */
static qg_status put_vocabulary(const qg_gguf *g, qg_buf *out, qg_err *err)
{
    const qg_gguf_value *tokens = qg_gguf_find(g, "tokenizer.ggml.tokens");
    int64_t n = tokens && tokens->list && tokens->n <= INT32_MAX ? (int64_t)tokens->n : 0;
    QG_TRY(qg_gguf_int(g, ARCH ".vocab_size", INT32_MAX, &n, err));
    if (!n)
        return missing(g, ARCH ".vocab_size", err);
    return qg_buf_addf(out, ",\"vocab_size\":%" PRId64, n)
               ? qg_fail(err, QG_ERR_NOMEM, "out of memory")
               : QG_OK;
}

static qg_status put_eos(const qg_gguf *g, qg_buf *out, qg_err *err)
{
    static const char *const keys[] = {"tokenizer.ggml.eos_token_id",
                                       "tokenizer.ggml.eot_token_id"};
    int64_t ids[QG_COUNT(keys)];
    int n = 0;
    for (size_t i = 0; i < QG_COUNT(keys); i++) {
        int64_t id = -1;
        QG_TRY(qg_gguf_int(g, keys[i], INT32_MAX, &id, err));
        if (id >= 0 && (n == 0 || ids[0] != id))
            ids[n++] = id;
    }
    qg_status rc = qg_buf_adds(out, ",\"eos_token_id\":[");
    for (int i = 0; rc == QG_OK && i < n; i++)
        rc = qg_buf_addf(out, "%s%" PRId64, i ? "," : "", ids[i]);
    if (rc == QG_OK)
        rc = qg_buf_adds(out, "]}");
    return rc ? qg_fail(err, rc, "out of memory") : QG_OK;
}

/* Where there is no output matrix the embedding is one. */
static bool tied(const qg_gguf *g)
{
    for (size_t i = 0; i < g->n_tensors; i++)
        if (qg_slice_is(g->tensors[i].name, "output.weight"))
            return false;
    return true;
}

qg_status qg_gguf_config(const qg_gguf *gguf, qg_buf *out, qg_err *err)
{
    QG_TRY(check_architecture(gguf, err));
    QG_TRY(check_switches(gguf, err));
    if (qg_buf_addf(out,
                    "{\"architectures\":[\"Qwen3ForCausalLM\"],\"model_type\":\"qwen3\","
                    "\"tie_word_embeddings\":%s",
                    tied(gguf) ? "true" : "false"))
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    QG_TRY(put_sizes(gguf, out, err));
    QG_TRY(put_vocabulary(gguf, out, err));
    QG_TRY(put_num(gguf, out, ARCH ".attention.layer_norm_rms_epsilon", "rms_norm_eps", err));
    QG_TRY(put_num(gguf, out, ARCH ".rope.freq_base", "rope_theta", err));
    return put_eos(gguf, out, err);
}
