/* A request on the front: from the connection to the back and out again. */
#include "base/mem.h"
#include "gateway/gate.h"

#include <stddef.h>
#include <stdio.h>

/* ---- the answer
 * ------------------------------------------------------------------------------------- */

/* The end of both sides: nobody knows the channel any more. */
static void let_go(qg_relay *r)
{
    if (!r->chan_gone || !r->back_gone)
        return;
    qg_http_chan_free(r->chan);
    qg_relay_unref(r);
}

static void fill_answer(const qg_relay *r, qg_http_answer *answer)
{
    qg_http_answer_init(answer, r->http);
    answer->type = r->stream ? "text/event-stream; charset=utf-8" : "application/json";
    if (r->stream) {
        qg_http_answer_header(answer, "Cache-Control", "no-cache");
        qg_http_answer_header(answer, "X-Accel-Buffering", "no"); /* nginx: pass it on at once */
    }
    if (atomic_load(&r->n_windows)) {
        char n[16];
        snprintf(n, sizeof n, "%u", atomic_load(&r->n_windows));
        qg_http_answer_header(answer, "X-Qguard-Windows", n);
    }
    if (r->retry_after[0] && r->http >= 400)
        qg_http_answer_header(answer, "Retry-After", r->retry_after);
    else if (r->http == 429 || r->http == 503)
        qg_http_answer_header(answer, "Retry-After", "1");
}

static void start_answer(qg_relay *r)
{
    qg_http_answer answer;
    if (qg_http_chan_started(r->chan))
        return;
    fill_answer(r, &answer);
    qg_http_chan_start(r->chan, &answer);
}

/* Moves what waits into the channel; lock is held.  True when something went. */
static bool move(qg_relay *r)
{
    size_t n = r->out.n;
    if (!r->head_set || n == 0 || qg_http_chan_pending(r->chan))
        return false;
    if (!r->stream && !r->out_ended) /* one body is sent when it is whole */
        return false;
    start_answer(r);
    /* The channel holds a limited amount; what is more comes when that has gone. */
    size_t part = n < QG_MAX_CHAN_OUT_BYTES / 2 ? n : QG_MAX_CHAN_OUT_BYTES / 2;
    (void)qg_http_chan_write(r->chan, r->out.p, part);
    r->moved += part;
    memmove(r->out.p, r->out.p + part, n - part);
    r->out.n = n - part;
    if (r->out.n == 0)
        qg_buf_free(&r->out);
    return true;
}

static bool on_more(void *ud)
{
    qg_relay *r = ud;
    if (r->moved) { /* the client has it all */
        atomic_fetch_sub(&r->unsent, r->moved);
        r->moved = 0;
        if (atomic_load(&r->throttled))
            qg_relay_post(r, QG_EVENT_DRAINED);
    }
    pthread_mutex_lock(&r->lock);
    bool went = !r->finished && move(r);
    bool over = !went && r->out_ended && !r->finished && !qg_http_chan_pending(r->chan);
    if (over && (r->out_broken || !r->head_set)) {
        r->finished = true;
        qg_http_chan_break(r->chan);
    } else if (over) {
        r->finished = true;
        start_answer(r); /* of an answer without a body */
        qg_http_chan_finish(r->chan, 1000);
    }
    pthread_mutex_unlock(&r->lock);
    return went;
}

static void on_woken(void *ud)
{
    qg_relay *r = ud;
    pthread_mutex_lock(&r->lock);
    r->back_gone = r->back_ended;
    pthread_mutex_unlock(&r->lock);
    let_go(r); /* else the channel asks for more by itself */
}

static void on_gone(void *ud)
{
    qg_relay *r = ud;
    r->chan_gone = true;
    if (!r->back_gone)
        qg_relay_post(r, QG_EVENT_GONE);
    let_go(r);
}

static void no_data(void *ud, const char *p, size_t n)
{
    (void)ud;
    (void)p;
    (void)n;
}

static void no_end(void *ud, qg_http_chan_end why)
{
    (void)ud;
    (void)why;
}

/* ---- the request
 * ------------------------------------------------------------------------------------- */

/* What of the client's headers the upstream gets; connection, cookies and the rest stay here. */
static const char *const passed_on[] = {
    "Authorization", "x-api-key",           "api-key",        "anthropic-version", "anthropic-beta",
    "OpenAI-Beta",   "OpenAI-Organization", "OpenAI-Project", "User-Agent",        "traceparent",
    "tracestate",    "Idempotency-Key",
};

static bool plain(qg_slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < ' ' || s.p[i] == 127)
            return false;
    return s.n > 0;
}

/* A gateway with keys of its own does not hand its clients' keys on. */
static bool take_headers(qg_relay *r, const qg_http_req *req)
{
    const qg_gate *g = r->gate;
    bool own_keys = g->keys.n + g->keys.n_lines > 0;
    for (size_t i = own_keys ? 3 : 0; i < QG_COUNT(passed_on); i++) {
        qg_slice value = qg_http_header(req, passed_on[i]);
        if (!value.p || !plain(value))
            continue;
        r->headers[r->n_headers].name = passed_on[i];
        r->headers[r->n_headers].value = qg_memdup0(value.p, value.n);
        if (!r->headers[r->n_headers++].value)
            return false;
    }
    return true;
}

/* A query is handed on when it is made of what a query is made of. */
static bool take_query(qg_relay *r, const qg_http_req *req)
{
    qg_slice query = qg_http_query(req);
    if (query.n == 0 || query.n > 1024)
        return true;
    for (size_t i = 0; i < query.n; i++)
        if (query.p[i] <= ' ' || query.p[i] >= 127 || query.p[i] == '#')
            return true;
    r->query = qg_memdup0(query.p, query.n);
    return r->query != NULL;
}

static bool take_request(qg_relay *r, const qg_http_req *req)
{
    qg_slice body = qg_http_body(req), name;
    qg_keys_admit(&r->gate->keys, req, &name);
    snprintf(r->key, sizeof r->key, "%.*s", (int)name.n, name.p ? name.p : "");
    snprintf(r->id, sizeof r->id, "%s", qg_http_id(req));
    snprintf(r->trace, sizeof r->trace, "%s", qg_http_trace(req));
    r->house = qg_house_ref(r->gate->house);
    r->policy = r->gate->policy;
    qg_policy_ref(r->policy);
    qg_policy_view_of(r->policy, name, qg_str(""), &r->view);
    r->body = qg_memdup0(body.p, body.n);
    r->n_body = body.n;
    r->start_us = qg_now_us();
    return r->body && take_headers(r, req) && take_query(r, req);
}

static void run_read(qg_task *task)
{
    qg_relay *r = (qg_relay *)((char *)task - offsetof(qg_relay, task));
    qg_relay_read(r);
    qg_relay_post(r, QG_EVENT_START);
    qg_relay_unref(r);
}

void qg_relay_take(qg_gate *g, qg_http_req *req, qg_proto proto)
{
    static const qg_http_chan_events events = {no_data, no_end, on_more, on_woken, on_gone};
    qg_relay *r = qg_calloc(1, sizeof *r);
    if (!r) {
        qg_gate_fail(req, 503, "unavailable", "Out of memory.");
        return;
    }
    qg_relay_init(r);
    r->gate = g;
    r->proto = proto;
    if (!take_request(r, req) || !(r->chan = qg_http_chan_body(req, &events, r))) {
        qg_gate_fail(req, 503, "unavailable", "Out of memory.");
        qg_relay_unref(r);
        qg_relay_unref(r);
        return;
    }
    qg_http_chan_pause(r->chan, true); /* the client has said all: it is our turn */
    r->task.run = run_read;
    qg_relay_ref(r);
    qg_worker_post(g->worker, &r->task);
}
