/* POST /v1/chat/completions: the protocol that every Qwen3Guard script already speaks. */
#define _GNU_SOURCE

#include "serve/chat_request.h"
#include "serve/completion.h"
#include "serve/logprobs.h"
#include "serve/outcome.h"
#include "svc/reqid.h"

#include <stdio.h>

typedef struct chat_job {
    qg_serve_job job; /* first */
    qg_chat_request r;
    size_t per_ask; /* choices that show the same text: all of them unless it is sampled */
    int64_t input_ask, output_ask; /* verdicts for the moderation field; -1 = none */
} chat_job;

static json_t *logprobs(const qg_completion *c, size_t i)
{
    return qg_logprobs_chat(c->engine, qg_completion_result(c, i),
                            (size_t)qg_completion_said(c, i)->n_tokens,
                            c->gen->sampling.top_logprobs);
}

static json_t *choice(const qg_completion *c, size_t i)
{
    json_t *message = json_pack("{s:s,s:o,s:n,s:[]}", "role", "assistant", "content",
                                qg_completion_text(c, i), "refusal", "tool_calls");
    return json_pack("{s:I,s:o,s:o,s:s,s:o}", "index", (json_int_t)i, "message", message,
                     "logprobs", logprobs(c, i), "finish_reason", qg_completion_finish(c, i),
                     "stop_reason", qg_completion_stop_reason(c, i));
}

/* The role, the text, the end. */
static json_t *delta(const qg_completion *c, size_t i, int part)
{
    json_t *said;
    if (part == 0)
        said = json_pack("{s:s,s:s}", "role", "assistant", "content", "");
    else if (part == 1)
        said = json_pack("{s:o}", "content", qg_completion_text(c, i));
    else
        said = json_pack("{s:s}", "content", "");
    return json_pack("{s:I,s:o,s:o,s:s?,s:o*}", "index", (json_int_t)i, "delta", said, "logprobs",
                     part == 1 ? logprobs(c, i) : json_null(), "finish_reason",
                     part == 2 ? qg_completion_finish(c, i) : NULL, "stop_reason",
                     part == 2 ? qg_completion_stop_reason(c, i) : NULL);
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

/* One side of the moderation field: what the verdict says, or why there is none. */
static json_t *side(const chat_job *c, int64_t i, const char *why_not)
{
    const qg_serve_job *job = &c->job;
    const char *model = job->house->names[0];
    qg_outcome outcome;
    if (i >= 0 && job->asks[i].result->well_formed) {
        qg_serve_outcome(job, (size_t)i, &outcome);
        return json_pack("{s:s,s:s,s:[o]}", "type", "moderation_results", "model", model, "results",
                         qg_outcome_moderation(&outcome, model));
    }
    return json_pack("{s:s,s:s,s:s}", "type", "error", "code", i < 0 ? "not_run" : "no_verdict",
                     "message", i < 0 ? why_not : "the model wrote no verdict");
}

static void chat_answer(qg_serve_job *job)
{
    static const qg_completion_shape shape = {
        "chatcmpl-", "chat.completion", "chat.completion.chunk", 3, choice, delta};
    chat_job *c = (chat_job *)job;
    qg_completion answer = {
        .shape = &shape, .gen = &c->r.gen, .n = (size_t)c->r.gen.n, .per_ask = c->per_ask};
    if (c->r.moderation)
        answer.moderation =
            json_pack("{s:o,s:o}", "input", side(c, c->input_ask, "there is no message of a user"),
                      "output", side(c, c->output_ask, "the last message is the user's"));
    take_id(c);
    qg_completion_reply(&answer, job);
    json_decref(answer.moderation);
}

/* Verdicts for the moderation field stand behind the n asks for text.  What is judged anyway need
 * not be judged twice. */
static qg_status read_moderation(chat_job *c, size_t n)
{
    qg_serve_job *job = &c->job;
    bool again = job->asks[0].request.decode == QG_DECODE_GENERATE;
    int64_t judged = again ? (int64_t)n : 0, next = again ? (int64_t)n + 1 : (int64_t)n;
    if (again)
        QG_TRY(qg_serve_ask_messages(job, n, &c->r.messages));
    c->input_ask = c->r.judges_prompt ? judged : -1;
    c->output_ask = c->r.judges_prompt ? -1 : judged;
    if (!c->r.judges_prompt && c->r.prompt.n) {
        QG_TRY(qg_serve_ask_messages(job, (size_t)next, &c->r.prompt));
        c->input_ask = next++;
    }
    job->n_asks = (size_t)next;
    return QG_OK;
}

/* Choices have one prompt, which is counted once. */
static qg_status same_messages(qg_serve_job *job, size_t i)
{
    job->asks[i].request.messages = job->asks[0].request.messages;
    job->asks[i].request.n_messages = job->asks[0].request.n_messages;
    return QG_OK;
}

static qg_status chat_read(qg_serve_job *job)
{
    chat_job *c = (chat_job *)job;
    qg_chat_request *r = &c->r;
    QG_TRY(qg_chat_request_read(r, job->root, &job->arena, &job->fault));
    QG_TRY(qg_serve_check_model(job));
    c->per_ask = r->gen.samples ? 1 : (size_t)r->gen.n;
    size_t n = (size_t)r->gen.n / c->per_ask;
    QG_TRY(qg_serve_asks(job, n + (r->moderation ? 2 : 0), "body.n"));
    for (size_t i = 0; i < n; i++) {
        QG_TRY(i ? same_messages(job, i) : qg_serve_ask_messages(job, 0, &r->messages));
        if (r->gen.decodes)
            job->asks[i].request.decode = QG_DECODE_GENERATE;
        QG_TRY(qg_gen_options_apply(&r->gen, (int64_t)i, &job->asks[i].request, &job->arena,
                                    &job->fault));
    }
    return r->moderation ? read_moderation(c, n) : QG_OK;
}

void qg_serve_chat(qg_server *srv, qg_http_req *req)
{
    static const qg_serve_protocol chat = {
        .size = sizeof(chat_job), .read = chat_read, .answer = chat_answer, .any_text = true};
    qg_serve_judge(srv, req, &chat);
}
