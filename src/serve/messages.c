#define _GNU_SOURCE

#include "serve/messages.h"

#include "base/limits.h"
#include "serve/serve.h"
#include "serve/tool_calls.h"

#include <stdio.h>

static qg_status no_memory(qg_arena *arena, const char *where, qg_fault *fault)
{
    return qg_fault_set(fault, arena->why, "The messages need too much memory.", "%s", where);
}

static qg_status read_role(const json_t *message, const char *where, size_t i, const char **out,
                           qg_fault *fault)
{
    const json_t *value = json_object_get(message, "role");
    qg_slice role = qg_json_slice(value);
    if (!json_is_string(value) || role.n == 0)
        return qg_fault_set(fault, QG_ERR_FORMAT, "A message needs a role, a non-empty string.",
                            "%s.%zu.role", where, i);
    if (role.n > QG_MAX_ROLE_BYTES || memchr(role.p, 0, role.n))
        return qg_fault_set(fault, QG_ERR_FORMAT, "This is not a role.", "%s.%zu.role", where, i);
    *out = role.p; /* jansson ends its strings with a 0 */
    return QG_OK;
}

/* Text of one part of a content array; other kinds of parts cannot be judged. */
static qg_status read_part(const json_t *part, const char *where, size_t k, qg_slice *out,
                           qg_fault *fault)
{
    const json_t *text = json_object_get(part, "text");
    qg_slice type = qg_json_slice(json_object_get(part, "type"));
    if (!json_is_object(part))
        return qg_fault_set(fault, QG_ERR_FORMAT, "A content part must be an object.", "%s.%zu",
                            where, k);
    if (!qg_slice_is(type, "text"))
        return qg_fault_set(fault, QG_ERR_ARG, "Only content parts of type \"text\" can be judged.",
                            "%s.%zu.type", where, k);
    if (!json_is_string(text))
        return qg_fault_set(fault, QG_ERR_FORMAT, "A text part needs a text, a string.",
                            "%s.%zu.text", where, k);
    *out = qg_json_slice(text);
    return QG_OK;
}

static qg_status join_parts(qg_arena *arena, const json_t *parts, const char *where, qg_text *out,
                            qg_fault *fault)
{
    size_t n = 0;
    size_t k;
    json_t *part;
    qg_slice piece;
    json_array_foreach (parts, k, part) {
        QG_TRY(read_part(part, where, k, &piece, fault));
        n += piece.n; /* all of them lie in the body */
    }
    char *text = qg_arena_alloc(arena, n);
    if (!text)
        return no_memory(arena, where, fault);
    *out = (qg_text){text, n};
    json_array_foreach (parts, k, part) {
        QG_TRY(read_part(part, where, k, &piece, fault));
        if (piece.n)
            memcpy(text, piece.p, piece.n);
        text += piece.n;
    }
    return QG_OK;
}

qg_status qg_content_read(qg_arena *arena, const json_t *content, const char *where, qg_text *out,
                          qg_fault *fault)
{
    if (json_is_array(content))
        return join_parts(arena, content, where, out, fault);
    if (!json_is_string(content))
        return qg_fault_set(fault, QG_ERR_FORMAT,
                            "content must be a string, null or an array of parts.", "%s", where);
    qg_slice text = qg_json_slice(content);
    *out = (qg_text){text.p, text.n};
    return QG_OK;
}

/* A misspelt key must not be judged as empty text, which is Safe. */
static qg_status read_content(qg_arena *arena, const json_t *message, const char *where, size_t i,
                              bool last, qg_text *out, qg_fault *fault)
{
    const json_t *content = json_object_get(message, "content");
    bool calls =
        json_object_get(message, "tool_calls") || json_object_get(message, "function_call");
    char place[sizeof fault->param];
    snprintf(place, sizeof place, "%s.%zu.content", where, i);
    *out = (qg_text){"", 0};
    if (!content && !calls)
        return qg_fault_set(fault, QG_ERR_FORMAT, "A message needs a content.", "%s", place);
    bool empty = !content || json_is_null(content);
    if (last && empty && !qg_has_calls(message))
        return qg_fault_set(fault, QG_ERR_ARG, "The last message has no text to judge.", "%s",
                            place);
    if (!empty)
        QG_TRY(qg_content_read(arena, content, place, out, fault));
    qg_status rc = qg_calls_add(arena, message, out);
    return rc == QG_OK
               ? rc
               : qg_fault_set(fault, rc, "The tool calls need too much memory.", "%s", place);
}

qg_status qg_message_text(qg_arena *arena, const json_t *message, const char *where, qg_text *out,
                          qg_fault *fault)
{
    const json_t *content = json_object_get(message, "content");
    *out = (qg_text){"", 0};
    if (content && !json_is_null(content))
        QG_TRY(qg_content_read(arena, content, where, out, fault));
    qg_status rc = qg_calls_add(arena, message, out);
    return rc == QG_OK
               ? rc
               : qg_fault_set(fault, rc, "The tool calls need too much memory.", "%s", where);
}

qg_status qg_messages_read(qg_arena *arena, const json_t *list, const char *where, qg_messages *out,
                           qg_fault *fault)
{
    const char *dot = strrchr(where, '.');
    char sentence[128];
    size_t n = json_array_size(list);
    if (!json_is_array(list)) {
        snprintf(sentence, sizeof sentence, "%s %s", dot ? dot + 1 : where,
                 list ? "must be an array." : "is missing.");
        return qg_fault_set(fault, QG_ERR_FORMAT, sentence, "%s", where);
    }
    if (n == 0)
        return qg_fault_set(fault, QG_ERR_ARG, "messages must not be empty.", "%s", where);
    if (n > QG_MAX_MESSAGES)
        return qg_fault_set(fault, QG_ERR_ARG, "There are too many messages.", "%s", where);
    out->p = qg_arena_calloc(arena, n, sizeof *out->p);
    out->n = n;
    if (!out->p)
        return no_memory(arena, where, fault);
    for (size_t i = 0; i < n; i++) {
        const json_t *message = json_array_get(list, i);
        if (!json_is_object(message))
            return qg_fault_set(fault, QG_ERR_FORMAT, "A message must be an object.", "%s.%zu",
                                where, i);
        QG_TRY(read_role(message, where, i, &out->p[i].role, fault));
        QG_TRY(read_content(arena, message, where, i, i + 1 == n, &out->p[i].content, fault));
    }
    return QG_OK;
}

/* For whoever has no request to answer. */
qg_status qg_serve_messages(const json_t *list, qg_arena *arena, const qg_message **messages,
                            size_t *n, qg_err *err)
{
    qg_fault fault;
    qg_messages out = {0};
    qg_status rc = qg_messages_read(arena, list, "messages", &out, &fault);
    *messages = out.p;
    *n = out.n;
    if (rc == QG_OK)
        return rc;
    return qg_fail(err, rc == QG_ERR_ARG ? QG_ERR_FORMAT : rc, "%s: %s", fault.param,
                   fault.err.msg);
}
