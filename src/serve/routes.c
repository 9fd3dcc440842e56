/* Every route of the server, in one table. */
#include "serve/serve_priv.h"
#include "svc/reqid.h"

#include <stdio.h>

/* EARLY: handled when the header block is in; its answer begins while the body still comes. */
enum { GET = 1, POST = 2, DELETE = 4, EARLY = 8 };

static const struct route {
    unsigned methods; /* GET allows HEAD */
    const char *path; /* a final '*' stands for one or more characters */
    bool key;         /* asks for an API key when one is set */
    void (*handle)(qg_server *srv, qg_http_req *req);
} routes[] = {
    {POST, "/v1/chat/completions", true, qg_serve_chat},
    {GET, "/v1/models", true, qg_serve_models},
    {GET, "/v1/models/*", true, qg_serve_model},
    {GET, "/health", false, qg_serve_health},
    {POST | EARLY, "/v1/moderations/stream", true, qg_serve_stream},
    {GET, "/v1/moderations/ws", true, qg_serve_stream_socket},
    {POST, "/v1/moderations/sessions", true, qg_serve_sessions},
    {GET | POST | DELETE, "/v1/moderations/sessions/*", true, qg_serve_session},
    {POST | EARLY, "/api/v2/text/detection/stream-content", true, qg_serve_stream_fms},
    {GET | POST, "/ping", false, qg_serve_health},
    {GET, "/version", false, qg_serve_version},
    {GET, "/metrics", false, qg_serve_metrics},
};

static bool matches(const char *pattern, qg_slice path)
{
    size_t n = strlen(pattern);
    if (pattern[n - 1] == '*')
        return path.n > n - 1 && memcmp(path.p, pattern, n - 1) == 0;
    return qg_slice_is(path, pattern);
}

static const struct route *find_route(qg_slice path)
{
    for (size_t i = 0; i < QG_COUNT(routes); i++)
        if (matches(routes[i].path, path))
            return &routes[i];
    return NULL;
}

const char *qg_serve_endpoint(qg_slice path)
{
    const struct route *route = find_route(path);
    return route ? route->path : NULL;
}

static bool allows(const struct route *route, const char *method)
{
    if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0)
        return route->methods & GET;
    return (strcmp(method, "POST") == 0 && (route->methods & POST)) ||
           (strcmp(method, "DELETE") == 0 && (route->methods & DELETE));
}

static const char *allow_header(const struct route *route)
{
    switch (route->methods & (GET | POST | DELETE)) {
    case GET:
        return "GET, HEAD, OPTIONS";
    case POST:
        return "POST, OPTIONS";
    case GET | POST:
        return "GET, HEAD, POST, OPTIONS";
    default:
        return "GET, HEAD, POST, DELETE, OPTIONS";
    }
}

static void reply_options(const struct route *route, qg_http_req *req)
{
    qg_http_answer answer;
    qg_http_answer_init(&answer, 204);
    qg_http_answer_header(&answer, "Allow", allow_header(route));
    qg_http_reply(req, &answer);
}

static void fail_method(const struct route *route, qg_http_req *req)
{
    qg_serve_error error = {
        .status = 405, .type = "MethodNotAllowedError", .message = "Method Not Allowed"};
    qg_http_answer answer;
    qg_http_answer_init(&answer, 405);
    answer.type = "application/json";
    answer.body = qg_serve_error_json(&error);
    answer.n = answer.body ? strlen(answer.body) : 0;
    qg_http_answer_header(&answer, "Allow", allow_header(route));
    qg_http_reply(req, &answer);
}

void qg_serve_head(void *ud, qg_http_req *req)
{
    qg_server *srv = ud;
    const struct route *route = find_route(qg_http_path(req));
    qg_slice coding = qg_http_header(req, "Content-Encoding");
    qg_reqid_assign(req);
    if (!route)
        qg_serve_fail(
            req, &(qg_serve_error){.status = 404, .type = "NotFoundError", .message = "Not Found"});
    else if (strcmp(qg_http_method(req), "OPTIONS") == 0)
        reply_options(route, req);
    else if (!allows(route, qg_http_method(req)))
        fail_method(route, req);
    else if (route->key && !qg_keys_admit(&srv->keys, req))
        qg_serve_fail(req, &(qg_serve_error){.status = 401,
                                             .type = "invalid_request_error",
                                             .code = "invalid_api_key",
                                             .message = "Unauthorized"});
    else if (coding.n && !qg_slice_is(coding, "identity"))
        qg_serve_fail(req, &(qg_serve_error){.status = 415,
                                             .type = "BadRequestError",
                                             .message = "Content-Encoding is not supported."});
    else if (route->methods & EARLY)
        route->handle(srv, req);
}

void qg_serve_full(void *ud, qg_http_req *req)
{
    const struct route *route = find_route(qg_http_path(req));
    if (route)
        route->handle(ud, req);
}
