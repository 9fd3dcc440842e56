/* POST /v1/guard: qguard's own route.  Each answer is the verdict object itself. */
#include "serve/serve_priv.h"

#include "base/buf.h"
#include "base/limits.h"
#include "base/mem.h"

#include <stdio.h>

typedef struct guard_job {
    qg_serve_job job; /* first */
    bool batch;
} guard_job;

static qg_status read_pair(qg_serve_job *job, const json_t *row, const char *where,
                           qg_messages *out)
{
    qg_slice prompt, response = {NULL, 0};
    QG_TRY(qg_body_get_str(row, where, "prompt", &prompt, &job->fault));
    QG_TRY(qg_body_opt_str(row, where, "response", &response, &job->fault));
    out->n = response.p ? 2 : 1;
    out->p = qg_arena_calloc(&job->arena, out->n, sizeof *out->p);
    if (!out->p)
        return qg_fault_set(&job->fault, job->arena.why, "Out of memory.", "%s", where);
    out->p[0] = (qg_message){"user", {prompt.p, prompt.n}};
    if (response.p)
        out->p[1] = (qg_message){"assistant", {response.p, response.n}};
    return QG_OK;
}

static qg_status read_row(qg_serve_job *job, const json_t *row, const char *where, size_t i)
{
    const json_t *list = json_object_get(row, "messages");
    qg_messages messages;
    char place[sizeof job->fault.param];
    snprintf(place, sizeof place, "%s.messages", where);
    if (!json_is_object(row))
        return qg_fault_set(&job->fault, QG_ERR_FORMAT, "A row must be an object.", "%s", where);
    if (list)
        QG_TRY(qg_messages_read(&job->arena, list, place, &messages, &job->fault));
    else
        QG_TRY(read_pair(job, row, where, &messages));
    return qg_serve_ask_messages(job, i, &messages);
}

static qg_status guard_read(qg_serve_job *job)
{
    json_t *batch = NULL;
    QG_TRY(qg_serve_check_model(job));
    QG_TRY(qg_body_opt_array(job->root, "body", "batch", &batch, &job->fault));
    ((guard_job *)job)->batch = batch != NULL;
    QG_TRY(qg_serve_asks(job, batch ? json_array_size(batch) : 1, "body.batch"));
    if (!batch)
        return read_row(job, job->root, "body", 0);
    for (size_t i = 0; i < job->n_asks; i++) {
        char where[32];
        snprintf(where, sizeof where, "body.batch.%zu", i);
        QG_TRY(read_row(job, json_array_get(batch, i), where, i));
    }
    return QG_OK;
}

/* The engine's object gets one more member. */
static qg_status add_windows(const qg_serve_ask *ask, qg_buf *out)
{
    json_t *tree = qg_serve_windows_json(ask);
    char *text = tree ? qg_json_dump(tree) : NULL;
    json_decref(tree);
    if (!text)
        return QG_ERR_NOMEM;
    out->n--; /* the brace */
    qg_status rc = qg_buf_addf(out, ",\"windows\":%s}", text);
    qg_mfree(text);
    return rc;
}

/* A row that failed has its error in its place. */
static qg_status add_row(qg_serve_job *job, const qg_serve_ask *ask, qg_buf *out)
{
    qg_serve_room room;
    char *text;
    if (ask->status == QG_OK) {
        text = qg_result_json(job->house->engine, ask->result);
    } else {
        qg_serve_error error = qg_serve_error_of(job->srv, ask->status, &ask->err, &room);
        text = qg_serve_error_json(&error);
    }
    qg_status rc = text ? qg_buf_adds(out, text) : QG_ERR_NOMEM;
    qg_free(text);
    return rc == QG_OK && qg_serve_windows_n(ask) ? add_windows(ask, out) : rc;
}

static void guard_answer(qg_serve_job *job)
{
    bool batch = ((guard_job *)job)->batch;
    qg_http_answer answer;
    qg_buf out;
    qg_buf_init(&out, QG_MAX_TEXT_BYTES);
    qg_status rc = batch ? qg_buf_adds(&out, "{\"results\":[") : QG_OK;
    if (!batch && job->asks[0].status != QG_OK) {
        qg_serve_room room;
        qg_serve_error error =
            qg_serve_error_of(job->srv, job->asks[0].status, &job->asks[0].err, &room);
        qg_serve_fail_job(job, &error);
        return;
    }
    for (size_t i = 0; rc == QG_OK && i < job->n_asks; i++) {
        rc = i ? qg_buf_adds(&out, ",") : QG_OK;
        if (rc == QG_OK)
            rc = add_row(job, &job->asks[i], &out);
    }
    if (rc == QG_OK && batch)
        rc = qg_buf_adds(&out, "]}");
    if (rc != QG_OK) {
        qg_buf_free(&out);
        qg_serve_reply(job, NULL);
        return;
    }
    qg_http_answer_init(&answer, 200);
    answer.type = "application/json";
    answer.n = out.n;
    answer.body = qg_buf_take(&out);
    qg_http_reply(job->req, &answer);
}

void qg_serve_guard(qg_server *srv, qg_http_req *req)
{
    static const qg_serve_protocol how = {
        .size = sizeof(guard_job), .read = guard_read, .answer = guard_answer, .each = true};
    qg_serve_judge(srv, req, &how);
}
