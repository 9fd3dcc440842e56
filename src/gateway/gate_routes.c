/* The routes of the gateway, and what is answered without an upstream. */
#include "base/mem.h"
#include "gateway/gate.h"
#include "svc/reqid.h"

#include <jansson.h>
#include <stdio.h>

static void health(qg_gate *g, qg_http_req *req);
static void version(qg_gate *g, qg_http_req *req);
static void relay(qg_gate *g, qg_http_req *req);

static const struct route {
    const char *method, *path;
    enum {
        FREE,
        KEY,   /* asks for an API key when one is set */
        ADMIN, /* asks for the admin key, and is not there without one */
        LIVE,  /* the same, of the live view */
        PAGE,  /* of the live view, for everybody */
    } who;
    void (*handle)(qg_gate *g, qg_http_req *req);
} routes[] = {
    {"POST", "/v1/chat/completions", KEY, relay},
    {"POST", "/v1/completions", KEY, relay},
    {"POST", "/v1/responses", KEY, relay},
    {"POST", "/v1/messages", KEY, relay},
    {"GET", "/v1/models", KEY, qg_gate_models},
    {"GET", "/health", FREE, health},
    {"GET", "/version", FREE, version},
    {"GET", "/metrics", FREE, qg_gate_metrics_page},
    {"POST", "/v1/admin/model", ADMIN, qg_gate_admin_model},
    {"GET", "/v1/admin/live", LIVE, qg_gate_live},
    {"GET", "/live", PAGE, qg_gate_live_page},
    {"GET", "/live.js", PAGE, qg_gate_live_page},
    {"GET", "/live.css", PAGE, qg_gate_live_page},
};

static const struct route *find_route(qg_slice path)
{
    for (size_t i = 0; i < QG_COUNT(routes); i++)
        if (qg_slice_is(path, routes[i].path))
            return &routes[i];
    return NULL;
}

const char *qg_gate_endpoint(qg_slice path)
{
    const struct route *route = find_route(path);
    return route ? route->path : NULL;
}

/* ---- answers
 * ------------------------------------------------------------------------------------------ */

static void fill_fault(qg_slice path, qg_http_answer *answer, const char *code,
                       const char *sentence)
{
    qg_proto proto = QG_PROTO_CHAT;
    qg_buf body;
    (void)qg_proto_of(path, &proto);
    qg_buf_init(&body, 64 * 1024);
    if (qg_wire_error(proto, answer->status, code, sentence, NULL, &body) == QG_OK) {
        answer->n = body.n;
        answer->body = qg_buf_take(&body);
    }
    qg_buf_free(&body);
    answer->type = "application/json";
    if (answer->status == 429 || answer->status == 503)
        qg_http_answer_header(answer, "Retry-After", "1");
    if (answer->status == 401)
        qg_http_answer_header(answer, "WWW-Authenticate", "Bearer");
}

void qg_gate_fail(qg_http_req *req, int status, const char *code, const char *sentence)
{
    qg_http_answer answer;
    qg_http_answer_init(&answer, status);
    fill_fault(qg_http_path(req), &answer, code, sentence);
    qg_http_reply(req, &answer);
}

void qg_gate_fault(void *ud, qg_http_req *req, const char *sentence, qg_http_answer *answer)
{
    (void)ud;
    if (!qg_http_id(req)[0])
        qg_reqid_assign(req);
    fill_fault(qg_http_path(req), answer, "invalid_request", sentence);
}

static void reply_text(qg_http_req *req, const char *text)
{
    qg_http_answer answer;
    qg_http_answer_init(&answer, 200);
    answer.type = "application/json";
    answer.n = strlen(text);
    answer.body = qg_memdup0(text, answer.n);
    if (!answer.body)
        answer.n = 0;
    qg_http_reply(req, &answer);
}

static void health(qg_gate *g, qg_http_req *req)
{
    enum { STUCK_US = 60 * 1000 * 1000 };
    qg_stats stats;
    qg_engine_stats(g->house->stream, &stats);
    bool stuck = stats.jobs_running + stats.jobs_waiting > 0 &&
                 stats.last_progress_us < qg_now_us() - STUCK_US;
    if (stuck || qg_http_stopping(g->http))
        qg_gate_fail(req, 503, "unavailable",
                     stuck ? "The judge does not answer." : "The gateway is shutting down.");
    else
        reply_text(req, "{\"status\":\"ok\"}");
}

static void version(qg_gate *g, qg_http_req *req)
{
    (void)g;
    reply_text(req, "{\"version\":\"" QG_VERSION "\"}");
}

static void relay(qg_gate *g, qg_http_req *req)
{
    qg_proto proto;
    if (qg_proto_of(qg_http_path(req), &proto))
        qg_relay_take(g, req, proto);
    else
        qg_gate_fail(req, 404, "not_found", "Not Found");
}

/* ---- callbacks of the server
 * ---------------------------------------------------------------------------- */

/* The limits of the caller's key; a request that may come in carries its place until its end. */
static bool admit(qg_gate *g, qg_http_req *req)
{
    qg_slice name = {"", 0};
    qg_policy_view view;
    qg_admission_slot slot;
    const char *why;
    int wait_s;
    qg_keys_admit(&g->keys, req, &name);
    qg_policy_view_of(g->policy, name, qg_str(""), &view);
    if (qg_admission_begin(g->admission, name, view.per_minute, view.concurrent, qg_now_us(), &slot,
                           &why, &wait_s) == QG_OK) {
        qg_http_set_tag(req, slot + 1);
        return true;
    }
    pthread_mutex_lock(&g->desk);
    qg_metrics_refusal(g->metrics, why ? why : "memory");
    pthread_mutex_unlock(&g->desk);
    char seconds[16];
    snprintf(seconds, sizeof seconds, "%d", wait_s);
    qg_http_set_extra(req, "Retry-After", seconds);
    qg_gate_fail(req, 429, "rate_limit_exceeded", "This key has reached its limit of requests.");
    return false;
}

/* What the policy lets pass has the whole of a judged route's care but judging. */
static bool head_passes(qg_gate *g, qg_http_req *req)
{
    if (!qg_gate_may_pass(g->policy, qg_http_path(req)))
        return false;
    if (!qg_keys_admit(&g->keys, req, NULL))
        qg_gate_fail(req, 401, "invalid_api_key", "Unauthorized");
    else
        (void)admit(g, req);
    return true;
}

static bool takes(const struct route *route, const char *method)
{
    return strcmp(route->method, method) == 0 ||
           (strcmp(route->method, "GET") == 0 && strcmp(method, "HEAD") == 0);
}

/* A route that is switched off is not there. */
static bool is_there(const qg_gate *g, const struct route *route)
{
    return (route->who != ADMIN && route->who != LIVE) || g->opt->admin_key
               ? (route->who != LIVE && route->who != PAGE) || g->live
               : false;
}

static bool may_enter(const qg_gate *g, const struct route *route, const qg_http_req *req)
{
    const qg_keys admin = {.keys = &g->opt->admin_key, .n = 1};
    if (route->who == ADMIN || route->who == LIVE)
        return qg_keys_admit(&admin, req, NULL);
    return route->who != KEY || qg_keys_admit(&g->keys, req, NULL);
}

void qg_gate_head(void *ud, qg_http_req *req)
{
    qg_gate *g = ud;
    const struct route *route = find_route(qg_http_path(req));
    if (route && !is_there(g, route))
        route = NULL;
    qg_slice coding = qg_http_header(req, "Content-Encoding");
    qg_reqid_assign(req);
    if (!route && head_passes(g, req))
        return;
    if (!route) {
        qg_gate_fail(req, 404, "not_found",
                     "Not Found: the gateway lets through what it can judge.");
    } else if (!takes(route, qg_http_method(req))) {
        qg_http_set_extra(req, "Allow", route->method);
        qg_gate_fail(req, 405, "method_not_allowed", "Method Not Allowed");
    } else if (!may_enter(g, route, req)) {
        qg_gate_fail(req, 401, "invalid_api_key", "Unauthorized");
    } else if (coding.n && !qg_slice_is(coding, "identity")) {
        qg_gate_fail(req, 415, "invalid_request", "Content-Encoding is not supported.");
    } else if (route->handle == relay) {
        (void)admit(g, req);
    }
}

void qg_gate_full(void *ud, qg_http_req *req)
{
    const struct route *route = find_route(qg_http_path(req));
    qg_slice path = qg_http_path(req);
    if (route)
        route->handle(ud, req);
    else
        qg_gate_pass(ud, req, qg_slice_of(path.p + 3, path.n - 3)); /* without /v1 */
}
