/* A call for callers that may wait. */
#include "base/buf.h"
#include "base/mem.h"
#include "http/client_priv.h"

#include <time.h>

typedef struct waiting {
    const qg_client_sink *sink;
    qg_client_answer *answer;
    qg_client_call *call;
    qg_buf body;
    bool too_long, sink_ended, no_memory; /* the client's thread, then read behind done */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool done; /* under lock */
} waiting;

static void note_headers(waiting *w, qg_client_call *call)
{
    for (size_t i = 0; i < QG_COUNT(w->sink->headers) && w->sink->headers[i]; i++) {
        qg_slice value = qg_client_answer_header(call, w->sink->headers[i]);
        w->answer->headers[i] = value.p ? qg_memdup0(value.p, value.n) : NULL;
    }
    const char *url = qg_client_answer_url(call);
    w->answer->url = qg_memdup0(url, strlen(url));
}

static bool on_head(void *ud, qg_client_call *call, int status)
{
    waiting *w = ud;
    note_headers(w, call);
    if (w->sink->data && w->sink->head && !w->sink->head(w->sink->ud, call, status))
        w->sink_ended = true;
    return !w->sink_ended;
}

static bool on_data(void *ud, const char *p, size_t n)
{
    waiting *w = ud;
    if (w->sink->data) {
        w->sink_ended = !w->sink->data(w->sink->ud, p, n);
        return !w->sink_ended;
    }
    qg_status rc = qg_buf_add(&w->body, p, n);
    w->too_long = rc == QG_ERR_TOO_LONG;
    w->no_memory = rc == QG_ERR_NOMEM;
    return rc == QG_OK;
}

static void on_done(void *ud, const qg_client_end *end)
{
    waiting *w = ud;
    w->answer->end = *end;
    pthread_mutex_lock(&w->lock);
    w->done = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

static void soon(struct timespec *at)
{
    clock_gettime(CLOCK_REALTIME, at);
    at->tv_nsec += 100 * 1000 * 1000;
    if (at->tv_nsec >= 1000 * 1000 * 1000) {
        at->tv_nsec -= 1000 * 1000 * 1000;
        at->tv_sec++;
    }
}

static void wait_done(waiting *w)
{
    const atomic_bool *cancel = w->sink->cancel;
    pthread_mutex_lock(&w->lock);
    while (!w->done) {
        struct timespec at;
        soon(&at);
        pthread_cond_timedwait(&w->wake, &w->lock, &at);
        if (!w->done && cancel && atomic_load(cancel))
            qg_client_abort(w->call);
    }
    pthread_mutex_unlock(&w->lock);
}

static qg_status status_of(const waiting *w, qg_err *err)
{
    const qg_client_end *end = &w->answer->end;
    if (w->too_long)
        return qg_fail(err, QG_ERR_TOO_LONG, "the answer is longer than %zu bytes",
                       w->sink->max_bytes);
    if (w->no_memory || end->cause == QG_CLIENT_NOMEM)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory for an answer");
    switch (end->cause) {
    case QG_CLIENT_WHOLE:
        return QG_OK;
    case QG_CLIENT_ABORTED:
        return qg_fail(err, QG_ERR_CANCELLED, "%s", end->err.msg);
    case QG_CLIENT_LATE:
    case QG_CLIENT_STALLED:
        return qg_fail(err, QG_ERR_DEADLINE, "%s", end->err.msg);
    default:
        return qg_fail(err, QG_ERR_IO, "%s", end->err.msg);
    }
}

qg_status qg_client_fetch(qg_client *client, const qg_client_request *request,
                          const qg_client_sink *sink, qg_client_answer *answer, qg_err *err)
{
    static const qg_client_events events = {on_head, on_data, on_done};
    waiting w = {.sink = sink, .answer = answer};
    memset(answer, 0, sizeof *answer);
    qg_buf_init(&w.body, sink->max_bytes);
    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.wake, NULL);
    qg_status rc = qg_client_start(client, request, &events, &w, &w.call, err);
    if (rc == QG_OK) {
        wait_done(&w);
        qg_client_release(w.call);
        rc = status_of(&w, err);
    }
    answer->n = w.body.n;
    if (rc == QG_OK && !sink->data && !(answer->body = qg_buf_take(&w.body)))
        rc = qg_fail(err, QG_ERR_NOMEM, "out of memory for an answer");
    qg_buf_free(&w.body);
    pthread_cond_destroy(&w.wake);
    pthread_mutex_destroy(&w.lock);
    return rc;
}

void qg_client_answer_free(qg_client_answer *answer)
{
    qg_mfree(answer->body);
    qg_mfree(answer->url);
    for (size_t i = 0; i < QG_COUNT(answer->headers); i++)
        qg_mfree(answer->headers[i]);
    memset(answer, 0, sizeof *answer);
}
