/* From a body to the engine and back: parse, read, submit, wait without a thread, answer.  Every
 * protocol of this room goes through here, so that overload, deadlines, bad JSON and clients that
 * hang up are one thing. */
#define _GNU_SOURCE

#include "serve/serve_priv.h"

#include "base/limits.h"
#include "base/mem.h"
#include "serve/shown.h"

#include <stdio.h>

static void enlist(qg_serve_job *job)
{
    qg_server *srv = job->srv;
    job->prev = srv->newest;
    if (srv->newest)
        srv->newest->next = job;
    else
        srv->oldest = job;
    srv->newest = job;
    job->listed = true;
}

static void delist(qg_serve_job *job)
{
    qg_server *srv = job->srv;
    if (!job->listed)
        return;
    if (job->prev)
        job->prev->next = job->next;
    else
        srv->oldest = job->next;
    if (job->next)
        job->next->prev = job->prev;
    else
        srv->newest = job->prev;
    job->listed = false;
    job->prev = job->next = NULL;
    srv->progress_us = qg_now_us();
}

/* ---- what read calls ---- */

qg_status qg_serve_asks(qg_serve_job *job, size_t n, const char *param)
{
    if (n > QG_MAX_INPUTS)
        return qg_fault_set(&job->fault, QG_ERR_ARG, "There are too many inputs in one request.",
                            "%s", param);
    job->asks = qg_arena_calloc(&job->arena, n, sizeof *job->asks);
    if (!job->asks)
        return qg_fault_set(&job->fault, job->arena.why, "Out of memory.", "%s", param);
    for (size_t i = 0; i < n; i++) {
        job->asks[i].job = job;
        qg_request_init(&job->asks[i].request);
        job->asks[i].request.decode = job->srv->opt->decode;
    }
    job->n_asks = n;
    return QG_OK;
}

qg_status qg_serve_ask_messages(qg_serve_job *job, size_t i, const qg_messages *messages)
{
    qg_messages shown = *messages;
    qg_status rc = qg_shown_messages(&job->arena, &shown);
    if (rc != QG_OK)
        return qg_fault_set(&job->fault, rc, "Out of memory.", "%s", "");
    job->asks[i].request.messages = shown.p;
    job->asks[i].request.n_messages = shown.n;
    return QG_OK;
}

qg_status qg_serve_ask_text(qg_serve_job *job, size_t i, const char *role, qg_slice text)
{
    qg_message *message = qg_arena_alloc(&job->arena, sizeof *message);
    if (!message)
        return qg_fault_set(&job->fault, job->arena.why, "Out of memory.", "%s", "");
    *message = (qg_message){role, {text.p, text.n}};
    return qg_serve_ask_messages(job, i, &(qg_messages){message, 1});
}

qg_status qg_serve_check_model(qg_serve_job *job)
{
    qg_slice model = {"", 0};
    QG_TRY(qg_body_opt_str(job->root, "body", "model", &model, &job->fault));
    if (qg_serve_knows(job->house, model))
        return QG_OK;
    job->unknown_model = model;
    return QG_ERR_UNSUPPORTED;
}

/* ---- submitting: a window of asks at a time, so that one request cannot fill the queue ---- */

enum { WINDOW = 64 };

/* Feeder and asks each end their part, in whatever order; the last one posts, and none of them
 * touches the job after its own. */
static void end_parts(qg_serve_job *job, int n)
{
    qg_http_req *req = job->req;
    if (atomic_fetch_sub(&job->parts, n) == n)
        qg_http_post(req);
}

void qg_serve_end_ask(qg_serve_ask *ask, qg_status status)
{
    qg_serve_job *job = ask->job;
    ask->status = status;
    if (status != QG_OK && !job->how->each)
        atomic_store(&job->failed, true);
    atomic_fetch_add(&job->room, 1);
    if (!atomic_exchange(&job->feeding, true))
        qg_worker_post(job->srv->worker, &job->task); /* the feeder went away with asks left */
    end_parts(job, 1);
}

/* On the engine's thread. */
static void on_done(void *ud, qg_status status, qg_result *result, const qg_err *err)
{
    qg_serve_ask *ask = ud;
    ask->result = result;
    if (status != QG_OK && err)
        ask->err = *err;
    qg_serve_end_ask(ask, status);
}

/* Renders and encodes, which takes as long as the text is long.  The ask's status, result and err
 * are the engine's thread's once it is submitted. */
static void submit(qg_serve_ask *ask)
{
    qg_serve_job *job = ask->job;
    qg_job *handle = NULL;
    qg_err err;
    qg_status rc = QG_ERR_CANCELLED;
    bool decided = false;
    snprintf(err.msg, sizeof err.msg, "the client has gone");
    if (!atomic_load(&job->gone) && !atomic_load(&job->failed))
        rc = qg_serve_policy_ask(ask, &decided, &err);
    if (decided) {
        ask->err = err;
        qg_serve_end_ask(ask, rc);
        return;
    }
    if (rc == QG_OK) {
        rc = qg_submit(job->house->engine, &ask->request, on_done, ask, &handle, &err);
        if (qg_serve_windows_begin(ask, &rc, &err))
            return;
    }
    if (rc != QG_OK) {
        ask->err = err;
        qg_serve_end_ask(ask, rc);
        return;
    }
    /* The handle keeps its own reference, and the job lives as long as the feeder's part. */
    atomic_store(&ask->handle, handle);
    if (atomic_load(&job->gone)) /* in the meantime: on_gone may have found no handle */
        qg_cancel(handle);
}

/* Whoever set feeding. */
static void feed(qg_serve_job *job)
{
    for (;;) {
        while (job->next_ask < job->n_asks && atomic_load(&job->room) > 0) {
            atomic_fetch_sub(&job->room, 1);
            submit(&job->asks[job->next_ask++]);
        }
        if (job->next_ask == job->n_asks) {
            end_parts(job, 1); /* feeding stays set: nobody comes back */
            return;
        }
        atomic_store(&job->feeding, false);
        if (atomic_load(&job->room) == 0 || atomic_exchange(&job->feeding, true))
            return;
    }
}

static void run_feed(qg_task *task)
{
    feed((qg_serve_job *)task);
}

static qg_status read_body(qg_serve_job *job)
{
    job->fault.schema = true;
    if (!job->how->raw)
        QG_TRY(qg_body_parse(qg_http_body(job->req), &job->root, &job->fault));
    return job->how->read(job);
}

static void start(qg_serve_job *job)
{
    job->task.run = run_feed;
    job->read_rc = atomic_load(&job->gone) ? QG_ERR_CANCELLED : read_body(job);
    if (job->read_rc != QG_OK)
        job->n_asks = 0;
    qg_serve_policy_begin(job);
    atomic_fetch_add(&job->parts, (int)job->n_asks);
    atomic_store(&job->ready, true);
    feed(job);
}

static void run_start(qg_task *task)
{
    start((qg_serve_job *)task);
}

/* ---- replying ---- */

void qg_serve_fail_job(qg_serve_job *job, const qg_serve_error *error)
{
    qg_serve_error own = *error;
    json_t *tree = job->how->error ? job->how->error(&own) : NULL;
    qg_serve_fail_with(job->req, &own, tree);
}

static void fail_status(qg_serve_job *job, qg_status status, const qg_err *err)
{
    qg_serve_room room;
    qg_serve_error error = qg_serve_error_of(job->srv, status, err, &room);
    qg_serve_fail_job(job, &error);
}

void qg_serve_reply(qg_serve_job *job, json_t *value)
{
    qg_err err;
    if (value)
        qg_serve_json(job->req, value);
    else
        fail_status(job, qg_fail(&err, QG_ERR_NOMEM, "Out of memory."), &err);
}

static void refuse(qg_serve_job *job)
{
    const qg_fault *fault = &job->fault;
    qg_serve_room room;
    if (job->unknown_model.n) {
        qg_serve_error error = qg_serve_error_of_model(job->unknown_model, &room);
        qg_serve_fail_job(job, &error);
    } else if (job->read_rc == QG_ERR_NOMEM) {
        fail_status(job, job->read_rc, &fault->err);
    } else {
        snprintf(room.text, sizeof room.text, "%s%s", fault->schema ? "1 validation error: " : "",
                 fault->err.msg);
        qg_serve_fail_job(job, &(qg_serve_error){
                                   .status = 400,
                                   .type = fault->schema ? "Bad Request" : "BadRequestError",
                                   .param = fault->param[0] ? fault->param : NULL,
                                   .message = room.text,
                               });
    }
}

/* The first ask that failed of itself; those cancelled because of it say nothing. */
static const qg_serve_ask *failure(const qg_serve_job *job)
{
    const qg_serve_ask *first = NULL;
    for (size_t i = 0; i < job->n_asks && !job->how->each; i++) {
        const qg_serve_ask *ask = &job->asks[i];
        if (ask->status != QG_OK && (!first || first->status == QG_ERR_CANCELLED))
            first = ask;
    }
    return first;
}

/* In generate mode a model may write anything; text that is no verdict is never Safe. */
static void check_verdicts(qg_serve_job *job)
{
    for (size_t i = 0; i < job->n_asks; i++) {
        qg_serve_ask *ask = &job->asks[i];
        if (ask->status == QG_OK && !job->how->any_text && !ask->result->well_formed &&
            !ask->by_rule)
            ask->status = qg_fail(&ask->err, QG_ERR_INTERNAL, "The model wrote no verdict.");
        if (ask->status == QG_OK && !ask->windows)
            qg_second_count_add(&ask->second, ask->result); /* also where a rule overrules it */
        qg_serve_policy_after(ask);
    }
}

static void on_ready(void *ud, qg_http_req *req)
{
    qg_serve_job *job = ud;
    (void)req;
    delist(job);
    check_verdicts(job);
    qg_serve_record(job);
    qg_serve_windows_note(job);
    const qg_serve_ask *failed = failure(job);
    if (job->read_rc != QG_OK)
        refuse(job);
    else if (failed)
        fail_status(job, failed->status, &failed->err);
    else
        job->how->answer(job);
}

static void on_gone(void *ud)
{
    qg_serve_job *job = ud;
    atomic_store(&job->gone, true);
    bool ready = atomic_load(&job->ready); /* if not, submit will see that it has gone */
    for (size_t i = 0; ready && i < job->n_asks; i++) {
        qg_job *handle = atomic_load(&job->asks[i].handle);
        if (handle)
            qg_cancel(handle);
    }
}

static void on_free(void *ud)
{
    qg_serve_job *job = ud;
    delist(job);
    for (size_t i = 0; i < job->n_asks; i++) {
        qg_job *handle = atomic_load(&job->asks[i].handle);
        if (handle && !job->asks[i].windows)
            qg_job_release(handle);
        qg_serve_windows_free(job->asks[i].windows);
        qg_result_free(job->asks[i].result);
    }
    if (job->how->free)
        job->how->free(job);
    qg_policy_unref(job->policy);
    qg_house_unref(job->house);
    qg_arena_free(&job->arena);
    json_decref(job->root);
    qg_mfree(job);
}

/* A copy: the file of keys may be read again before this job ends. */
static void take_key_name(qg_serve_job *job)
{
    qg_slice name;
    qg_keys_admit(&job->srv->keys, job->req, &name);
    snprintf(job->key, sizeof job->key, "%.*s", (int)name.n, name.p);
}

void qg_serve_judge(qg_server *srv, qg_http_req *req, const qg_serve_protocol *how)
{
    /* Reading and encoding this much takes about a millisecond; more would hold up the others. */
    enum { INLINE_BYTES = 16 * 1024 };
    static const qg_http_waiter waiter = {on_ready, on_gone, on_free};
    qg_serve_job *job = qg_calloc(1, how->size);
    if (!job) {
        qg_serve_json(req, NULL);
        return;
    }
    job->how = how;
    job->srv = srv;
    job->req = req;
    job->start_us = qg_now_us();
    take_key_name(job);
    job->house = qg_house_ref(srv->house);
    job->policy = srv->policy;
    qg_policy_ref(job->policy);
    qg_arena_init(&job->arena, QG_MAX_TEXT_BYTES);
    atomic_init(&job->parts, 1);
    atomic_init(&job->room, WINDOW);
    atomic_init(&job->feeding, true);
    enlist(job);
    qg_http_wait(req, &waiter, job);
    if (qg_http_body(req).n <= INLINE_BYTES) {
        start(job);
    } else {
        job->task.run = run_start;
        qg_worker_post(srv->worker, &job->task);
    }
}
