/* A Pipelines server with one filter, "qguard": Open WebUI asks it before each chat (inlet) and
 * shows it each answer (outlet).  What it sends comes back unchanged but for what is blocked. */
#include "serve/outcome.h"
#include "serve/tool_calls.h"

#include <stdio.h>

typedef struct pipelines_job {
    qg_serve_job job; /* first */
    json_t *body;     /* of root, to be sent back */
    json_t *said;     /* outlet: the message that is judged */
} pipelines_job;

static const char id[] = "qguard";

/* ---- what it is ---- */

static json_t *card(const qg_server *srv)
{
    json_t *pipeline = json_pack("{s:s,s:[s],s:i,s:b}", "type", "filter", "pipelines", "*",
                                 "priority", 0, "valves", 0);
    return json_pack("{s:s,s:s,s:s,s:I,s:s,s:o}", "id", id, "name", "qguard", "object", "model",
                     "created", (json_int_t)srv->created, "owned_by", "openai", "pipeline",
                     pipeline);
}

void qg_serve_pipelines_models(qg_server *srv, qg_http_req *req)
{
    qg_serve_json(
        req, json_pack("{s:s,s:b,s:[o]}", "object", "list", "pipelines", 1, "data", card(srv)));
}

void qg_serve_pipelines_list(qg_server *srv, qg_http_req *req)
{
    (void)srv;
    qg_serve_json(req, json_pack("{s:[{s:s,s:s,s:s,s:b}]}", "data", "id", id, "name", "qguard",
                                 "type", "filter", "valves", 0));
}

/* The policy file is where settings are made. */
void qg_serve_pipelines_valves(qg_server *srv, qg_http_req *req)
{
    (void)srv;
    qg_serve_json(req, json_object());
}

void qg_serve_pipelines_spec(qg_server *srv, qg_http_req *req)
{
    (void)srv;
    qg_serve_json(req,
                  json_pack("{s:s,s:s,s:{}}", "title", "Valves", "type", "object", "properties"));
}

void qg_serve_pipelines_no(qg_server *srv, qg_http_req *req)
{
    (void)srv;
    qg_serve_fail_with(
        req, &(qg_serve_error){.status = 501, .type = "NotImplementedError", .message = ""},
        json_pack("{s:s}", "detail", "This filter is part of the server."));
}

/* ---- what it does ---- */

/* Our own answers need no judge (a filter for all models is also asked about ours). */
static bool is_ours(const pipelines_job *p)
{
    qg_slice model = qg_json_slice(json_object_get(p->body, "model"));
    return model.n && qg_serve_knows(p->job.house, model);
}

/* Index of the last message of a role, or -1. */
static int64_t last_of(const json_t *messages, const char *role)
{
    for (int64_t i = (int64_t)json_array_size(messages) - 1; i >= 0; i--)
        if (qg_slice_is(qg_json_slice(json_object_get(json_array_get(messages, (size_t)i), "role")),
                        role))
            return i;
    return -1;
}

/* Judges messages up to the last one of this role. */
static qg_status read_up_to(pipelines_job *p, const char *role)
{
    qg_serve_job *job = &p->job;
    qg_messages m;
    QG_TRY(qg_body_get_object(job->root, "body", "body", &p->body, &job->fault));
    const json_t *messages = json_object_get(p->body, "messages");
    int64_t last = last_of(messages, role);
    if (is_ours(p) || last < 0)
        return qg_serve_asks(job, 0, "body");
    p->said = json_array_get(messages, (size_t)last);
    json_t *head = json_array();
    for (int64_t i = 0; i <= last; i++)
        if (json_array_append(head, json_array_get(messages, (size_t)i)))
            return qg_fault_set(&job->fault, QG_ERR_NOMEM, "Out of memory.", "%s", "");
    qg_status rc = qg_messages_read(&job->arena, head, "body.body.messages", &m, &job->fault);
    json_decref(head); /* the messages themselves belong to root */
    QG_TRY(rc);
    QG_TRY(qg_serve_asks(job, 1, "body"));
    return qg_serve_ask_messages(job, 0, &m);
}

static qg_status inlet_read(qg_serve_job *job)
{
    return read_up_to((pipelines_job *)job, "user");
}

/* An answer without text has nothing to judge. */
static qg_status outlet_read(qg_serve_job *job)
{
    pipelines_job *p = (pipelines_job *)job;
    json_t *body = json_object_get(job->root, "body");
    json_t *messages = json_object_get(body, "messages");
    int64_t last = last_of(messages, "assistant");
    const json_t *said = last < 0 ? NULL : json_array_get(messages, (size_t)last);
    const json_t *content = json_object_get(said, "content");
    bool empty = !content || json_is_null(content) ||
                 (json_is_string(content) && json_string_length(content) == 0);
    if (empty && !qg_has_calls(said)) {
        p->body = body;
        if (!json_is_object(body))
            return qg_fault_set(&job->fault, QG_ERR_FORMAT, "body must be an object.", "body.body");
        return qg_serve_asks(job, 0, "body");
    }
    return read_up_to(p, "assistant");
}

static void give_back(pipelines_job *p)
{
    qg_serve_json_exact(p->job.req, json_incref(p->body));
}

/* Open WebUI shows the reason phrase to people: it has closed the connection before it reads the
 * JSON (CONTRACTS.md 14, row 1). */
static void inlet_answer(qg_serve_job *job)
{
    pipelines_job *p = (pipelines_job *)job;
    qg_outcome o = {.block = false};
    qg_http_answer answer;
    char detail[128];
    if (job->n_asks)
        qg_serve_outcome(job, 0, &o);
    if (!o.block) {
        give_back(p);
        return;
    }
    snprintf(detail, sizeof detail, "Blocked: %s", o.category_name);
    json_t *tree = json_pack("{s:s}", "detail", detail);
    qg_http_answer_init(&answer, 403);
    answer.type = "application/json";
    answer.body = tree ? qg_json_dump(tree) : NULL;
    answer.n = answer.body ? strlen(answer.body) : 0;
    qg_http_answer_reason(&answer, detail);
    json_decref(tree);
    qg_http_reply(job->req, &answer);
}

/* The texts inside "output" are what newer versions show. */
static void replace_texts(json_t *value, const char *message, int depth)
{
    size_t i;
    const char *key;
    json_t *inner;
    if (depth == 0)
        return;
    json_array_foreach (value, i, inner)
        replace_texts(inner, message, depth - 1);
    json_object_foreach (value, key, inner) {
        if (strcmp(key, "text") == 0 && json_is_string(inner))
            json_string_set(inner, message);
        else
            replace_texts(inner, message, depth - 1);
    }
}

/* An error status would be swallowed and the answer stay on the page: it is replaced instead. */
static void outlet_answer(qg_serve_job *job)
{
    enum { DEPTH = 8 };
    pipelines_job *p = (pipelines_job *)job;
    qg_outcome o = {.block = false};
    if (job->n_asks && job->asks[0].status == QG_OK)
        qg_serve_outcome(job, 0, &o);
    else if (job->n_asks && !job->view.shadow) /* closed: what is not judged is not shown */
        o = (qg_outcome){.block = true, .message = job->view.message};
    if (o.block) {
        if (json_object_set_new(p->said, "content", json_string(o.message))) {
            qg_serve_reply(job, NULL);
            return;
        }
        json_object_del(p->said, "tool_calls");
        json_object_del(p->said, "function_call");
        replace_texts(json_object_get(p->said, "output"), o.message, DEPTH);
    }
    give_back(p);
}

json_t *qg_serve_pipelines_error(qg_serve_error *e)
{
    return json_pack("{s:s}", "detail", e->message);
}

void qg_serve_pipelines_inlet(qg_server *srv, qg_http_req *req)
{
    static const qg_serve_protocol how = {sizeof(pipelines_job), inlet_read, inlet_answer,
                                          .error = qg_serve_pipelines_error, .opens = true};
    qg_serve_judge(srv, req, &how);
}

void qg_serve_pipelines_outlet(qg_server *srv, qg_http_req *req)
{
    static const qg_serve_protocol how = {sizeof(pipelines_job), outlet_read,
                                          outlet_answer,         .error = qg_serve_pipelines_error,
                                          .each = true,          .opens = true};
    qg_serve_judge(srv, req, &how);
}
