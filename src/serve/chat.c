/* POST /v1/chat/completions: the protocol that every Qwen3Guard script already speaks. */
#define _GNU_SOURCE

#include "base/mem.h"
#include "serve/chat_answer.h"
#include "svc/reqid.h"

#include <stdio.h>

typedef struct chat_job {
    qg_serve_job job; /* first */
    qg_chat_request r;
    qg_status rc; /* of reading it */
    qg_chat_fault fault;
} chat_job;

/* A stream: made frame by frame when the client can take more. */
typedef struct chat_stream {
    qg_http_source source; /* first */
    qg_chat_answer a;
    qg_result *result; /* what a's texts may point into, as into the request */
    qg_chat_request r;
    int64_t step;
    char *frame;
    size_t n, at; /* bytes of frame, and how many of them were taken */
} chat_stream;

static ssize_t stream_pull(qg_http_source *source, char *out, size_t room)
{
    chat_stream *s = (chat_stream *)source;
    if (s->at == s->n) {
        qg_mfree(s->frame);
        int rc = qg_chat_answer_frame(&s->a, s->step++, &s->frame);
        s->n = s->frame ? strlen(s->frame) : 0;
        s->at = 0;
        if (rc != 1)
            return rc;
    }
    size_t n = s->n - s->at < room ? s->n - s->at : room;
    memcpy(out, s->frame + s->at, n);
    s->at += n;
    return (ssize_t)n;
}

static void stream_close(qg_http_source *source)
{
    chat_stream *s = (chat_stream *)source;
    qg_chat_text_free(&s->a.said);
    qg_result_free(s->result);
    qg_chat_request_free(&s->r);
    qg_mfree(s->frame);
    qg_mfree(s);
}

static void fail_memory(qg_serve_job *job)
{
    qg_err err;
    qg_serve_fail_status(job->srv, job->req, qg_fail(&err, QG_ERR_NOMEM, "Out of memory."), &err);
}

/* Takes the result, the request and a's text: the job goes before the stream does. */
static void reply_stream(chat_job *c, qg_chat_answer *a)
{
    chat_stream *s = qg_calloc(1, sizeof *s);
    if (!s) {
        qg_chat_text_free(&a->said);
        fail_memory(&c->job);
        return;
    }
    s->source = (qg_http_source){stream_pull, stream_close};
    s->a = *a;
    s->result = c->job.result;
    s->r = c->r;
    c->job.result = NULL;
    c->r = (qg_chat_request){0};
    qg_http_answer answer;
    qg_http_answer_init(&answer, 200);
    answer.type = "text/event-stream; charset=utf-8";
    answer.source = &s->source;
    qg_http_answer_header(&answer, "Cache-Control", "no-cache");
    qg_http_reply(c->job.req, &answer);
}

/* The client may name its request in the body too; the header wins. */
static void take_id(const chat_job *c)
{
    char id[QG_HTTP_VALUE_BYTES];
    if (!qg_reqid_ok(c->r.id) || qg_http_header(c->job.req, "X-Request-Id").p)
        return;
    snprintf(id, sizeof id, "%.*s", (int)c->r.id.n, c->r.id.p);
    qg_http_set_id(c->job.req, id);
}

static void chat_answer(qg_serve_job *job)
{
    chat_job *c = (chat_job *)job;
    const qg_result *result = job->result;
    qg_chat_answer a = {
        .model = job->srv->names[0],
        .created = qg_serve_now(),
        .n = c->r.n,
        .n_prompt = result->n_prompt_tokens,
        .n_cached = result->n_cached_tokens,
        .include_usage = c->r.include_usage,
        .continuous_usage = c->r.continuous_usage,
    };
    take_id(c);
    snprintf(a.id, sizeof a.id, "chatcmpl-%s", qg_http_id(job->req));
    qg_status rc = qg_chat_text_make(&a.said, job->srv->engine, result, &c->r, &job->err);
    if (rc != QG_OK) {
        qg_chat_text_free(&a.said);
        qg_serve_fail_status(job->srv, job->req, rc == QG_ERR_NOMEM ? rc : QG_ERR_INTERNAL,
                             &job->err);
    } else if (c->r.stream) {
        reply_stream(c, &a);
    } else {
        qg_serve_json(job->req, qg_chat_answer_object(&a));
        qg_chat_text_free(&a.said);
    }
}

static void chat_free(qg_serve_job *job)
{
    chat_job *c = (chat_job *)job;
    qg_chat_request_free(&c->r);
    qg_mfree(c);
}

static bool chat_read(qg_serve_job *job)
{
    chat_job *c = (chat_job *)job;
    c->rc = qg_chat_request_read(&c->r, qg_http_body(job->req), &c->fault);
    job->messages = c->r.messages;
    job->n_messages = c->r.n_messages;
    return c->rc == QG_OK && qg_serve_knows(job->srv, c->r.model);
}

static void fail_request(const chat_job *c)
{
    const qg_chat_fault *fault = &c->fault;
    char message[sizeof fault->err.msg + 128];
    snprintf(message, sizeof message, "%s%s", fault->schema ? "1 validation error: " : "",
             fault->err.msg);
    qg_serve_fail(c->job.req, &(qg_serve_error){
                                  .status = 400,
                                  .type = fault->schema ? "Bad Request" : "BadRequestError",
                                  .param = fault->param[0] ? fault->param : NULL,
                                  .message = message,
                              });
}

static void chat_refuse(qg_serve_job *job)
{
    chat_job *c = (chat_job *)job;
    if (c->rc == QG_OK)
        qg_serve_fail_model(job->req, c->r.model);
    else if (c->rc == QG_ERR_NOMEM)
        fail_memory(job);
    else
        fail_request(c);
}

void qg_serve_chat(qg_server *srv, qg_http_req *req)
{
    static const qg_serve_protocol chat = {chat_read, chat_refuse, chat_answer, chat_free};
    chat_job *c = qg_calloc(1, sizeof *c);
    if (!c) {
        qg_err err;
        qg_serve_fail_status(srv, req, qg_fail(&err, QG_ERR_NOMEM, "Out of memory."), &err);
        return;
    }
    c->job.how = &chat;
    c->job.srv = srv;
    c->job.req = req;
    qg_serve_judge(&c->job);
}
