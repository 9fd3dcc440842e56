#define _GNU_SOURCE

#include "serve/completion.h"

#include "base/buf.h"
#include "base/limits.h"

#include <stdio.h>

const qg_said *qg_completion_said(const qg_completion *c, size_t i)
{
    return &c->said[i / c->per_ask];
}

const qg_result *qg_completion_result(const qg_completion *c, size_t i)
{
    return c->asks[i / c->per_ask].result;
}

json_t *qg_completion_text(const qg_completion *c, size_t i)
{
    qg_slice text = qg_completion_said(c, i)->text;
    return json_stringn(text.p, text.n);
}

const char *qg_completion_finish(const qg_completion *c, size_t i)
{
    return qg_completion_said(c, i)->length ? "length" : "stop";
}

json_t *qg_completion_stop_reason(const qg_completion *c, size_t i)
{
    const qg_said *said = qg_completion_said(c, i);
    if (said->stop.p)
        return json_stringn(said->stop.p, said->stop.n);
    return said->stop_id >= 0 ? json_integer(said->stop_id) : json_null();
}

/* Prompts that are judged once count once. */
static json_t *usage(const qg_completion *c)
{
    json_int_t prompt = 0, cached = 0, said = 0;
    const qg_request *before = NULL;
    for (size_t i = 0; i < c->n; i++)
        said += qg_completion_said(c, i)->n_tokens;
    for (size_t i = 0; i < c->n / c->per_ask; i++) {
        const qg_request *ask = &c->asks[i].request;
        bool same = before && before->messages == ask->messages && before->ids == ask->ids;
        prompt += same ? 0 : c->asks[i].result->n_prompt_tokens;
        cached += same ? 0 : c->asks[i].result->n_cached_tokens;
        before = ask;
    }
    json_t *details = cached ? json_pack("{s:I}", "cached_tokens", cached) : json_null();
    return json_pack("{s:I,s:I,s:I,s:o}", "prompt_tokens", prompt, "completion_tokens", said,
                     "total_tokens", prompt + said, "prompt_tokens_details", details);
}

static json_t *envelope(const qg_completion *c, const char *object, json_t *choices)
{
    return json_pack("{s:s,s:s,s:I,s:s,s:o}", "id", c->id, "object", object, "created",
                     (json_int_t)c->created, "model", c->model, "choices", choices);
}

/* The object, or NULL (and gone) when value could not be set. */
static json_t *with(json_t *object, const char *key, json_t *value)
{
    if (object && json_object_set_new(object, key, value) == 0)
        return object;
    json_decref(object);
    return NULL;
}

static json_t *whole(const qg_completion *c)
{
    json_t *choices = json_array();
    for (size_t i = 0; choices && i < c->n; i++)
        if (json_array_append_new(choices, c->shape->choice(c, i))) {
            json_decref(choices);
            choices = NULL;
        }
    json_t *object = with(envelope(c, c->shape->object, choices), "usage", usage(c));
    object = with(object, "service_tier", json_null());
    object = with(object, "system_fingerprint", json_null());
    return c->moderation ? with(object, "moderation", json_incref(c->moderation)) : object;
}

/* ---- streaming: each choice's parts; then the moderation, the usage; then the mark ----------- */

/* object is taken; NULL gives QG_ERR_NOMEM. */
static qg_status add_event(qg_buf *out, json_t *object)
{
    char *line = object ? qg_json_dump_digits(object, 9) : NULL;
    json_decref(object);
    if (!line)
        return QG_ERR_NOMEM;
    qg_status rc = qg_buf_adds(out, "data: ");
    if (rc == QG_OK)
        rc = qg_buf_adds(out, line);
    if (rc == QG_OK)
        rc = qg_buf_adds(out, "\n\n");
    qg_free(line);
    return rc;
}

static qg_status add_chunk(const qg_completion *c, qg_buf *out, json_t *choices)
{
    json_t *object = envelope(c, c->shape->chunk, choices);
    if (c->gen->continuous_usage)
        object = with(object, "usage", usage(c));
    return add_event(out, object);
}

static qg_status stream(const qg_completion *c, qg_buf *out)
{
    for (size_t i = 0; i < c->n; i++)
        for (int part = 0; part < c->shape->parts; part++)
            QG_TRY(add_chunk(c, out, json_pack("[o]", c->shape->delta(c, i, part))));
    if (c->moderation)
        QG_TRY(add_event(out, with(envelope(c, c->shape->chunk, json_array()), "moderation",
                                   json_incref(c->moderation))));
    if (c->gen->include_usage)
        QG_TRY(add_event(out, with(envelope(c, c->shape->chunk, json_array()), "usage", usage(c))));
    return qg_buf_adds(out, "data: [DONE]\n\n");
}

static void reply_stream(const qg_completion *c, qg_serve_job *job)
{
    qg_buf out;
    qg_http_answer answer;
    qg_buf_init(&out, QG_MAX_TEXT_BYTES);
    if (stream(c, &out) != QG_OK) {
        qg_buf_free(&out);
        qg_serve_reply(job, NULL);
        return;
    }
    qg_http_answer_init(&answer, 200);
    answer.type = "text/event-stream; charset=utf-8";
    answer.n = out.n;
    answer.body = qg_buf_take(&out);
    qg_http_answer_header(&answer, "Cache-Control", "no-cache");
    qg_http_reply(job->req, &answer);
}

void qg_completion_reply(qg_completion *c, qg_serve_job *job)
{
    size_t n = c->n / c->per_ask;
    qg_status rc = QG_OK;
    c->engine = job->house->engine;
    c->model = job->house->names[0];
    c->created = qg_serve_now();
    c->asks = job->asks;
    snprintf(c->id, sizeof c->id, "%s%s", c->shape->prefix, qg_http_id(job->req));
    c->said = qg_arena_calloc(&job->arena, n, sizeof *c->said);
    for (size_t i = 0; c->said && rc == QG_OK && i < n; i++)
        rc = qg_said_make(&c->said[i], c->engine, c->asks[i].result, c->gen, NULL);
    if (!c->said || rc != QG_OK)
        qg_serve_reply(job, NULL);
    else if (c->gen->stream)
        reply_stream(c, job);
    else
        qg_serve_reply(job, whole(c));
    for (size_t i = 0; c->said && i < n; i++)
        qg_said_free(&c->said[i]);
}
