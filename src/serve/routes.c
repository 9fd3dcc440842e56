/* Every route of the server, in one table. */
#define _GNU_SOURCE /* memmem */

#include "serve/serve_priv.h"
#include "svc/reqid.h"

#include <stdio.h>

/* EARLY: handled when the header block is in; its answer begins while the body still comes. */
enum { GET = 1, POST = 2, DELETE = 4, EARLY = 8, OTHER = 16, ANY = 1 | 2 | 4 | 16 };

/* Longer patterns stand before shorter ones that fit too. */
static const struct route {
    unsigned methods; /* GET allows HEAD */
    const char *path; /* a '*' or two: one or more characters each */
    bool key;         /* asks for an API key when one is set */
    void (*handle)(qg_server *srv, qg_http_req *req);
} routes[] = {
    {POST, "/v1/chat/completions", true, qg_serve_chat},
    {POST, "/v1/completions", true, qg_serve_completions},
    {POST, "/v1/moderations", true, qg_serve_moderations},
    {POST, "/v1/guard", true, qg_serve_guard},
    {POST, "/v1/safety/run-shield", true, qg_serve_run_shield},
    {POST, "/v1/admin/model", false, qg_serve_admin_model},
    {GET, "/v1/models", true, qg_serve_models},
    {POST, "/v1/models/*:predict", true, qg_serve_kserve},
    {GET, "/v1/models/*", true, qg_serve_model},
    {POST, "/tokenize", true, qg_serve_tokenize},
    {POST, "/detokenize", true, qg_serve_detokenize},
    {POST, "/classify", true, qg_serve_classify},
    {POST, "/pooling", true, qg_serve_pooling},
    {POST, "/predict", true, qg_serve_predict},
    {GET, "/info", true, qg_serve_info},
    {GET, "/load", false, qg_serve_load},
    {GET, "/health", false, qg_serve_health},
    {POST | EARLY, "/v1/moderations/stream", true, qg_serve_stream},
    {GET, "/v1/moderations/ws", true, qg_serve_stream_socket},
    {POST, "/v1/moderations/sessions", true, qg_serve_sessions},
    {GET | POST | DELETE, "/v1/moderations/sessions/*", true, qg_serve_session},
    {POST | EARLY, "/api/v2/text/detection/stream-content", true, qg_serve_stream_fms},
    {GET | POST, "/ping", false, qg_serve_health},
    {GET, "/version", false, qg_serve_version},
    {GET, "/metrics", false, qg_serve_metrics},
    {GET, "/openapi.json", false, qg_serve_openapi},
    {POST, "/dify", true, qg_serve_dify},
    {POST, "/beta/litellm_basic_guardrail_api", true, qg_serve_litellm},
    {POST, "/api/v1/text/contents", true, qg_serve_fms_contents},
    {POST, "/api/v1/text/chat", true, qg_serve_fms_chat},
    {POST, "/api/v1/text/generation", true, qg_serve_fms_generation},
    {POST, "/api/v2/text/detection/content", true, qg_serve_fms_content},
    {POST, "/v2/guard", true, qg_serve_lakera},
    {POST, "/request", true, qg_serve_webhook_request},
    {POST, "/response", true, qg_serve_webhook_response},
    {POST, "/contentsafety/text:analyze", true, qg_serve_azure_analyze},
    {POST, "/contentsafety/text:shieldPrompt", true, qg_serve_azure_shield},
    {POST, "/guardrail/*/version/*/apply", true, qg_serve_bedrock},
    {GET, "/models", true, qg_serve_pipelines_models},
    {GET, "/pipelines", true, qg_serve_pipelines_list},
    {GET, "/v1/pipelines", true, qg_serve_pipelines_list},
    {POST, "/pipelines/*", true, qg_serve_pipelines_no},
    {POST, "/qguard/filter/inlet", true, qg_serve_pipelines_inlet},
    {POST, "/v1/qguard/filter/inlet", true, qg_serve_pipelines_inlet},
    {POST, "/qguard/filter/outlet", true, qg_serve_pipelines_outlet},
    {POST, "/v1/qguard/filter/outlet", true, qg_serve_pipelines_outlet},
    {GET, "/qguard/valves/spec", true, qg_serve_pipelines_spec},
    {GET, "/v1/qguard/valves/spec", true, qg_serve_pipelines_spec},
    {GET, "/qguard/valves", true, qg_serve_pipelines_valves},
    {GET, "/v1/qguard/valves", true, qg_serve_pipelines_valves},
    {POST, "/qguard/valves/update", true, qg_serve_pipelines_valves},
    {POST, "/v1/qguard/valves/update", true, qg_serve_pipelines_valves},
    {ANY, "/ext_authz", true, qg_serve_ext_authz},
    {ANY, "/ext_authz/*", true, qg_serve_ext_authz},
    {POST, "/", true, qg_serve_aliyun},
    {GET, "/", false, qg_serve_playground},
    {GET, "/playground.js", false, qg_serve_playground},
    {GET, "/playground.css", false, qg_serve_playground},
};

static bool matches(const char *pattern, qg_slice path)
{
    const char *star = strchr(pattern, '*'), *last = strrchr(pattern, '*');
    if (!star)
        return qg_slice_is(path, pattern);
    size_t before = (size_t)(star - pattern), behind = strlen(last + 1);
    if (path.n <= before + behind || memcmp(path.p, pattern, before) != 0 ||
        memcmp(path.p + path.n - behind, last + 1, behind) != 0)
        return false;
    /* between two stars: with a character or more on both sides */
    return star == last || (path.n - before - behind > 2 &&
                            memmem(path.p + before + 1, path.n - before - behind - 2, star + 1,
                                   (size_t)(last - star - 1)));
}

static bool allows(const struct route *route, const char *method)
{
    if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0)
        return route->methods & GET;
    if (strcmp(method, "POST") == 0)
        return route->methods & POST;
    if (strcmp(method, "DELETE") == 0)
        return route->methods & DELETE;
    return route->methods & OTHER;
}

/* The route of a path; where two share one, that which takes the method. */
static const struct route *find_route(qg_slice path, const char *method)
{
    const struct route *found = NULL;
    for (size_t i = 0; i < QG_COUNT(routes); i++) {
        if (!matches(routes[i].path, path))
            continue;
        if (allows(&routes[i], method))
            return &routes[i];
        found = found ? found : &routes[i];
    }
    return found;
}

const char *qg_serve_endpoint(qg_slice path)
{
    const struct route *route = find_route(path, "GET");
    return route ? route->path : NULL;
}

/* Errors that do not look like OpenAI's. */
qg_serve_shape qg_serve_shape_of(qg_slice path, const char *method)
{
    static const struct {
        const char *path;
        qg_serve_shape shape;
    } shapes[] = {
        {"/api/v1/text/*", qg_serve_fms_error},
        {"/api/v2/text/detection/content", qg_serve_fms_error},
        {"/guardrail/*/version/*/apply", qg_serve_bedrock_error},
        {"/predict", qg_serve_predict_error},
        {"/qguard/filter/*", qg_serve_pipelines_error},
        {"/v1/qguard/filter/*", qg_serve_pipelines_error},
        {"/", qg_serve_aliyun_error},
    };
    const struct route *route = find_route(path, method);
    for (size_t i = 0; route && i < QG_COUNT(shapes); i++)
        if (matches(shapes[i].path, path))
            return shapes[i].shape;
    return NULL;
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

static void refuse(qg_http_req *req, qg_serve_error error)
{
    qg_serve_shape shape = qg_serve_shape_of(qg_http_path(req), qg_http_method(req));
    json_t *tree = shape ? shape(&error) : NULL;
    qg_serve_fail_with(req, &error, tree);
}

static void fail_method(const struct route *route, qg_http_req *req)
{
    qg_http_set_extra(req, "Allow", allow_header(route));
    refuse(req, (qg_serve_error){.status = 405,
                                 .type = "MethodNotAllowedError",
                                 .message = "Method Not Allowed"});
}

/* The limits of the caller's key; a request that may come in carries its place until its end. */
static bool admit(qg_server *srv, qg_http_req *req)
{
    qg_slice name = {"", 0};
    qg_policy_view view;
    qg_admission_slot slot;
    const char *why;
    int wait_s;
    if (strcmp(qg_http_method(req), "GET") == 0 || strcmp(qg_http_method(req), "HEAD") == 0)
        return true;
    qg_keys_admit(&srv->keys, req, &name);
    qg_policy_view_of(srv->policy, name, qg_str(""), &view);
    qg_status rc = qg_admission_begin(srv->admission, name, view.per_minute, view.concurrent,
                                      qg_now_us(), &slot, &why, &wait_s);
    if (rc == QG_OK) {
        qg_http_set_tag(req, slot + 1);
        return true;
    }
    qg_metrics_refusal(srv->metrics, why ? why : "memory");
    refuse(req, (qg_serve_error){.status = 429,
                                 .type = "RateLimitError",
                                 .code = "rate_limit_exceeded",
                                 .message = "This key has reached its limit of requests.",
                                 .retry_after = wait_s});
    return false;
}

void qg_serve_head(void *ud, qg_http_req *req)
{
    qg_server *srv = ud;
    const struct route *route = find_route(qg_http_path(req), qg_http_method(req));
    qg_slice coding = qg_http_header(req, "Content-Encoding");
    qg_reqid_assign(req);
    if (!route)
        qg_serve_fail(
            req, &(qg_serve_error){.status = 404, .type = "NotFoundError", .message = "Not Found"});
    else if (strcmp(qg_http_method(req), "OPTIONS") == 0 && !(route->methods & OTHER))
        reply_options(route, req);
    else if (!allows(route, qg_http_method(req)))
        fail_method(route, req);
    else if (route->key && !qg_keys_admit(&srv->keys, req, NULL))
        refuse(req, (qg_serve_error){.status = 401,
                                     .type = "invalid_request_error",
                                     .code = "invalid_api_key",
                                     .message = "Unauthorized"});
    else if (coding.n && !qg_slice_is(coding, "identity"))
        refuse(req, (qg_serve_error){.status = 415,
                                     .type = "BadRequestError",
                                     .message = "Content-Encoding is not supported."});
    else if (route->key && !admit(srv, req))
        return;
    else if (route->methods & EARLY)
        route->handle(srv, req);
}

void qg_serve_full(void *ud, qg_http_req *req)
{
    const struct route *route = find_route(qg_http_path(req), qg_http_method(req));
    if (route)
        route->handle(ud, req);
}
