/* POST /v1/safety/run-shield: Llama Stack's safety API. */
#include "serve/outcome.h"

static qg_status shield_read(qg_serve_job *job)
{
    qg_messages messages;
    QG_TRY(qg_messages_read(&job->arena, json_object_get(job->root, "messages"), "body.messages",
                            &messages, &job->fault));
    QG_TRY(qg_serve_asks(job, 1, "body"));
    return qg_serve_ask_messages(job, 0, &messages);
}

static void shield_answer(qg_serve_job *job)
{
    qg_outcome o;
    qg_serve_outcome(job, 0, &o);
    if (!o.hit) {
        qg_serve_reply(job, json_pack("{s:n}", "violation"));
        return;
    }
    json_t *metadata =
        json_pack("{s:s,s:s,s:f}", "severity", o.severity, "violation_type",
                  o.primary >= 0 ? qg_harms[o.primary].key : "unsafe", "score", o.score);
    qg_serve_reply(job, json_pack("{s:{s:s,s:s,s:o}}", "violation", "violation_level",
                                  o.block ? "error" : "warn", "user_message", o.message, "metadata",
                                  metadata));
}

void qg_serve_run_shield(qg_server *srv, qg_http_req *req)
{
    static const qg_serve_protocol how = {
        .size = sizeof(qg_serve_job), .read = shield_read, .answer = shield_answer, .opens = true};
    qg_serve_judge(srv, req, &how);
}
