#define _GNU_SOURCE

#include "serve/chat_request.h"

#include "base/limits.h"

#include <stdarg.h>
#include <stdio.h>

/* param is a printf format. */
static qg_status wrong(qg_chat_fault *fault, qg_status rc, const char *sentence, const char *param,
                       ...) __attribute__((format(printf, 4, 5)));

static qg_status wrong(qg_chat_fault *fault, qg_status rc, const char *sentence, const char *param,
                       ...)
{
    va_list args;
    va_start(args, param);
    vsnprintf(fault->param, sizeof fault->param, param, args);
    va_end(args);
    fault->schema = rc == QG_ERR_FORMAT;
    return qg_fail(&fault->err, rc, "%s", sentence);
}

/* A sentence that the JSON getters wrote, about one member of the body. */
static qg_status wrong_member(qg_chat_fault *fault, qg_status rc, const char *where)
{
    if (rc == QG_OK)
        return QG_OK;
    snprintf(fault->param, sizeof fault->param, "body.%s", where);
    fault->schema = true;
    return rc;
}

static qg_status no_memory(qg_chat_request *r, qg_chat_fault *fault)
{
    return wrong(fault, r->arena.why, "The messages need too much memory.", "body.messages");
}

static qg_status read_role(qg_chat_request *r, const json_t *message, size_t i, const char **out,
                           qg_chat_fault *fault)
{
    const json_t *value = json_object_get(message, "role");
    qg_slice role = qg_json_slice(value);
    if (!json_is_string(value) || role.n == 0)
        return wrong(fault, QG_ERR_FORMAT, "A message needs a role, a non-empty string.",
                     "body.messages.%zu.role", i);
    if (role.n > QG_MAX_ROLE_BYTES || memchr(role.p, 0, role.n))
        return wrong(fault, QG_ERR_FORMAT, "This is not a role.", "body.messages.%zu.role", i);
    (void)r;
    *out = role.p; /* jansson ends its strings with a 0 */
    return QG_OK;
}

/* Text of one part of a content array; other kinds of parts cannot be judged. */
static qg_status read_part(const json_t *part, size_t i, size_t k, qg_slice *out,
                           qg_chat_fault *fault)
{
    const json_t *text = json_object_get(part, "text");
    qg_slice type = qg_json_slice(json_object_get(part, "type"));
    if (!json_is_object(part))
        return wrong(fault, QG_ERR_FORMAT, "A content part must be an object.",
                     "body.messages.%zu.content.%zu", i, k);
    if (!qg_slice_is(type, "text"))
        return wrong(fault, QG_ERR_ARG, "Only content parts of type \"text\" can be judged.",
                     "body.messages.%zu.content.%zu.type", i, k);
    if (!json_is_string(text))
        return wrong(fault, QG_ERR_FORMAT, "A text part needs a text, a string.",
                     "body.messages.%zu.content.%zu.text", i, k);
    *out = qg_json_slice(text);
    return QG_OK;
}

static qg_status join_parts(qg_chat_request *r, const json_t *parts, size_t i, qg_text *out,
                            qg_chat_fault *fault)
{
    size_t n = 0;
    size_t k;
    json_t *part;
    qg_slice piece;
    json_array_foreach (parts, k, part) {
        QG_TRY(read_part(part, i, k, &piece, fault));
        n += piece.n; /* all of them lie in the body */
    }
    char *text = qg_arena_alloc(&r->arena, n);
    if (!text)
        return no_memory(r, fault);
    *out = (qg_text){text, n};
    json_array_foreach (parts, k, part) {
        QG_TRY(read_part(part, i, k, &piece, fault));
        if (piece.n)
            memcpy(text, piece.p, piece.n);
        text += piece.n;
    }
    return QG_OK;
}

/* A message may go without content only where it calls tools: a misspelt key must not be judged as
 * empty text, which is Safe. */
static qg_status read_content(qg_chat_request *r, const json_t *message, size_t i, qg_text *out,
                              qg_chat_fault *fault)
{
    const json_t *content = json_object_get(message, "content");
    bool calls =
        json_object_get(message, "tool_calls") || json_object_get(message, "function_call");
    *out = (qg_text){"", 0};
    if (!content && !calls)
        return wrong(fault, QG_ERR_FORMAT, "A message needs a content.",
                     "body.messages.%zu.content", i);
    if (!content || json_is_null(content))
        return QG_OK;
    if (json_is_array(content))
        return join_parts(r, content, i, out, fault);
    if (!json_is_string(content))
        return wrong(fault, QG_ERR_FORMAT, "content must be a string, null or an array of parts.",
                     "body.messages.%zu.content", i);
    qg_slice text = qg_json_slice(content);
    *out = (qg_text){text.p, text.n};
    return QG_OK;
}

/* The last message is the one that is judged.  Without text (only tool calls, whose arguments are
 * not read) it would be judged as empty, which is Safe. */
static qg_status check_judged(const json_t *list, qg_chat_fault *fault)
{
    size_t last = json_array_size(list) - 1;
    const json_t *content = json_object_get(json_array_get(list, last), "content");
    if (content && !json_is_null(content))
        return QG_OK;
    return wrong(fault, QG_ERR_ARG,
                 "The last message has no text to judge; tool calls are not read.",
                 "body.messages.%zu.content", last);
}

static qg_status read_messages(qg_chat_request *r, qg_chat_fault *fault)
{
    const json_t *list = json_object_get(r->root, "messages");
    if (!json_is_array(list))
        return wrong(fault, QG_ERR_FORMAT,
                     list ? "messages must be an array." : "messages is missing.", "body.messages");
    size_t n = json_array_size(list);
    if (n == 0)
        return wrong(fault, QG_ERR_ARG, "messages must not be empty.", "body.messages");
    if (n > QG_MAX_MESSAGES)
        return wrong(fault, QG_ERR_ARG, "There are too many messages.", "body.messages");
    r->messages = qg_arena_calloc(&r->arena, n, sizeof *r->messages);
    if (!r->messages)
        return no_memory(r, fault);
    r->n_messages = n;
    for (size_t i = 0; i < n; i++) {
        const json_t *message = json_array_get(list, i);
        if (!json_is_object(message))
            return wrong(fault, QG_ERR_FORMAT, "A message must be an object.", "body.messages.%zu",
                         i);
        QG_TRY(read_role(r, message, i, &r->messages[i].role, fault));
        QG_TRY(read_content(r, message, i, &r->messages[i].content, fault));
    }
    return check_judged(list, fault);
}

static qg_status read_stream(qg_chat_request *r, qg_chat_fault *fault)
{
    json_t *options = NULL;
    qg_err *err = &fault->err;
    QG_TRY(wrong_member(fault, qg_json_opt_bool(r->root, "stream", &r->stream, err), "stream"));
    QG_TRY(wrong_member(fault, qg_json_opt_object(r->root, "stream_options", &options, err),
                        "stream_options"));
    if (!options)
        return QG_OK;
    if (!r->stream)
        return wrong(fault, QG_ERR_ARG, "stream_options needs stream to be true.",
                     "stream_options");
    QG_TRY(wrong_member(fault, qg_json_opt_bool(options, "include_usage", &r->include_usage, err),
                        "stream_options.include_usage"));
    return wrong_member(
        fault, qg_json_opt_bool(options, "continuous_usage_stats", &r->continuous_usage, err),
        "stream_options.continuous_usage_stats");
}

/* max_completion_tokens wins over its older name. */
static qg_status read_counts(qg_chat_request *r, qg_chat_fault *fault)
{
    static const char *const names[] = {"max_tokens", "max_completion_tokens"};
    for (size_t i = 0; i < QG_COUNT(names); i++)
        QG_TRY(wrong_member(
            fault, qg_json_opt_int(r->root, names[i], 1, INT64_MAX, &r->max_tokens, &fault->err),
            names[i]));
    r->n = 1;
    return wrong_member(fault, qg_json_opt_int(r->root, "n", 1, QG_MAX_CHOICES, &r->n, &fault->err),
                        "n");
}

static qg_status read_stops(qg_chat_request *r, qg_chat_fault *fault)
{
    const json_t *stop = json_object_get(r->root, "stop");
    bool many = json_is_array(stop);
    size_t n = many ? json_array_size(stop) : 1;
    if (!stop || json_is_null(stop))
        return QG_OK;
    if (n > QG_CHAT_STOPS)
        return wrong(fault, QG_ERR_ARG, "There are too many stop strings.", "body.stop");
    for (size_t i = 0; i < n; i++) {
        const json_t *one = many ? json_array_get(stop, i) : stop;
        if (!json_is_string(one))
            return wrong(fault, QG_ERR_FORMAT, "stop must be a string or an array of strings.",
                         "body.stop");
        if (json_string_length(one))
            r->stops[r->n_stops++] = qg_json_slice(one);
    }
    return QG_OK;
}

/* What would change the answer and cannot be given is refused rather than ignored. */
static qg_status read_refused(qg_chat_request *r, qg_chat_fault *fault)
{
    bool logprobs = false;
    const json_t *top = json_object_get(r->root, "top_logprobs");
    QG_TRY(wrong_member(fault, qg_json_opt_bool(r->root, "logprobs", &logprobs, &fault->err),
                        "logprobs"));
    if (logprobs)
        return wrong(fault, QG_ERR_UNSUPPORTED, "logprobs are not given by this version.",
                     "logprobs");
    if (top && !json_is_null(top) && !(json_is_integer(top) && json_integer_value(top) == 0))
        return wrong(fault, QG_ERR_ARG, "top_logprobs needs logprobs to be true.", "top_logprobs");
    return QG_OK;
}

qg_status qg_chat_request_read(qg_chat_request *r, qg_slice body, qg_chat_fault *fault)
{
    *r = (qg_chat_request){.model = {"", 0}, .id = {"", 0}};
    fault->err.msg[0] = 0;
    fault->param[0] = 0;
    fault->schema = true;
    qg_arena_init(&r->arena, QG_MAX_TEXT_BYTES);
    QG_TRY(qg_json_parse(body, QG_JSON_NUL, &r->root, &fault->err));
    if (!json_is_object(r->root))
        return wrong(fault, QG_ERR_FORMAT, "The body must be an object.", "body");
    QG_TRY(wrong_member(fault, qg_json_opt_str(r->root, "model", &r->model, &fault->err), "model"));
    QG_TRY(wrong_member(fault, qg_json_opt_str(r->root, "request_id", &r->id, &fault->err),
                        "request_id"));
    QG_TRY(read_messages(r, fault));
    QG_TRY(read_stream(r, fault));
    QG_TRY(read_counts(r, fault));
    QG_TRY(read_stops(r, fault));
    return read_refused(r, fault);
}

void qg_chat_request_free(qg_chat_request *r)
{
    json_decref(r->root);
    qg_arena_free(&r->arena);
    r->root = NULL;
}
