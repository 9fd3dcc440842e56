/* POST /beta/litellm_basic_guardrail_api: LiteLLM's generic guardrail.  A response comes without
 * its prompt: the request of the same call was kept, so that the reply is judged as a reply. */
#include "serve/outcome.h"
#include "serve/tool_calls.h"

#include "base/mem.h"

#include <stdio.h>

typedef struct litellm_job {
    qg_serve_job job; /* first */
    json_t *before;   /* the request's messages, for a response */
    qg_slice policy;
} litellm_job;

static size_t count_texts(const json_t *texts, const json_t *calls)
{
    size_t i, n = 0;
    const json_t *item;
    json_array_foreach (texts, i, item)
        n += json_string_length(item) > 0;
    return n + json_array_size(calls);
}

/* The messages kept (may be none) and the text behind them. */
static qg_status ask_reply(qg_serve_job *job, size_t i, const qg_messages *before, const char *role,
                           qg_text text)
{
    qg_messages m = {.n = before->n + 1};
    m.p = qg_arena_calloc(&job->arena, m.n, sizeof *m.p);
    if (!m.p)
        return qg_fault_set(&job->fault, job->arena.why, "Out of memory.", "body.texts");
    if (before->n)
        memcpy(m.p, before->p, before->n * sizeof *m.p);
    m.p[before->n] = (qg_message){role, text};
    return qg_serve_ask_messages(job, i, &m);
}

static qg_text text_of(const json_t *value)
{
    qg_slice text = qg_json_slice(value);
    return (qg_text){text.p, text.n};
}

static qg_status ask_texts(qg_serve_job *job, const qg_messages *before, const char *role)
{
    json_t *texts = NULL, *calls = NULL, *item;
    size_t i, n = 0;
    QG_TRY(qg_body_opt_array(job->root, "body", "texts", &texts, &job->fault));
    QG_TRY(qg_body_opt_array(job->root, "body", "tool_calls", &calls, &job->fault));
    QG_TRY(qg_serve_asks(job, count_texts(texts, calls), "body.texts"));
    json_array_foreach (texts, i, item)
        if (json_string_length(item))
            QG_TRY(ask_reply(job, n++, before, role, text_of(item)));
    json_array_foreach (calls, i, item) {
        qg_text text;
        qg_status rc = qg_call_text(&job->arena, item, &text);
        if (rc != QG_OK)
            return qg_fault_set(&job->fault, rc, "The tool calls need too much memory.",
                                "body.tool_calls");
        QG_TRY(ask_reply(job, n++, before, role, text));
    }
    return QG_OK;
}

/* Another key's calls are another's. */
static qg_slice owner(const qg_serve_job *job)
{
    qg_slice key = qg_http_header(job->req, "x-api-key");
    return key.p ? key : qg_http_header(job->req, "Authorization");
}

static qg_slice call_id(const qg_serve_job *job)
{
    return qg_json_slice(json_object_get(job->root, "litellm_call_id"));
}

/* The conversation up to the user's last message is the prompt. */
static void cut_to_prompt(qg_messages *m)
{
    size_t n = m->n;
    while (n && !qg_slice_is(qg_str(m->p[n - 1].role), "user"))
        n--;
    m->n = n ? n : m->n;
}

static qg_status read_request(qg_serve_job *job)
{
    const json_t *list = json_object_get(job->root, "structured_messages");
    qg_messages m, none = {0};
    if (!json_array_size(list))
        return ask_texts(job, &none, "user");
    char *text = qg_json_dump(list);
    if (text)
        qg_pairs_put(job->srv->pairs, owner(job), call_id(job), qg_str(text));
    qg_mfree(text);
    QG_TRY(qg_messages_read(&job->arena, list, "body.structured_messages", &m, &job->fault));
    cut_to_prompt(&m);
    QG_TRY(qg_serve_asks(job, 1, "body.structured_messages"));
    return qg_serve_ask_messages(job, 0, &m);
}

static qg_status read_response(litellm_job *l)
{
    qg_serve_job *job = &l->job;
    qg_messages before = {0};
    qg_fault ignored;
    size_t n = 0;
    char *text = qg_pairs_get(job->srv->pairs, owner(job), call_id(job), &n);
    if (text && qg_json_parse(qg_slice_of(text, n), QG_JSON_NUL, &l->before, NULL) == QG_OK &&
        qg_messages_read(&job->arena, l->before, "", &before, &ignored) != QG_OK)
        before.n = 0;
    qg_mfree(text);
    return ask_texts(job, &before, "assistant");
}

static qg_status litellm_read(qg_serve_job *job)
{
    litellm_job *l = (litellm_job *)job;
    json_t *own = NULL;
    qg_slice type;
    qg_policy_view view = job->view;
    QG_TRY(qg_body_get_str(job->root, "body", "input_type", &type, &job->fault));
    QG_TRY(qg_body_opt_object(job->root, "body", "additional_provider_specific_params", &own,
                              &job->fault));
    if (own)
        QG_TRY(qg_body_opt_str(own, "body.additional_provider_specific_params", "policy",
                               &l->policy, &job->fault));
    if (!qg_view_choose(&view, l->policy))
        return qg_fault_set(&job->fault, QG_ERR_ARG, "policy must be strict or loose.",
                            "body.additional_provider_specific_params.policy");
    if (qg_slice_is(type, "request"))
        return read_request(job);
    if (qg_slice_is(type, "response"))
        return read_response(l);
    return qg_fault_set(&job->fault, QG_ERR_ARG, "input_type must be request or response.",
                        "body.input_type");
}

/* Nothing but action for a pass: texts would replace what was sent. */
static void litellm_answer(qg_serve_job *job)
{
    qg_policy_view view = job->view;
    qg_view_choose(&view, ((litellm_job *)job)->policy);
    for (size_t i = 0; i < job->n_asks; i++) {
        qg_outcome outcome;
        char sentence[128];
        qg_outcome_of(&outcome, &view, job->asks[i].result);
        if (!outcome.block)
            continue;
        qg_outcome_sentence(&outcome, sentence, sizeof sentence);
        qg_serve_reply(job,
                       json_pack("{s:s,s:s}", "action", "BLOCKED", "blocked_reason", sentence));
        return;
    }
    qg_serve_reply(job, json_pack("{s:s}", "action", "NONE"));
}

static void litellm_free(qg_serve_job *job)
{
    json_decref(((litellm_job *)job)->before);
}

void qg_serve_litellm(qg_server *srv, qg_http_req *req)
{
    static const qg_serve_protocol how = {.size = sizeof(litellm_job),
                                          .read = litellm_read,
                                          .answer = litellm_answer,
                                          .free = litellm_free,
                                          .opens = true};
    qg_serve_judge(srv, req, &how);
}
