/* From messages to the engine and back: submit, wait without a thread, answer.  Every protocol of
 * this room goes through here, so that overload, deadlines and clients that hang up are one thing.
 */
#include "base/mem.h"
#include "serve/serve_priv.h"

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
    srv->progress_us = qg_now_us();
}

/* On the engine's thread. */
static void on_done(void *ud, qg_status status, qg_result *result, const qg_err *err)
{
    qg_serve_job *job = ud;
    job->status = status;
    job->result = result;
    if (status != QG_OK && err)
        job->err = *err;
    qg_http_post(job->req);
}

static void on_ready(void *ud, qg_http_req *req)
{
    qg_serve_job *job = ud;
    delist(job);
    if (job->status == QG_OK)
        job->answer(job);
    else
        qg_serve_fail_status(job->srv, req, job->status, &job->err);
}

static void on_gone(void *ud)
{
    qg_serve_job *job = ud;
    qg_cancel(job->job);
}

static void on_free(void *ud)
{
    qg_serve_job *job = ud;
    delist(job);
    if (job->job)
        qg_job_release(job->job);
    qg_result_free(job->result);
    job->free(job);
}

void qg_serve_judge(qg_serve_job *job, const qg_message *messages, size_t n_messages)
{
    static const qg_http_waiter waiter = {on_ready, on_gone, on_free};
    qg_server *srv = job->srv;
    qg_request ask;
    qg_request_init(&ask);
    ask.messages = messages;
    ask.n_messages = n_messages;
    ask.decode = srv->opt->decode;
    job->start_us = qg_now_us();
    if (srv->opt->request_timeout_ms)
        ask.deadline_us = job->start_us + (int64_t)srv->opt->request_timeout_ms * 1000;
    /* Into locals: once it is submitted, status and err belong to the engine's thread. */
    qg_err err;
    qg_status rc = qg_submit(srv->engine, &ask, on_done, job, &job->job, &err);
    if (rc != QG_OK) {
        qg_serve_fail_status(srv, job->req, rc, &err);
        job->free(job);
        return;
    }
    enlist(job);
    qg_http_wait(job->req, &waiter, job);
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
