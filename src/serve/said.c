#define _GNU_SOURCE

#include "serve/said.h"

/* First place where one of the stop strings begins, or NULL. */
static const char *find_stop(const qg_gen_options *o, qg_slice text, qg_slice *which)
{
    const char *first = NULL;
    for (size_t i = 0; i < o->n_stops; i++) {
        const char *at = memmem(text.p, text.n, o->stops[i].p, o->stops[i].n);
        if (at && (!first || at < first)) {
            first = at;
            *which = qg_slice_of(o->stops[i].p, o->stops[i].n);
        }
    }
    return first;
}

static qg_status first_tokens(qg_said *out, const qg_engine *engine, const qg_result *result,
                              size_t n, qg_err *err)
{
    size_t bytes = 0;
    qg_said_free(out);
    QG_TRY(qg_detokenize(engine, result->ids, n, true, &out->owned, &bytes, err));
    out->text = qg_slice_of(out->owned, bytes);
    out->n_tokens = (int64_t)n;
    return QG_OK;
}

/* A server that decodes stops at the first token that completes a stop string: the least n whose
 * text holds one.  All longer texts hold it too. */
static qg_status cut_at_stop(qg_said *out, const qg_engine *engine, const qg_result *result,
                             const qg_gen_options *o, qg_err *err)
{
    size_t without = 0, with = (size_t)out->n_tokens;
    qg_slice which = {NULL, 0};
    if (!find_stop(o, out->text, &which))
        return QG_OK;
    while (with - without > 1) {
        size_t n = without + (with - without) / 2;
        QG_TRY(first_tokens(out, engine, result, n, err));
        if (find_stop(o, out->text, &which))
            with = n;
        else
            without = n;
    }
    QG_TRY(first_tokens(out, engine, result, with, err));
    const char *at = find_stop(o, out->text, &which);
    if (at)
        out->text.n = (size_t)(at - out->text.p);
    out->stop = which;
    out->length = false;
    return QG_OK;
}

static int32_t ending_stop_id(const qg_result *result, const qg_gen_options *o)
{
    int32_t last = result->n_ids ? result->ids[result->n_ids - 1] : -1;
    for (size_t i = 0; result->finished && i < o->sampling.n_stop_ids; i++)
        if (o->sampling.stop_ids[i] == last)
            return last;
    return -1;
}

qg_status qg_said_make(qg_said *out, const qg_engine *engine, const qg_result *result,
                       const qg_gen_options *o, qg_err *err)
{
    *out = (qg_said){.text = {result->text, result->text_bytes},
                     .n_tokens = (int64_t)result->n_ids,
                     .stop_id = ending_stop_id(result, o),
                     .length = !result->finished};
    if (o->max_tokens && o->max_tokens < out->n_tokens) {
        QG_TRY(first_tokens(out, engine, result, (size_t)o->max_tokens, err));
        out->length = true;
    }
    return o->n_stops ? cut_at_stop(out, engine, result, o, err) : QG_OK;
}

void qg_said_free(qg_said *said)
{
    qg_free(said->owned);
    said->owned = NULL;
}
