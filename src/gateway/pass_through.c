/* What goes through as it is: the list of models, and what the policy says may pass unjudged. */
#include "base/mem.h"
#include "gateway/gate.h"

#include <stdio.h>
#include <strings.h>

enum { LONGEST = 8 * 1024 * 1024, TIMEOUT_MS = 30000 };

typedef struct pass {
    qg_gate *gate;
    qg_http_req *req;
    qg_upstreams *upstreams; /* a reference */
    const qg_upstream *upstream;
    qg_client_call *call;
    qg_buf body;
    char type[QG_HTTP_VALUE_BYTES];
    int status;
    qg_client_cause cause;
} pass;

static bool on_head(void *ud, qg_client_call *call, int status)
{
    pass *p = ud;
    qg_slice type = qg_client_answer_header(call, "Content-Type");
    p->status = status;
    snprintf(p->type, sizeof p->type, "%.*s", (int)type.n, type.p ? type.p : "");
    return true;
}

static bool on_data(void *ud, const char *bytes, size_t n)
{
    return qg_buf_add(&((pass *)ud)->body, bytes, n) == QG_OK;
}

static void on_done(void *ud, const qg_client_end *end)
{
    pass *p = ud;
    p->cause = end->cause;
    bool well = end->cause == QG_CLIENT_WHOLE && end->status < 500;
    qg_upstream_done(p->upstreams, p->upstream, well ? QG_UPSTREAM_WELL : QG_UPSTREAM_FAILED,
                     qg_now_us());
    qg_http_post(p->req);
}

/* An answer's type lives for ever: of those that pass, the ones that are known. */
static const char *type_of(const char *given)
{
    static const char *const known[] = {"application/json", "application/jsonl", "text/plain",
                                        "audio/mpeg", "image/png"};
    for (size_t i = 0; i < QG_COUNT(known); i++)
        if (strncmp(given, known[i], strlen(known[i])) == 0)
            return known[i];
    return "application/octet-stream";
}

static void on_ready(void *ud, qg_http_req *req)
{
    pass *p = ud;
    qg_http_answer answer;
    if (p->cause != QG_CLIENT_WHOLE || p->status >= 300) {
        qg_gate_fail(req, p->status >= 400 ? p->status : 502, "upstream_error",
                     "The upstream did not answer.");
        return;
    }
    qg_http_answer_init(&answer, p->status);
    answer.type = type_of(p->type);
    answer.n = p->body.n;
    answer.body = qg_buf_take(&p->body);
    qg_http_reply(req, &answer);
}

static void on_gone(void *ud)
{
    pass *p = ud;
    qg_client_abort(p->call);
}

static void on_free(void *ud)
{
    pass *p = ud;
    qg_client_release(p->call);
    qg_buf_free(&p->body);
    qg_upstreams_unref(p->upstreams);
    qg_mfree(p);
}

static qg_status start(pass *p, qg_slice path)
{
    static const qg_client_events events = {on_head, on_data, on_done};
    char url[4096], bearer[4096];
    qg_client_header headers[4];
    char type[QG_HTTP_VALUE_BYTES];
    size_t n = 0;
    qg_slice query = qg_http_query(p->req), body = qg_http_body(p->req);
    qg_slice given = qg_http_header(p->req, "Content-Type");
    int n_url = snprintf(url, sizeof url, "%s%.*s%s%.*s", p->upstream->url, (int)path.n, path.p,
                         query.n ? "?" : "", (int)query.n, query.p);
    if (n_url < 0 || (size_t)n_url >= sizeof url)
        return QG_ERR_TOO_LONG;
    snprintf(type, sizeof type, "%.*s", (int)given.n, given.p ? given.p : "");
    if (*type)
        headers[n++] = (qg_client_header){"Content-Type", type};
    snprintf(bearer, sizeof bearer, "Bearer %s", p->upstream->key);
    qg_slice own = qg_http_header(p->req, "Authorization");
    bool keys = p->gate->keys.n + p->gate->keys.n_lines > 0;
    if (!*p->upstream->key && !keys && own.p)
        snprintf(bearer, sizeof bearer, "%.*s", (int)own.n, own.p);
    if (*p->upstream->key || (!keys && own.p))
        headers[n++] = (qg_client_header){"Authorization", bearer};
    const qg_client_request request = {.method = qg_http_method(p->req),
                                       .url = url,
                                       .headers = headers,
                                       .n_headers = n,
                                       .body = body.n ? body : qg_slice_of(NULL, 0),
                                       .total_ms = TIMEOUT_MS,
                                       .decode = true,
                                       .ca_file = p->upstream->ca_file};
    return qg_client_start(p->gate->client, &request, &events, p, &p->call, NULL);
}

/* A segment that another server could take for a judged route, or for a way around. */
static bool segment_is(qg_slice s, const char *word)
{
    return s.n == strlen(word) && strncasecmp(s.p, word, s.n) == 0;
}

bool qg_gate_may_pass(const qg_policy *policy, qg_slice path)
{
    static const char *const never[] = {
        "",           ".",         "..",       "chat",     "completions",
        "completion", "responses", "messages", "generate", "complete"};
    if (!qg_policy_passes(policy, path))
        return false;
    for (size_t at = 1, end; at <= path.n; at = end + 1) {
        const char *slash = memchr(path.p + at, '/', path.n - at);
        end = slash ? (size_t)(slash - path.p) : path.n;
        for (size_t i = 0; i < QG_COUNT(never); i++)
            if (segment_is(qg_slice_of(path.p + at, end - at), never[i]))
                return false;
    }
    for (size_t i = 0; i < path.n; i++) /* decoded: what would need an escape does not pass */
        if (path.p[i] <= ' ' || path.p[i] >= 127 || strchr("%?#;\\", path.p[i]))
            return false;
    return true;
}

void qg_gate_pass(qg_gate *g, qg_http_req *req, qg_slice path)
{
    static const qg_http_waiter waiter = {on_ready, on_gone, on_free};
    qg_upstreams *list = qg_gate_upstreams(g);
    const qg_upstream *u = qg_upstreams_pick(list, qg_slice_of(NULL, 0), 0);
    pass *p = u ? qg_calloc(1, sizeof *p) : NULL;
    if (p) {
        *p = (pass){.gate = g, .req = req, .upstreams = list, .upstream = u};
        qg_buf_init(&p->body, LONGEST);
        if (start(p, path) == QG_OK) {
            qg_http_wait(req, &waiter, p);
            return;
        }
        qg_mfree(p);
    }
    if (u)
        qg_upstream_done(list, u, QG_UPSTREAM_NOTHING, 0);
    qg_upstreams_unref(list);
    qg_gate_fail(req, 503, "unavailable", "The upstream cannot be called.");
}
