/* POST /dify: Dify's API-based moderation extension.  One path, the body's "point" says what. */
#include "serve/outcome.h"

static bool is_point(const qg_serve_job *job, const char *point)
{
    return qg_slice_is(qg_json_slice(json_object_get(job->root, "point")), point);
}

/* The question and every text variable, each judged by itself: a form's fields are no conversation.
 * An app without a question sends null or "". */
static qg_status read_input(qg_serve_job *job, const json_t *params)
{
    json_t *inputs = NULL, *value;
    const char *key;
    qg_slice query = {"", 0};
    size_t n = 0;
    QG_TRY(qg_body_opt_str(params, "body.params", "query", &query, &job->fault));
    QG_TRY(qg_body_opt_object(params, "body.params", "inputs", &inputs, &job->fault));
    json_object_foreach (inputs, key, value)
        n += json_string_length(value) > 0;
    QG_TRY(qg_serve_asks(job, n + (query.n > 0), "body.params.inputs"));
    n = 0;
    if (query.n)
        QG_TRY(qg_serve_ask_text(job, n++, "user", query));
    json_object_foreach (inputs, key, value)
        if (json_string_length(value))
            QG_TRY(qg_serve_ask_text(job, n++, "user", qg_json_slice(value)));
    return QG_OK;
}

static qg_status dify_read(qg_serve_job *job)
{
    json_t *params;
    qg_slice text;
    if (is_point(job, "ping"))
        return qg_serve_asks(job, 0, "body");
    QG_TRY(qg_body_get_object(job->root, "body", "params", &params, &job->fault));
    if (is_point(job, "app.moderation.input"))
        return read_input(job, params);
    if (!is_point(job, "app.moderation.output"))
        return qg_fault_set(&job->fault, QG_ERR_ARG,
                            "point must be ping, app.moderation.input or app.moderation.output.",
                            "body.point");
    QG_TRY(qg_body_get_str(params, "body.params", "text", &text, &job->fault));
    QG_TRY(qg_serve_asks(job, text.n > 0, "body.params"));
    return text.n ? qg_serve_ask_text(job, 0, "assistant", text) : QG_OK;
}

/* action is required even where nothing is flagged, and no string may be null. */
static void dify_answer(qg_serve_job *job)
{
    const char *message = "";
    if (is_point(job, "ping")) {
        qg_serve_reply(job, json_pack("{s:s}", "result", "pong"));
        return;
    }
    for (size_t i = 0; i < job->n_asks && !*message; i++) {
        qg_outcome outcome;
        qg_serve_outcome(job, i, &outcome);
        if (outcome.block)
            message = outcome.message;
    }
    qg_serve_reply(job, json_pack("{s:b,s:s,s:s,s:{},s:s,s:s}", "flagged", *message != 0, "action",
                                  "direct_output", "preset_response", message, "inputs", "query",
                                  "", "text", ""));
}

void qg_serve_dify(qg_server *srv, qg_http_req *req)
{
    static const qg_serve_protocol how = {
        .size = sizeof(qg_serve_job), .read = dify_read, .answer = dify_answer, .opens = true};
    qg_serve_judge(srv, req, &how);
}
