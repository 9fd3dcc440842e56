#define _GNU_SOURCE

#include "serve/chat_text.h"

/* First place where one of the stop strings begins, or NULL. */
static const char *find_stop(const qg_chat_request *r, qg_slice text, qg_slice *which)
{
    const char *first = NULL;
    for (size_t i = 0; i < r->n_stops; i++) {
        const char *at = memmem(text.p, text.n, r->stops[i].p, r->stops[i].n);
        if (at && (!first || at < first)) {
            first = at;
            *which = r->stops[i];
        }
    }
    return first;
}

static qg_status first_tokens(qg_chat_text *out, const qg_engine *engine, const qg_result *result,
                              size_t n, qg_err *err)
{
    size_t bytes = 0;
    qg_chat_text_free(out);
    QG_TRY(qg_detokenize(engine, result->ids, n, true, &out->owned, &bytes, err));
    out->text = qg_slice_of(out->owned, bytes);
    out->n_tokens = (int64_t)n;
    return QG_OK;
}

/* A server that decodes stops at the first token that completes a stop string. */
static qg_status cut_at_stop(qg_chat_text *out, const qg_engine *engine, const qg_result *result,
                             const qg_chat_request *r, qg_err *err)
{
    size_t most = (size_t)out->n_tokens;
    qg_slice which = {NULL, 0};
    if (!find_stop(r, out->text, &which))
        return QG_OK;
    for (size_t n = 1; n <= most; n++) {
        QG_TRY(first_tokens(out, engine, result, n, err));
        const char *at = find_stop(r, out->text, &which);
        if (at) {
            out->text.n = (size_t)(at - out->text.p);
            break;
        }
    }
    out->stop = which;
    out->length = false;
    return QG_OK;
}

qg_status qg_chat_text_make(qg_chat_text *out, const qg_engine *engine, const qg_result *result,
                            const qg_chat_request *r, qg_err *err)
{
    *out = (qg_chat_text){.text = {result->text, result->text_bytes},
                          .n_tokens = (int64_t)result->n_ids,
                          .length = !result->finished};
    if (r->max_tokens && r->max_tokens < out->n_tokens) {
        QG_TRY(first_tokens(out, engine, result, (size_t)r->max_tokens, err));
        out->length = true;
    }
    return r->n_stops ? cut_at_stop(out, engine, result, r, err) : QG_OK;
}

void qg_chat_text_free(qg_chat_text *text)
{
    qg_free(text->owned);
    text->owned = NULL;
}
