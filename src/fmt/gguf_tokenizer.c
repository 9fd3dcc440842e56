/* A GGUF file's tokenizer as a tokenizer.json, so that one loader reads, checks and refuses both.
 */
#include "fmt/gguf.h"

#include "base/limits.h"
#include "text/utf8.h"

#include <stdio.h>
#include <string.h>

/* Kinds of tokens in these files. */
enum { NORMAL = 1, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5 };

/* All that "gpt2" with "qwen2" stands for: the expression of Qwen2 and Qwen3, NFC, bytes. */
static const char head[] =
    "{\"version\":\"1.0\",\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":{\"type\":"
    "\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":"
    "\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| "
    "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"},"
    "\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"ByteLevel\",\"add_prefix_space\":"
    "false,\"use_regex\":false}]},\"decoder\":{\"type\":\"ByteLevel\"},\"added_tokens\":[";

typedef struct writer {
    const qg_gguf *g;
    const qg_gguf_value *tokens, *types, *merges;
    qg_buf *out;
    qg_err *err;
} writer;

static qg_status full(const writer *w, qg_status rc)
{
    return rc == QG_OK ? QG_OK
           : rc == QG_ERR_NOMEM
               ? qg_fail(w->err, rc, "out of memory")
               : qg_fail(w->err, QG_ERR_FORMAT, "%s: tokenizer: more than %u bytes", w->g->file,
                         QG_MAX_TOKENIZER_BYTES);
}

static qg_status put(const writer *w, const char *s)
{
    return full(w, qg_buf_adds(w->out, s));
}

/* A JSON string. */
static qg_status put_string(const writer *w, qg_slice s, const char *what, uint64_t i)
{
    if (!qg_utf8_valid(s))
        return qg_fail(w->err, QG_ERR_FORMAT, "%s: %s %llu is not UTF-8", w->g->file, what,
                       (unsigned long long)i);
    QG_TRY(put(w, "\""));
    for (size_t at = 0, n; at < s.n; at += n) {
        for (n = 0; at + n < s.n && (uint8_t)s.p[at + n] >= ' ' && s.p[at + n] != '"' &&
                    s.p[at + n] != '\\';
             n++)
            ;
        if (n) {
            QG_TRY(full(w, qg_buf_add(w->out, s.p + at, n)));
            continue;
        }
        n = 1;
        QG_TRY(full(w, qg_buf_addf(w->out, "\\u%04x", (unsigned)(uint8_t)s.p[at])));
    }
    return put(w, "\"");
}

static qg_status find_lists(writer *w)
{
    static const struct {
        const char *key;
        uint32_t type;
    } lists[] = {{"tokenizer.ggml.tokens", QG_GGUF_STRING},
                 {"tokenizer.ggml.token_type", QG_GGUF_I32},
                 {"tokenizer.ggml.merges", QG_GGUF_STRING}};
    const qg_gguf_value **to[] = {&w->tokens, &w->types, &w->merges};
    for (size_t i = 0; i < QG_COUNT(lists); i++) {
        const qg_gguf_value *v = *to[i] = qg_gguf_find(w->g, lists[i].key);
        if (!v || !v->list || v->type != lists[i].type || v->n > QG_MAX_TOKENIZER_IDS)
            return qg_fail(w->err, QG_ERR_FORMAT,
                           "%s: %s is missing, no list of %s or longer than %u", w->g->file,
                           lists[i].key, lists[i].type == QG_GGUF_STRING ? "strings" : "integers",
                           QG_MAX_TOKENIZER_IDS);
    }
    if (w->types->n != w->tokens->n)
        return qg_fail(w->err, QG_ERR_FORMAT, "%s: %llu tokens, but %llu types of tokens",
                       w->g->file, (unsigned long long)w->tokens->n,
                       (unsigned long long)w->types->n);
    return QG_OK;
}

static qg_status want_word(const writer *w, const char *key, const char *word)
{
    qg_slice is = {0};
    QG_TRY(qg_gguf_str(w->g, key, &is, w->err));
    if (is.p && qg_slice_is(is, word))
        return QG_OK;
    return qg_fail(w->err, QG_ERR_UNSUPPORTED, "%s: %s is %.*s; only \"%s\" is supported",
                   w->g->file, key, is.p ? qg_utf8_cut(is, 60) : 7, is.p ? is.p : "missing", word);
}

static qg_status want_false(const writer *w, const char *key)
{
    bool on = false;
    QG_TRY(qg_gguf_bool(w->g, key, &on, w->err));
    return on ? qg_fail(w->err, QG_ERR_UNSUPPORTED, "%s: %s is true; that is not supported",
                        w->g->file, key)
              : QG_OK;
}

static qg_status check_kind(const writer *w)
{
    QG_TRY(want_word(w, "tokenizer.ggml.model", "gpt2"));
    QG_TRY(want_word(w, "tokenizer.ggml.pre", "qwen2"));
    QG_TRY(want_false(w, "tokenizer.ggml.add_bos_token"));
    QG_TRY(want_false(w, "tokenizer.ggml.add_eos_token"));
    return want_false(w, "tokenizer.ggml.add_space_prefix");
}

/* Control and user-defined tokens: found in text as they are spelled; only the first are special.
 */
static qg_status put_added(const writer *w)
{
    const uint8_t *at = w->tokens->at;
    const char *comma = "";
    for (uint64_t i = 0; i < w->tokens->n; i++) {
        const qg_slice s = qg_gguf_next(&at);
        const int32_t type = qg_gguf_i32(w->types, i);
        if (type == NORMAL || type == UNUSED)
            continue;
        if (type != CONTROL && type != USER_DEFINED)
            return qg_fail(w->err, QG_ERR_UNSUPPORTED, "%s: token %llu is of type %d", w->g->file,
                           (unsigned long long)i, type);
        QG_TRY(
            full(w, qg_buf_addf(w->out,
                                "%s{\"id\":%llu,\"special\":%s,\"normalized\":false,"
                                "\"content\":",
                                comma, (unsigned long long)i, type == CONTROL ? "true" : "false")));
        QG_TRY(put_string(w, s, "token", i));
        QG_TRY(put(w, "}"));
        comma = ",";
    }
    return QG_OK;
}

static qg_status put_vocab(const writer *w)
{
    const uint8_t *at = w->tokens->at;
    const char *comma = "";
    for (uint64_t i = 0; i < w->tokens->n; i++) {
        const qg_slice s = qg_gguf_next(&at);
        if (qg_gguf_i32(w->types, i) != NORMAL)
            continue;
        QG_TRY(put(w, comma));
        QG_TRY(put_string(w, s, "token", i));
        QG_TRY(full(w, qg_buf_addf(w->out, ":%llu", (unsigned long long)i)));
        comma = ",";
    }
    return QG_OK;
}

static qg_status put_merges(const writer *w)
{
    const uint8_t *at = w->merges->at;
    for (uint64_t i = 0; i < w->merges->n; i++) {
        const qg_slice s = qg_gguf_next(&at);
        QG_TRY(put(w, i ? "," : ""));
        QG_TRY(put_string(w, s, "merge", i));
    }
    return QG_OK;
}

qg_status qg_gguf_tokenizer(const qg_gguf *gguf, qg_buf *out, qg_err *err)
{
    writer w = {.g = gguf, .out = out, .err = err};
    QG_TRY(check_kind(&w));
    QG_TRY(find_lists(&w));
    QG_TRY(put(&w, head));
    QG_TRY(put_added(&w));
    QG_TRY(put(&w, "],\"model\":{\"type\":\"BPE\",\"vocab\":{"));
    QG_TRY(put_vocab(&w));
    QG_TRY(put(&w, "},\"merges\":["));
    QG_TRY(put_merges(&w));
    return put(&w, "]}}");
}
