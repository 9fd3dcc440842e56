#include "serve/logprobs.h"

#include "text/utf8.h"

#include <math.h>

/* JSON has no infinity; this is what other servers write. */
static json_t *number(float logprob)
{
    return json_real(isfinite(logprob) ? logprob : -9999.0);
}

/* The token's text, or NULL. */
static json_t *token_text(const qg_engine *engine, int32_t id)
{
    char *text = NULL;
    size_t n = 0;
    if (qg_detokenize(engine, &id, 1, false, &text, &n, NULL) != QG_OK)
        return NULL;
    json_t *value = json_stringn(text, n);
    qg_free(text);
    return value;
}

static json_t *token_bytes(const qg_engine *engine, int32_t id)
{
    size_t n;
    const char *bytes = qg_token_bytes(engine, id, &n);
    json_t *list = json_array();
    for (size_t i = 0; list && i < n; i++)
        if (json_array_append_new(list, json_integer((unsigned char)bytes[i]))) {
            json_decref(list);
            list = NULL;
        }
    return list;
}

/* top is taken, or NULL. */
static json_t *entry(const qg_engine *engine, const qg_logprob *one, json_t *top)
{
    return json_pack("{s:o,s:o,s:o,s:o*}", "token", token_text(engine, one->id), "logprob",
                     number(one->logprob), "bytes", token_bytes(engine, one->id), "top_logprobs",
                     top);
}

/* Appends value (taken); false and list gone when there is no memory. */
static bool append(json_t **list, json_t *value)
{
    if (*list && value && json_array_append_new(*list, value) == 0)
        return true;
    if (!*list)
        json_decref(value);
    json_decref(*list);
    *list = NULL;
    return false;
}

json_t *qg_logprobs_chat(const qg_engine *engine, const qg_result *result, size_t n, int32_t n_top)
{
    const qg_logprob *row = result->logprobs;
    if (!row)
        return json_null();
    json_t *content = json_array();
    for (size_t i = 0; content && i < n; i++, row += 1 + n_top) {
        json_t *top = json_array();
        for (int32_t k = 1; top && k <= n_top && row[k].id >= 0; k++)
            append(&top, entry(engine, &row[k], NULL));
        append(&content, top ? entry(engine, row, top) : NULL);
    }
    return content ? json_pack("{s:o}", "content", content) : NULL;
}

/* {token: logprob} of the most probable ones. */
static json_t *top_map(const qg_engine *engine, const qg_logprob *row, int32_t n_top)
{
    json_t *map = json_object();
    for (int32_t k = 1; map && k <= n_top && row[k].id >= 0; k++) {
        json_t *name = token_text(engine, row[k].id);
        const char *key = json_string_value(name);
        /* Two tokens may look alike (halves of characters); the more probable one keeps the name.
         */
        if (key && !json_object_get(map, key))
            json_object_set_new(map, key, number(row[k].logprob));
        json_decref(name);
    }
    return map;
}

json_t *qg_logprobs_text(const qg_engine *engine, const qg_result *result, size_t n, int32_t n_top,
                         int64_t offset)
{
    json_t *offsets = json_array(), *tokens = json_array(), *values = json_array(),
           *tops = json_array();
    const qg_logprob *row = result->logprobs;
    bool ok = true;
    if (!row) {
        json_decref(offsets);
        json_decref(tokens);
        json_decref(values);
        json_decref(tops);
        return json_null();
    }
    for (size_t i = 0; ok && i < n; i++, row += 1 + n_top) {
        json_t *text = token_text(engine, row->id);
        qg_slice s = qg_json_slice(text);
        ok = append(&offsets, json_integer(offset)) && append(&tokens, text) &&
             append(&values, number(row->logprob)) && append(&tops, top_map(engine, row, n_top));
        offset += (int64_t)qg_utf8_count(s);
    }
    return json_pack("{s:o,s:o,s:o,s:o}", "text_offset", offsets, "tokens", tokens,
                     "token_logprobs", values, "top_logprobs", tops);
}
