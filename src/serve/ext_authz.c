/* /ext_authz/…: Envoy's external authorization over HTTP (path_prefix /ext_authz).  The client's
 * own request comes by; 200 lets it through, anything else is the client's answer. */
#define _GNU_SOURCE /* strnlen */

#include "serve/outcome.h"
#include "text/utf8.h"

#include <stdio.h>

/* The prompts of a request in one of the forms of the OpenAI API; false where there is no text. */
static qg_status ask_strings(qg_serve_job *job, const char *key)
{
    const json_t *given = json_object_get(job->root, key);
    bool many = json_is_array(given);
    size_t n = many ? json_array_size(given) : 1;
    QG_TRY(qg_serve_asks(job, n, key));
    for (size_t i = 0; i < n; i++) {
        const json_t *text = many ? json_array_get(given, i) : given;
        if (!json_is_string(text))
            return qg_fault_set(&job->fault, QG_ERR_ARG, "This is not text that can be judged.",
                                "body.%s", key);
        QG_TRY(qg_serve_ask_text(job, i, "user", qg_json_slice(text)));
    }
    return QG_OK;
}

static qg_status ask_messages(qg_serve_job *job, const json_t *list)
{
    qg_messages m;
    QG_TRY(qg_messages_read(&job->arena, list, "body.messages", &m, &job->fault));
    size_t n = m.n;
    while (n && !qg_slice_is(qg_str(m.p[n - 1].role), "user"))
        n--;
    m.n = n ? n : m.n; /* what the user said last */
    QG_TRY(qg_serve_asks(job, 1, "body"));
    return qg_serve_ask_messages(job, 0, &m);
}

/* Without a body there is nothing to judge.  With one, all of it must have come, and be understood.
 */
static qg_status authz_read(qg_serve_job *job)
{
    qg_slice body = qg_http_body(job->req);
    if (qg_slice_is(qg_http_header(job->req, "x-envoy-auth-partial-body"), "true"))
        return qg_fault_set(&job->fault, QG_ERR_ARG,
                            "The request is larger than what was sent for judging.", "%s", "");
    if (body.n == 0)
        return qg_serve_asks(job, 0, "body");
    QG_TRY(qg_body_parse(body, &job->root, &job->fault));
    if (json_object_get(job->root, "messages"))
        return ask_messages(job, json_object_get(job->root, "messages"));
    if (json_object_get(job->root, "prompt"))
        return ask_strings(job, "prompt");
    if (json_object_get(job->root, "input"))
        return ask_strings(job, "input");
    return qg_fault_set(&job->fault, QG_ERR_ARG, "There are no messages, prompt or input to judge.",
                        "body");
}

static void authz_answer(qg_serve_job *job)
{
    enum { SHOWN = 300 }; /* bytes of the policy's message, cut between characters */
    qg_http_answer answer;
    for (size_t i = 0; i < job->n_asks; i++) {
        qg_outcome o;
        char message[512];
        qg_serve_outcome(job, i, &o);
        if (!o.block)
            continue;
        size_t n = qg_utf8_valid_prefix(qg_slice_of(o.message, strnlen(o.message, SHOWN)));
        snprintf(message, sizeof message, "%.*s (%s: %s)", (int)n, o.message, o.severity,
                 o.category_name);
        qg_serve_fail(job->req, &(qg_serve_error){.status = 403,
                                                  .type = "invalid_request_error",
                                                  .code = "content_filter",
                                                  .param = "prompt",
                                                  .message = message,
                                                  .no_retry = true});
        return;
    }
    qg_http_answer_init(&answer, 200);
    qg_http_reply(job->req, &answer);
}

void qg_serve_ext_authz(qg_server *srv, qg_http_req *req)
{
    static const qg_serve_protocol how = {.size = sizeof(qg_serve_job),
                                          .read = authz_read,
                                          .answer = authz_answer,
                                          .raw = true,
                                          .opens = true};
    qg_serve_judge(srv, req, &how);
}
