/* POST /request, /response: agentgateway's webhook guardrail.  A rejection without status_code
 * would be read as a pass. */
#include "serve/outcome.h"
#include "serve/tool_calls.h"

static qg_status request_read(qg_serve_job *job)
{
    json_t *body;
    qg_messages m;
    QG_TRY(qg_body_get_object(job->root, "body", "body", &body, &job->fault));
    QG_TRY(qg_messages_read(&job->arena, json_object_get(body, "messages"), "body.body.messages",
                            &m, &job->fault));
    QG_TRY(qg_serve_asks(job, 1, "body"));
    return qg_serve_ask_messages(job, 0, &m);
}

/* A choice that says and calls nothing has nothing to judge. */
static qg_status response_read(qg_serve_job *job)
{
    json_t *body, *choices;
    size_t n = 0;
    QG_TRY(qg_body_get_object(job->root, "body", "body", &body, &job->fault));
    QG_TRY(qg_body_get_array(body, "body.body", "choices", &choices, &job->fault));
    QG_TRY(qg_serve_asks(job, json_array_size(choices), "body.body.choices"));
    for (size_t i = 0; i < json_array_size(choices); i++) {
        const json_t *message = json_object_get(json_array_get(choices, i), "message");
        const json_t *content = json_object_get(message, "content");
        qg_text text;
        if (!content && !qg_has_calls(message))
            return qg_fault_set(&job->fault, QG_ERR_FORMAT, "A message needs a content.",
                                "body.body.choices.%zu.message.content", i);
        QG_TRY(qg_message_text(&job->arena, message, "body.body.choices.message.content", &text,
                               &job->fault));
        if (text.n == 0)
            continue;
        QG_TRY(qg_serve_ask_text(job, n++, "assistant", qg_slice_of(text.p, text.n)));
    }
    job->n_asks = n;
    return QG_OK;
}

static void webhook_answer(qg_serve_job *job)
{
    for (size_t i = 0; i < job->n_asks; i++) {
        qg_outcome o;
        char sentence[128];
        qg_serve_outcome(job, i, &o);
        if (!o.block)
            continue;
        qg_outcome_sentence(&o, sentence, sizeof sentence);
        qg_serve_reply(job, json_pack("{s:{s:s,s:i,s:s}}", "action", "body", o.message,
                                      "status_code", 403, "reason", sentence));
        return;
    }
    qg_serve_reply(job, json_pack("{s:{s:s}}", "action", "reason", "ok"));
}

void qg_serve_webhook_request(qg_server *srv, qg_http_req *req)
{
    static const qg_serve_protocol how = {.size = sizeof(qg_serve_job),
                                          .read = request_read,
                                          .answer = webhook_answer,
                                          .opens = true};
    qg_serve_judge(srv, req, &how);
}

void qg_serve_webhook_response(qg_server *srv, qg_http_req *req)
{
    static const qg_serve_protocol how = {.size = sizeof(qg_serve_job),
                                          .read = response_read,
                                          .answer = webhook_answer,
                                          .opens = true};
    qg_serve_judge(srv, req, &how);
}
