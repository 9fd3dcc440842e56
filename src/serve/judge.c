/* From messages to the engine and back: submit, wait without a thread, answer.  Every protocol of
 * this room goes through here, so that overload, deadlines and clients that hang up are one thing.
 */
#define _GNU_SOURCE

#include "serve/serve_priv.h"

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

/* Submitter and engine each end their part, in whatever order; the last one posts, and neither
 * touches the job after its own. */
static void end_parts(qg_serve_job *job, int n)
{
    qg_http_req *req = job->req;
    if (atomic_fetch_sub(&job->parts, n) == n)
        qg_http_post(req);
}

/* On the engine's thread. */
static void on_done(void *ud, qg_status status, qg_result *result, const qg_err *err)
{
    qg_serve_job *job = ud;
    job->status = status;
    job->result = result;
    if (status != QG_OK && err)
        job->err = *err;
    end_parts(job, 1);
}

/* Renders and encodes, which takes as long as the text is long. */
static qg_status submit(qg_serve_job *job, qg_job **handle, qg_err *err)
{
    const qg_serve_options *opt = job->srv->opt;
    qg_request ask;
    qg_request_init(&ask);
    ask.messages = job->messages;
    ask.n_messages = job->n_messages;
    ask.decode = opt->decode;
    if (opt->request_timeout_ms)
        ask.deadline_us = job->start_us + (int64_t)opt->request_timeout_ms * 1000;
    return qg_submit(job->srv->engine, &ask, on_done, job, handle, err);
}

static void start(qg_serve_job *job)
{
    qg_job *handle = NULL;
    qg_err err; /* not job->err: that and job->status are the engine's thread's, once submitted */
    qg_status rc = QG_ERR_CANCELLED;
    snprintf(err.msg, sizeof err.msg, "the client has gone");
    if (!atomic_load(&job->gone)) {
        job->refused = !job->how->read(job);
        if (!job->refused)
            rc = submit(job, &handle, &err);
    }
    if (rc != QG_OK) {
        job->status = rc;
        job->err = err;
        end_parts(job, 2);
        return;
    }
    atomic_store(&job->job, handle);
    if (atomic_load(&job->gone)) /* in the meantime: on_gone may have found no handle */
        qg_cancel(handle);
    end_parts(job, 1);
}

static void run_task(qg_task *task)
{
    start((qg_serve_job *)task);
}

static void on_ready(void *ud, qg_http_req *req)
{
    qg_serve_job *job = ud;
    delist(job);
    if (job->refused)
        job->how->refuse(job);
    else if (job->status == QG_OK)
        job->how->answer(job);
    else
        qg_serve_fail_status(job->srv, req, job->status, &job->err);
}

static void on_gone(void *ud)
{
    qg_serve_job *job = ud;
    atomic_store(&job->gone, true);
    qg_job *handle = atomic_load(&job->job);
    if (handle)
        qg_cancel(handle);
}

static void on_free(void *ud)
{
    qg_serve_job *job = ud;
    qg_job *handle = atomic_load(&job->job);
    delist(job);
    if (handle)
        qg_job_release(handle);
    qg_result_free(job->result);
    job->how->free(job);
}

void qg_serve_judge(qg_serve_job *job)
{
    /* Reading and encoding this much takes about a millisecond; more would hold up the others. */
    enum { INLINE_BYTES = 16 * 1024 };
    static const qg_http_waiter waiter = {on_ready, on_gone, on_free};
    job->start_us = qg_now_us();
    atomic_init(&job->parts, 2);
    enlist(job);
    qg_http_wait(job->req, &waiter, job);
    if (qg_http_body(job->req).n <= INLINE_BYTES) {
        start(job);
    } else {
        job->task.run = run_task;
        qg_worker_post(job->srv->worker, &job->task);
    }
}

/* A job older than the limit, and nothing was finished in all that time: a queue that moves is
 * busy, not stuck. */
bool qg_serve_stuck(qg_server *srv)
{
    enum { GRACE_MS = 10000, NO_DEADLINE_MS = 300000 };
    const qg_serve_options *opt = srv->opt;
    int64_t ms = opt->stuck_ms;
    if (!ms)
        ms = opt->request_timeout_ms ? (int64_t)opt->request_timeout_ms + GRACE_MS : NO_DEADLINE_MS;
    int64_t before_us = qg_now_us() - ms * 1000;
    if (!srv->oldest || srv->oldest->start_us >= before_us || srv->progress_us >= before_us)
        return false;
    qg_stats stats;
    qg_engine_stats(srv->engine, &stats);
    return stats.last_progress_us < before_us;
}
