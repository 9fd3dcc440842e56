#include "serve/tool_calls.h"

#include "base/buf.h"
#include "base/limits.h"
#include "base/mem.h"

enum { DEPTH = 4 }; /* strings of JSON inside strings of JSON */

bool qg_has_calls(const json_t *message)
{
    const json_t *old = json_object_get(message, "function_call");
    const json_t *calls = json_object_get(message, "tool_calls");
    bool listed = json_is_array(calls) ? json_array_size(calls) > 0 : calls && !json_is_null(calls);
    return listed || (old && !json_is_null(old));
}

static qg_status add_json(qg_buf *out, const json_t *value)
{
    char *text = qg_json_dump(value);
    qg_status rc = text ? qg_buf_adds(out, text) : QG_ERR_NOMEM;
    qg_mfree(text);
    return rc;
}

/* Any JSON value, a bare string too; NULL when text is none.  *holder keeps it. */
static json_t *parse_value(qg_slice text, json_t **holder)
{
    qg_buf list;
    qg_buf_init(&list, QG_MAX_TEXT_BYTES);
    *holder = NULL;
    if (qg_buf_adds(&list, "[") == QG_OK && qg_buf_add(&list, text.p, text.n) == QG_OK &&
        qg_buf_adds(&list, "]") == QG_OK)
        (void)qg_json_parse(qg_buf_slice(&list), QG_JSON_NUL, holder, NULL);
    qg_buf_free(&list);
    return json_array_size(*holder) == 1 ? json_array_get(*holder, 0) : NULL;
}

/* Clients send them as a string that holds JSON, some as the JSON itself. */
static qg_status add_arguments(qg_buf *out, const json_t *arguments, int depth)
{
    json_t *holder = NULL;
    qg_slice text = qg_json_slice(arguments);
    if (!arguments || json_is_null(arguments))
        return QG_OK;
    if (!json_is_string(arguments))
        return add_json(out, arguments);
    const json_t *inside = depth ? parse_value(text, &holder) : NULL;
    qg_status rc = inside ? add_arguments(out, inside, depth - 1) : qg_buf_add(out, text.p, text.n);
    json_decref(holder);
    return rc;
}

/* name and arguments, and nothing else that somebody could read. */
static bool is_function(const json_t *call, const json_t **name, const json_t **arguments)
{
    const json_t *function = json_object_get(call, "function");
    const json_t *holder = function ? function : call;
    *name = json_object_get(holder, "name");
    *arguments = json_object_get(holder, "arguments");
    return json_is_object(holder) && json_is_string(*name);
}

static qg_status add_call(qg_buf *out, const json_t *call)
{
    const json_t *name, *arguments;
    if (!is_function(call, &name, &arguments))
        return add_json(out, call);
    qg_slice word = qg_json_slice(name);
    QG_TRY(qg_buf_add(out, word.p, word.n));
    QG_TRY(qg_buf_adds(out, " "));
    return add_arguments(out, arguments, DEPTH);
}

static qg_status add_line(qg_buf *out, const json_t *call)
{
    if (out->n)
        QG_TRY(qg_buf_adds(out, "\n"));
    return add_call(out, call);
}

static qg_status add_all(qg_buf *out, const json_t *message)
{
    const json_t *old = json_object_get(message, "function_call");
    const json_t *calls = json_object_get(message, "tool_calls");
    for (size_t i = 0; i < json_array_size(calls); i++)
        QG_TRY(add_line(out, json_array_get(calls, i)));
    if (calls && !json_is_array(calls) && !json_is_null(calls))
        QG_TRY(add_line(out, calls));
    return old && !json_is_null(old) ? add_line(out, old) : QG_OK;
}

static qg_status keep(qg_arena *arena, const qg_buf *from, qg_text *text)
{
    char *copy = qg_arena_alloc(arena, from->n);
    if (!copy)
        return arena->why;
    if (from->n)
        memcpy(copy, from->p, from->n);
    *text = (qg_text){copy, from->n};
    return QG_OK;
}

qg_status qg_calls_add(qg_arena *arena, const json_t *message, qg_text *text)
{
    qg_buf out;
    if (!qg_has_calls(message))
        return QG_OK;
    qg_buf_init(&out, QG_MAX_TEXT_BYTES);
    qg_status rc = qg_buf_add(&out, text->p, text->n);
    if (rc == QG_OK)
        rc = add_all(&out, message);
    if (rc == QG_OK)
        rc = keep(arena, &out, text);
    qg_buf_free(&out);
    return rc;
}

qg_status qg_call_text(qg_arena *arena, const json_t *call, qg_text *text)
{
    qg_buf out;
    qg_buf_init(&out, QG_MAX_TEXT_BYTES);
    qg_status rc = add_call(&out, call);
    if (rc == QG_OK)
        rc = keep(arena, &out, text);
    qg_buf_free(&out);
    return rc;
}
