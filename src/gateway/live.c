#include "gateway/live.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "http/chan.h"
#include "text/json.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

enum { SILENCE_US = 15 * 1000 * 1000 };

typedef struct watcher {
    qg_live *live;
    struct watcher *next; /* in the list, under lock */
    qg_http_chan *chan;   /* the server's thread's */
    bool finished;
    /* under lock */
    qg_buf out;
    uint64_t lost; /* events, since the last word of it */
} watcher;

struct qg_live {
    atomic_uint n_watchers;
    atomic_uint_fast64_t numbers;
    pthread_mutex_t lock;
    watcher *watchers; /* under lock */
    bool over;         /* under lock */
    int64_t said_us;   /* under lock: to all of them */
};

qg_status qg_live_open(qg_live **out, qg_err *err)
{
    qg_live *live = *out = qg_calloc(1, sizeof *live);
    if (!live)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    atomic_init(&live->n_watchers, 0);
    atomic_init(&live->numbers, 0);
    pthread_mutex_init(&live->lock, NULL);
    return QG_OK;
}

void qg_live_close(qg_live *live)
{
    if (!live)
        return;
    pthread_mutex_destroy(&live->lock);
    qg_mfree(live);
}

bool qg_live_watched(const qg_live *live)
{
    return live && atomic_load(&live->n_watchers) > 0;
}

uint64_t qg_live_number(qg_live *live)
{
    return atomic_fetch_add(&live->numbers, 1) + 1;
}

/* ---- saying ---------------------------------------------------------------------------------- */

/* All or nothing. */
static bool put(qg_buf *out, const char *name, const char *json)
{
    size_t before = out->n;
    if (qg_buf_addf(out, "event: %s\ndata: ", name) == QG_OK && qg_buf_adds(out, json) == QG_OK &&
        qg_buf_adds(out, "\n\n") == QG_OK)
        return true;
    out->n = before;
    return false;
}

/* What was lost is told in the place where it would have stood. */
static bool put_lost(watcher *w)
{
    char json[48];
    if (!w->lost)
        return true;
    if (w->out.n > QG_MAX_WATCHER_BYTES / 2) /* else every other event would be lost */
        return false;
    snprintf(json, sizeof json, "{\"events\":%llu}", (unsigned long long)w->lost);
    if (!put(&w->out, "lost", json))
        return false;
    w->lost = 0;
    return true;
}

void qg_live_say(qg_live *live, const char *name, json_t *what)
{
    char *json = what ? qg_json_dump_digits(what, 9) : NULL;
    json_decref(what);
    if (!json)
        return;
    pthread_mutex_lock(&live->lock);
    live->said_us = qg_clock_us();
    for (watcher *w = live->watchers; w; w = w->next) {
        bool empty = w->out.n == 0;
        if (!put_lost(w) || !put(&w->out, name, json))
            w->lost++;
        if (empty)
            qg_http_chan_wake(w->chan);
    }
    pthread_mutex_unlock(&live->lock);
    qg_mfree(json);
}

/* ---- a watcher, on the server's thread ---------------------------------------------------------
 */

static bool on_more(void *ud)
{
    watcher *w = ud;
    bool went = false;
    pthread_mutex_lock(&w->live->lock);
    if (!w->out.n)
        (void)put_lost(w);
    size_t part = w->out.n < QG_MAX_CHAN_OUT_BYTES / 2 ? w->out.n : QG_MAX_CHAN_OUT_BYTES / 2;
    if (part && !w->finished) {
        went = qg_http_chan_write(w->chan, w->out.p, part);
        memmove(w->out.p, w->out.p + part, w->out.n - part);
        w->out.n -= part;
    } else if (w->live->over && !w->finished) {
        w->finished = true;
        qg_http_chan_finish(w->chan, 1000);
    }
    pthread_mutex_unlock(&w->live->lock);
    return went;
}

static void on_gone(void *ud)
{
    watcher *w = ud;
    qg_live *live = w->live;
    pthread_mutex_lock(&live->lock);
    for (watcher **at = &live->watchers; *at; at = &(*at)->next)
        if (*at == w) {
            *at = w->next;
            break;
        }
    atomic_fetch_sub(&live->n_watchers, 1);
    pthread_mutex_unlock(&live->lock);
    qg_http_chan_free(w->chan); /* nobody wakes it any more */
    qg_buf_free(&w->out);
    qg_mfree(w);
}

static void on_woken(void *ud)
{
    (void)ud;
}

static void on_data(void *ud, const char *p, size_t n)
{
    (void)ud, (void)p, (void)n;
}

static void on_end(void *ud, qg_http_chan_end why)
{
    (void)ud, (void)why;
}

static void start_answer(qg_http_chan *chan)
{
    qg_http_answer answer;
    qg_http_answer_init(&answer, 200);
    answer.type = "text/event-stream; charset=utf-8";
    qg_http_answer_header(&answer, "Cache-Control", "no-store");
    qg_http_answer_header(&answer, "X-Accel-Buffering", "no");
    qg_http_answer_header(&answer, "X-Content-Type-Options", "nosniff");
    qg_http_chan_start(chan, &answer);
}

static bool greet(watcher *w, json_t *hello)
{
    char *json = qg_json_dump_digits(hello, 9);
    bool good = json && put(&w->out, "hello", json);
    qg_mfree(json);
    return good;
}

qg_status qg_live_attach(qg_live *live, qg_http_req *req, json_t *hello)
{
    static const qg_http_chan_events events = {on_data, on_end, on_more, on_woken, on_gone};
    qg_status rc = QG_ERR_NOMEM;
    watcher *w = NULL;
    if (atomic_load(&live->n_watchers) >= QG_MAX_WATCHERS)
        rc = QG_ERR_BUSY;
    else if (hello && (w = qg_calloc(1, sizeof *w))) {
        w->live = live;
        qg_buf_init(&w->out, QG_MAX_WATCHER_BYTES);
        if (greet(w, hello) && (w->chan = qg_http_chan_body(req, &events, w)))
            rc = QG_OK;
    }
    json_decref(hello);
    if (rc != QG_OK && w) {
        qg_buf_free(&w->out);
        qg_mfree(w);
    }
    if (rc != QG_OK)
        return rc;
    qg_http_chan_pause(w->chan, true); /* the client has said all */
    start_answer(w->chan);
    pthread_mutex_lock(&live->lock);
    w->next = live->watchers;
    live->watchers = w;
    atomic_fetch_add(&live->n_watchers, 1);
    qg_http_chan_wake(w->chan);
    pthread_mutex_unlock(&live->lock);
    return QG_OK;
}

static void wake_all(qg_live *live, const char *comment)
{
    for (watcher *w = live->watchers; w; w = w->next) {
        if (!comment || w->out.n || qg_buf_adds(&w->out, comment) == QG_OK)
            qg_http_chan_wake(w->chan);
    }
}

void qg_live_tick(qg_live *live, int64_t now)
{
    pthread_mutex_lock(&live->lock);
    if (live->watchers && now - live->said_us > SILENCE_US) {
        live->said_us = now;
        wake_all(live, ": keep-alive\n\n");
    }
    pthread_mutex_unlock(&live->lock);
}

void qg_live_stop(qg_live *live)
{
    pthread_mutex_lock(&live->lock);
    live->over = true;
    for (watcher *w = live->watchers; w; w = w->next)
        if (w->out.n || qg_http_chan_pending(w->chan)) /* who does not read is not waited for */
            qg_http_chan_break(w->chan);
    wake_all(live, NULL);
    pthread_mutex_unlock(&live->lock);
}
