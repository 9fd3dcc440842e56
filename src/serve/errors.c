/* Errors in the shape of the OpenAI protocol: {"error":{"message","type","param","code"}}.  message
 * and type are never null; code is a word or null, never a number (CONTRACTS.md 1.4: strict clients
 * hold an optional string there). */
#include "base/mem.h"
#include "serve/serve_priv.h"
#include "svc/reqid.h"

#include <stdio.h>

static const char content_type[] = "application/json";

/* Used when there is no memory for a better one. */
static const char last_resort[] =
    "{\"error\":{\"message\":\"Out of memory.\",\"type\":\"InternalServerError\",\"param\":null,"
    "\"code\":null}}";

char *qg_serve_error_json(const qg_serve_error *error)
{
    json_t *tree = json_pack("{s:{s:s,s:s,s:s?,s:s?}}", "error", "message", error->message, "type",
                             error->type, "param", error->param, "code", error->code);
    char *text = tree ? qg_json_dump(tree) : NULL;
    json_decref(tree);
    return text ? text : qg_memdup0(last_resort, sizeof last_resort - 1);
}

const char *qg_serve_error_type(int status)
{
    static const struct {
        int status;
        const char *type;
    } types[] = {
        {400, "BadRequestError"},     {401, "AuthenticationError"},
        {404, "NotFoundError"},       {405, "MethodNotAllowedError"},
        {408, "RequestTimeoutError"}, {409, "ConflictError"},
        {410, "GoneError"},           {413, "RequestTooLargeError"},
        {429, "RateLimitError"},      {503, "ServiceUnavailableError"},
        {504, "TimeoutError"},
    };
    for (size_t i = 0; i < QG_COUNT(types); i++)
        if (types[i].status == status)
            return types[i].type;
    return status < 500 ? "BadRequestError" : "InternalServerError";
}

/* tree is taken. */
static void fill(qg_http_answer *answer, const qg_serve_error *error, json_t *tree)
{
    char seconds[16];
    answer->status = error->status;
    answer->type = content_type;
    answer->body = tree ? qg_json_dump(tree) : NULL;
    json_decref(tree);
    if (!answer->body)
        answer->body = qg_serve_error_json(error);
    answer->n = answer->body ? strlen(answer->body) : 0;
    if (error->retry_after) {
        snprintf(seconds, sizeof seconds, "%d", error->retry_after);
        qg_http_answer_header(answer, "Retry-After", seconds);
    }
    if (error->no_retry)
        qg_http_answer_header(answer, "x-should-retry", "false");
    if (error->status == 401)
        qg_http_answer_header(answer, "WWW-Authenticate", "Bearer");
}

void qg_serve_error_fill(qg_http_answer *answer, const qg_serve_error *error)
{
    fill(answer, error, NULL);
}

void qg_serve_fail_with(qg_http_req *req, const qg_serve_error *error, json_t *tree)
{
    qg_http_answer answer;
    qg_http_answer_init(&answer, error->status);
    fill(&answer, error, tree);
    qg_http_reply(req, &answer);
}

void qg_serve_fail(qg_http_req *req, const qg_serve_error *error)
{
    qg_serve_fail_with(req, error, NULL);
}

void qg_serve_fault(void *ud, qg_http_req *req, const char *sentence, qg_http_answer *answer)
{
    (void)ud;
    if (!qg_http_id(req)[0])
        qg_reqid_assign(req);
    qg_serve_shape shape = qg_serve_shape_of(qg_http_path(req), qg_http_method(req));
    qg_serve_error error = {
        .status = answer->status,
        .type = qg_serve_error_type(answer->status),
        .message = sentence,
        .retry_after = answer->status == 503 ? 1 : 0,
    };
    /* What breaks HTTP itself stays 400 in every protocol. */
    fill(answer, &error, shape && error.status != 400 ? shape(&error) : NULL);
}

/* Clients know an overflow by the words "maximum context length is N tokens"; the engine's sentence
 * has them, one about a byte limit does not. */
static qg_serve_error error_too_long(const qg_server *srv, const qg_err *err, qg_serve_room *room)
{
    bool tokens = strstr(err->msg, "maximum context length is");
    /* A rule's pattern ran out of its share of work: that has nothing to do with the context. */
    if (strncmp(err->msg, "policy line ", 12) == 0)
        return (qg_serve_error){.status = 400,
                                .type = "BadRequestError",
                                .code = "rule_limit_exceeded",
                                .message = err->msg};
    snprintf(room->text, sizeof room->text,
             "This model's maximum context length is %d tokens. However, the request does not fit: "
             "%s",
             srv->house->info.max_model_len, err->msg);
    return (qg_serve_error){
        .status = 400,
        .type = "BadRequestError",
        .param = "input_tokens",
        .code = "context_length_exceeded",
        .message = tokens ? err->msg : room->text,
    };
}

qg_serve_error qg_serve_error_of(qg_server *srv, qg_status status, const qg_err *err,
                                 qg_serve_room *room)
{
    static const struct {
        qg_status status;
        int http, retry_after;
        const char *code;
        bool no_retry;
    } table[] = {
        {QG_ERR_ARG, 400, 0, NULL, false},
        {QG_ERR_FORMAT, 400, 0, NULL, false},
        {QG_ERR_TEMPLATE, 400, 0, NULL, false},
        {QG_ERR_UNSUPPORTED, 400, 0, NULL, false},
        {QG_ERR_BUSY, 429, 1, "rate_limit_exceeded", false},
        {QG_ERR_NOMEM, 503, 1, NULL, false},
        {QG_ERR_CLOSED, 503, 5, NULL, false},
        {QG_ERR_CANCELLED, 503, 1, NULL, false},
        {QG_ERR_DEADLINE, 504, 0, "deadline_exceeded", false},
        {QG_ERR_GONE, 410, 0, "session_gone", false},
    };
    /* Anything else is a bug or a numeric failure, and will be the same next time. */
    qg_serve_error error = {.status = 500, .no_retry = true, .message = err->msg};
    if (status == QG_ERR_CLOSED)
        srv->closed = true;
    if (status == QG_ERR_TOO_LONG)
        return error_too_long(srv, err, room);
    for (size_t i = 0; i < QG_COUNT(table); i++)
        if (table[i].status == status) {
            error.status = table[i].http;
            error.retry_after = table[i].retry_after;
            error.code = table[i].code;
            error.no_retry = table[i].no_retry;
        }
    if (!err->msg[0])
        error.message = qg_status_name(status);
    error.type = qg_serve_error_type(error.status);
    return error;
}

static void reply_json(qg_http_req *req, json_t *value, int digits)
{
    qg_http_answer answer;
    char *text = value ? qg_json_dump_digits(value, digits) : NULL;
    json_decref(value);
    if (!text) {
        qg_serve_fail(req, &(qg_serve_error){.status = 503,
                                             .type = "ServiceUnavailableError",
                                             .message = "Out of memory.",
                                             .retry_after = 1});
        return;
    }
    qg_http_answer_init(&answer, 200);
    answer.type = content_type;
    answer.body = text;
    answer.n = strlen(text);
    qg_http_reply(req, &answer);
}

void qg_serve_json(qg_http_req *req, json_t *value)
{
    reply_json(req, value, 9);
}

void qg_serve_json_exact(qg_http_req *req, json_t *value)
{
    reply_json(req, value, 17);
}

void qg_serve_fail_memory(qg_server *srv, qg_http_req *req)
{
    qg_err err;
    qg_serve_room room;
    qg_fail(&err, QG_ERR_NOMEM, "Out of memory.");
    qg_serve_error error = qg_serve_error_of(srv, QG_ERR_NOMEM, &err, &room);
    qg_serve_fail(req, &error);
}
