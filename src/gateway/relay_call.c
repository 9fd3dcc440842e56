/* The upstream call of a request: which server, what it is sent, what comes back, and the next
 * server when nothing of an answer has come. */
#include "gateway/gate.h"

#include "base/mem.h"

#include <stdio.h>
#include <strings.h>

enum {
    BUFFER_BYTES = 1536, /* of one stream; a piece of a reply is a few hundred bytes */
    MAX_URL = 4096,
};

struct qg_attempt {
    qg_relay *relay; /* a reference */
    qg_client_call *call;
    const qg_upstream *upstream;
    bool failover; /* its answer is a failure, and another server may do better */
    bool bad;      /* … a failure of the server's */
};

/* ---- what is sent
 * -------------------------------------------------------------------------------- */

/* The client's own key goes to the upstream only where the gateway asks for none and has none. */
static size_t add_auth(const qg_relay *r, const qg_upstream *u, char *bearer, size_t n_bearer,
                       qg_client_header *headers)
{
    if (!*u->key)
        return 0;
    if (r->proto == QG_PROTO_ANTHROPIC) {
        headers[0] = (qg_client_header){"x-api-key", u->key};
        return 1;
    }
    snprintf(bearer, n_bearer, "Bearer %s", u->key);
    headers[0] = (qg_client_header){"Authorization", bearer};
    return 1;
}

static bool is_auth(const char *name)
{
    return !strcasecmp(name, "Authorization") || !strcasecmp(name, "x-api-key") ||
           !strcasecmp(name, "api-key");
}

static size_t add_headers(const qg_relay *r, const qg_upstream *u, char *bearer, size_t n_bearer,
                          qg_client_header *headers)
{
    size_t n = add_auth(r, u, bearer, n_bearer, headers);
    bool own_auth = n == 0;
    headers[n++] = (qg_client_header){"Content-Type", "application/json"};
    headers[n++] = (qg_client_header){"X-Request-Id", r->id};
    for (size_t i = 0; i < r->n_headers; i++)
        if (own_auth || !is_auth(r->headers[i].name))
            headers[n++] = (qg_client_header){r->headers[i].name, r->headers[i].value};
    return n;
}

/* ---- what comes back
 * ----------------------------------------------------------------------------- */

static bool current(const qg_attempt *a)
{
    return a->relay->attempt == a && !a->relay->ended;
}

/* A failure of the server's, not of the request: another one may do better. */
static bool is_failure(int status)
{
    return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 ||
           status == 504 || status == 529;
}

static bool another_left(const qg_relay *r)
{
    return qg_upstreams_left(r->upstreams, r->asked->model, r->tried);
}

static qg_status open_reply(qg_relay *r, bool stream)
{
    qg_reply_options opt;
    qg_reply_options_init(&opt);
    opt.proto = r->proto;
    opt.stream = stream;
    opt.view = &r->view;
    opt.rules = qg_policy_rules(r->policy);
    opt.request = qg_slice_of(r->body, r->n_body);
    opt.gated = r->prompt == QG_PROMPT_WAITS;
    opt.may_retry = r->view.regenerate > 0;
    QG_TRY(qg_reply_open(&r->reply, &opt, NULL));
    r->spoke_us = qg_now_us();
    qg_relay_live_watch(r);
    return QG_OK;
}

static bool is_stream(qg_slice type)
{
    static const char want[] = "text/event-stream";
    return type.n >= sizeof want - 1 && strncasecmp(type.p, want, sizeof want - 1) == 0;
}

/* Seconds alone: what else may stand there could be a text. */
static void keep_retry_after(qg_relay *r, qg_slice value)
{
    for (size_t i = 0; i < value.n; i++)
        if (value.p[i] < '0' || value.p[i] > '9')
            return;
    if (value.n > 0 && value.n < sizeof r->retry_after)
        memcpy(r->retry_after, value.p, value.n + 1);
}

static bool on_head(void *ud, qg_client_call *call, int status)
{
    qg_attempt *a = ud;
    qg_relay *r = a->relay;
    if (!current(a))
        return false;
    a->bad = status >= 500;
    if (status < 200 || status >= 300) {
        pthread_mutex_lock(&r->gate->desk);
        r->gate->counts.upstream_status++;
        pthread_mutex_unlock(&r->gate->desk);
    }
    if (is_failure(status) && another_left(r)) {
        a->failover = true;
        return false;
    }
    r->upstream_status = status;
    keep_retry_after(r, qg_client_answer_header(call, "Retry-After"));
    bool stream = status == 200 && is_stream(qg_client_answer_header(call, "Content-Type"));
    if (!r->reply && open_reply(r, stream) != QG_OK) {
        qg_relay_fail(r, QG_GATE_FAILED, 503, "unavailable", "Out of memory.");
        return false;
    }
    if ((status >= 300 && status < 400) || status > 599) {
        qg_reply_upstream_failed(r->reply, 502, "upstream_error",
                                 status > 599 ? "The upstream's status is none."
                                              : "The upstream redirects.");
        qg_relay_pump(r);
    }
    return current(a);
}

static bool on_data(void *ud, const char *p, size_t n)
{
    qg_attempt *a = ud;
    if (!current(a))
        return false;
    a->relay->fed = true;
    qg_reply_feed(a->relay->reply, qg_slice_of(p, n));
    qg_relay_pump(a->relay);
    return current(a);
}

static void upstream_failed(qg_relay *r, const qg_client_end *end)
{
    bool late = end->cause == QG_CLIENT_LATE || end->cause == QG_CLIENT_STALLED;
    const char *code = late ? "upstream_timeout" : "upstream_error";
    char sentence[160];
    snprintf(sentence, sizeof sentence, "The upstream failed (%s).",
             qg_client_cause_name(end->cause));
    if (r->reply) {
        qg_reply_upstream_failed(r->reply, late ? 504 : 502, code, sentence);
        qg_relay_pump(r);
    } else {
        qg_relay_fail(r, QG_GATE_UPSTREAM, late ? 504 : 502, code, sentence);
    }
}

/* Nothing of an answer has come: the next server is asked.  False: there is none. */
static bool go_on(qg_relay *r)
{
    if (r->fed || !another_left(r))
        return false;
    if (r->reply && r->n_regenerated == 0) {
        qg_reply_close(r->reply);
        r->reply = NULL;
    }
    pthread_mutex_lock(&r->gate->desk);
    r->gate->counts.failovers++;
    pthread_mutex_unlock(&r->gate->desk);
    return qg_relay_call(r);
}

static void count_end(const qg_attempt *a, const qg_client_end *end)
{
    qg_gate *g = a->relay->gate;
    bool ours = end->cause == QG_CLIENT_ABORTED || end->cause == QG_CLIENT_NOMEM;
    qg_upstream_word word = a->bad || (!ours && end->cause != QG_CLIENT_WHOLE) ? QG_UPSTREAM_FAILED
                            : ours && !end->status                             ? QG_UPSTREAM_NOTHING
                                                                               : QG_UPSTREAM_WELL;
    qg_upstream_done(a->relay->upstreams, a->upstream, word, qg_now_us());
    if (end->cause == QG_CLIENT_WHOLE || ours)
        return;
    pthread_mutex_lock(&g->desk);
    g->counts.upstream_errors[end->cause]++;
    pthread_mutex_unlock(&g->desk);
    qg_gate_note(g, "upstream %s: %s", a->upstream->url, end->err.msg);
}

static void on_done(void *ud, const qg_client_end *end)
{
    qg_attempt *a = ud;
    qg_relay *r = a->relay;
    count_end(a, end);
    if (current(a)) {
        bool failed = a->failover || end->cause != QG_CLIENT_WHOLE;
        r->attempt = NULL;
        if (!failed) {
            qg_reply_end(r->reply);
            qg_relay_pump(r);
        } else if (!go_on(r) && !r->ended) {
            upstream_failed(r, end);
        }
    }
    qg_client_release(a->call);
    qg_mfree(a);
    qg_relay_unref(r);
}

/* ---- calling
 * ------------------------------------------------------------------------------------- */

static qg_status start(qg_relay *r, qg_attempt *a)
{
    static const qg_client_events events = {on_head, on_data, on_done};
    const qg_gateway_options *opt = r->gate->opt;
    qg_client_header headers[QG_RELAY_HEADERS + 4];
    char bearer[4096 + 8], url[MAX_URL];
    int n = snprintf(url, sizeof url, "%s%s%s%s", a->upstream->url, qg_proto_path(r->proto),
                     r->query ? "?" : "", r->query ? r->query : "");
    if (n < 0 || (size_t)n >= sizeof url)
        return QG_ERR_TOO_LONG;
    const qg_client_request request = {
        .method = "POST",
        .url = url,
        .headers = headers,
        .n_headers = add_headers(r, a->upstream, bearer, sizeof bearer, headers),
        .body = qg_slice_of(r->body, r->n_body),
        .header_ms = opt->header_ms,
        .stall_ms = opt->stall_ms,
        .total_ms = opt->total_ms,
        .buffer_bytes = BUFFER_BYTES,
        .decode = true,
        .ca_file = a->upstream->ca_file,
    };
    return qg_client_start(r->gate->client, &request, &events, a, &a->call, NULL);
}

bool qg_relay_call(qg_relay *r)
{
    const qg_upstream *u = qg_upstreams_pick(r->upstreams, r->asked->model, r->tried);
    qg_attempt *a = u ? qg_calloc(1, sizeof *a) : NULL;
    if (a) {
        a->relay = r;
        a->upstream = u;
        r->tried |= (uint64_t)1 << u->index;
        r->upstream_status = 0;
        qg_relay_ref(r);
        r->attempt = a;
        if (start(r, a) == QG_OK)
            return true;
        r->attempt = NULL;
        qg_mfree(a);
        qg_relay_unref(r);
    }
    if (u)
        qg_upstream_done(r->upstreams, u, QG_UPSTREAM_NOTHING, 0);
    qg_relay_fail(r, u ? QG_GATE_FAILED : QG_GATE_UPSTREAM, 503, "unavailable",
                  "The upstream cannot be called.");
    return false;
}

void qg_relay_hang_up(qg_relay *r)
{
    qg_attempt *a = r->attempt;
    r->attempt = NULL;
    if (a)
        qg_client_abort(a->call);
}

void qg_relay_pause(qg_relay *r, bool paused)
{
    if (r->attempt)
        qg_client_pause(r->attempt->call, paused);
}
