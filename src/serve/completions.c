/* POST /v1/completions: the caller has formatted the prompt, the model writes on. */
#define _GNU_SOURCE

#include "base/limits.h"
#include "serve/completion.h"
#include "serve/logprobs.h"
#include "text/utf8.h"

typedef struct prompt {
    int32_t *ids;
    size_t n_ids;
    qg_slice text; /* for echo; p is NULL when it was given as ids */
    bool owned;    /* ids are the engine's, freed with qg_free */
} prompt;

typedef struct completions_job {
    qg_serve_job job; /* first */
    qg_gen_options gen;
    prompt *prompts;
    size_t n_prompts;
    size_t per_ask;
    bool echo;
} completions_job;

static qg_status read_ids(qg_serve_job *job, const json_t *list, const char *where, prompt *out)
{
    size_t i;
    json_t *id;
    out->n_ids = json_array_size(list);
    out->ids = qg_arena_calloc(&job->arena, out->n_ids, sizeof *out->ids);
    if (!out->ids)
        return qg_fault_set(&job->fault, job->arena.why, "Out of memory.", "%s", where);
    json_array_foreach (list, i, id) {
        json_int_t v = json_integer_value(id);
        if (!json_is_integer(id) || v < 0 || v > INT32_MAX)
            return qg_fault_set(&job->fault, QG_ERR_FORMAT, "This is not a token id.", "%s.%zu",
                                where, i);
        out->ids[i] = (int32_t)v;
    }
    return QG_OK;
}

/* Control tokens are meant: there is no template that would write them. */
static qg_status read_one(qg_serve_job *job, const json_t *one, const char *where, prompt *out)
{
    if (json_is_array(one))
        return read_ids(job, one, where, out);
    if (!json_is_string(one))
        return qg_fault_set(&job->fault, QG_ERR_FORMAT,
                            "prompt must be a string, strings, or token ids.", "%s", where);
    out->text = qg_json_slice(one);
    out->owned = true;
    qg_status rc = qg_tokenize(job->house->engine, (qg_text){out->text.p, out->text.n},
                               QG_SPECIAL_PARSE, &out->ids, &out->n_ids, &job->fault.err);
    job->fault.schema = false;
    return rc;
}

static qg_status read_prompts(completions_job *c)
{
    qg_serve_job *job = &c->job;
    const json_t *given = json_object_get(job->root, "prompt");
    bool many = json_is_array(given) && !json_is_integer(json_array_get(given, 0));
    size_t n = many ? json_array_size(given) : 1;
    if (n == 0 || n * (size_t)c->gen.n > QG_MAX_CHOICES)
        return qg_fault_set(&job->fault, QG_ERR_ARG, "Between 1 and 128 answers can be asked for.",
                            "body.prompt");
    c->prompts = qg_arena_calloc(&job->arena, n, sizeof *c->prompts);
    if (!c->prompts)
        return qg_fault_set(&job->fault, job->arena.why, "Out of memory.", "body.prompt");
    c->n_prompts = n;
    for (size_t i = 0; i < n; i++)
        QG_TRY(
            read_one(job, many ? json_array_get(given, i) : given, "body.prompt", &c->prompts[i]));
    return QG_OK;
}

static qg_status read_logprobs(completions_job *c)
{
    int64_t top = -1;
    QG_TRY(qg_body_opt_int(c->job.root, "body", "logprobs", 0, QG_MAX_TOP_LOGPROBS, &top,
                           &c->job.fault));
    QG_TRY(qg_body_opt_bool(c->job.root, "body", "echo", &c->echo, &c->job.fault));
    if (top >= 0 && c->echo)
        return qg_fault_set(&c->job.fault, QG_ERR_ARG,
                            "logprobs of the prompt (with echo) are not given.", "body.echo");
    c->gen.sampling.top_logprobs = (int32_t)top;
    return QG_OK;
}

static qg_status completions_read(qg_serve_job *job)
{
    enum { DEFAULT_TOKENS = 16 };
    completions_job *c = (completions_job *)job;
    QG_TRY(qg_serve_check_model(job));
    QG_TRY(qg_gen_options_read(&c->gen, job->root, &job->arena, &job->fault));
    c->gen.max_tokens = c->gen.max_tokens ? c->gen.max_tokens : DEFAULT_TOKENS;
    QG_TRY(read_logprobs(c));
    QG_TRY(read_prompts(c));
    c->per_ask = c->gen.samples ? 1 : (size_t)c->gen.n;
    size_t each = (size_t)c->gen.n / c->per_ask;
    QG_TRY(qg_serve_asks(job, c->n_prompts * each, "body.prompt"));
    for (size_t i = 0; i < job->n_asks; i++) {
        qg_request *ask = &job->asks[i].request;
        ask->ids = c->prompts[i / each].ids;
        ask->n_ids = c->prompts[i / each].n_ids;
        ask->decode = QG_DECODE_GENERATE;
        QG_TRY(qg_gen_options_apply(&c->gen, (int64_t)(i % each), ask, &job->arena, &job->fault));
    }
    return QG_OK;
}

/* ---- the answer ---- */

static const prompt *prompt_of(const qg_completion *c, size_t i)
{
    const completions_job *own = c->more;
    return &own->prompts[i / (size_t)own->gen.n];
}

static json_t *text(const qg_completion *c, size_t i)
{
    const completions_job *own = c->more;
    json_t *said = qg_completion_text(c, i);
    qg_slice before = prompt_of(c, i)->text, behind = qg_json_slice(said);
    if (!own->echo || !before.p)
        return said;
    json_t *both = json_pack("s%+%", before.p, before.n, behind.p, behind.n);
    json_decref(said);
    return both;
}

static json_t *logprobs(const qg_completion *c, size_t i)
{
    qg_slice before = prompt_of(c, i)->text;
    return qg_logprobs_text(
        c->engine, qg_completion_result(c, i), (size_t)qg_completion_said(c, i)->n_tokens,
        c->gen->sampling.top_logprobs, before.p ? (int64_t)qg_utf8_count(before) : 0);
}

static json_t *choice(const qg_completion *c, size_t i)
{
    return json_pack("{s:I,s:o,s:o,s:s,s:o}", "index", (json_int_t)i, "text", text(c, i),
                     "logprobs", logprobs(c, i), "finish_reason", qg_completion_finish(c, i),
                     "stop_reason", qg_completion_stop_reason(c, i));
}

/* Text and end in one: the client's type has no finish_reason that is null. */
static json_t *delta(const qg_completion *c, size_t i, int part)
{
    (void)part;
    return choice(c, i);
}

static void completions_answer(qg_serve_job *job)
{
    static const qg_completion_shape shape = {
        "cmpl-", "text_completion", "text_completion", 1, choice, delta};
    completions_job *c = (completions_job *)job;
    qg_completion answer = {.shape = &shape,
                            .gen = &c->gen,
                            .n = c->n_prompts * (size_t)c->gen.n,
                            .per_ask = c->per_ask,
                            .more = c};
    qg_completion_reply(&answer, job);
}

static void completions_free(qg_serve_job *job)
{
    completions_job *c = (completions_job *)job;
    for (size_t i = 0; i < c->n_prompts; i++)
        if (c->prompts[i].owned)
            qg_free(c->prompts[i].ids);
}

void qg_serve_completions(qg_server *srv, qg_http_req *req)
{
    static const qg_serve_protocol how = {.size = sizeof(completions_job),
                                          .read = completions_read,
                                          .answer = completions_answer,
                                          .free = completions_free,
                                          .any_text = true};
    qg_serve_judge(srv, req, &how);
}
