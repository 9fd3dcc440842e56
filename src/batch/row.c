#define _GNU_SOURCE
#include "batch/row.h"

#include "base/limits.h"
#include "serve/shown.h"

#include <stdio.h>

bool qg_row_is_blank(qg_slice line)
{
    for (size_t i = 0; i < line.n; i++)
        if (!memchr(" \t\r", line.p[i], 3))
            return false;
    return true;
}

void qg_row_free(qg_row *row)
{
    json_decref(row->root);
    qg_arena_free(&row->arena);
    *row = (qg_row){.n = 0};
}

static qg_status no_memory(const qg_row *row, qg_err *err)
{
    return qg_fail(err, row->arena.why, "the row needs too much memory");
}

/* A reader of requests says where, then what. */
static qg_status of_fault(const qg_fault *fault, qg_status rc, qg_err *err)
{
    return qg_fail(err, rc, "%s%s%s", fault->param, fault->param[0] ? ": " : "", fault->err.msg);
}

static qg_status asks(qg_row *row, size_t n, qg_err *err)
{
    row->asks = qg_arena_calloc(&row->arena, n, sizeof *row->asks);
    row->n = n;
    return row->asks ? QG_OK : no_memory(row, err);
}

/* One prompt, or with reply.p a prompt and the reply to it. */
static qg_status ask_texts(qg_row *row, size_t i, qg_slice prompt, qg_slice reply, qg_err *err)
{
    qg_messages *m = &row->asks[i];
    m->n = reply.p ? 2 : 1;
    m->p = qg_arena_calloc(&row->arena, m->n, sizeof *m->p);
    if (!m->p)
        return no_memory(row, err);
    m->p[0] = (qg_message){"user", {prompt.p, prompt.n}};
    if (reply.p)
        m->p[1] = (qg_message){"assistant", {reply.p, reply.n}};
    return QG_OK;
}

static qg_status ask_messages(qg_row *row, const json_t *list, const char *where, qg_err *err)
{
    qg_fault fault = {.param = ""};
    QG_TRY(asks(row, 1, err));
    qg_status rc = qg_messages_read(&row->arena, list, where, &row->asks[0], &fault);
    return rc == QG_OK ? rc : of_fault(&fault, rc, err);
}

/* ---- lines of OpenAI's batch files ----------------------------------------------------------- */

static qg_status ask_parts(qg_row *row, const json_t *parts, qg_err *err)
{
    qg_fault fault = {.param = ""};
    qg_text text;
    QG_TRY(asks(row, 1, err));
    qg_status rc = qg_content_read(&row->arena, parts, "body.input", &text, &fault);
    if (rc != QG_OK)
        return of_fault(&fault, rc, err);
    return ask_texts(row, 0, qg_slice_of(text.p, text.n), (qg_slice){0}, err);
}

static qg_status ask_input(qg_row *row, const json_t *input, qg_err *err)
{
    size_t i;
    json_t *item;
    if (json_is_object(json_array_get(input, 0)))
        return ask_parts(row, input, err);
    if (json_is_string(input)) {
        QG_TRY(asks(row, 1, err));
        return ask_texts(row, 0, qg_json_slice(input), (qg_slice){0}, err);
    }
    if (!json_array_size(input) || json_array_size(input) > QG_MAX_INPUTS)
        return qg_fail(err, QG_ERR_FORMAT,
                       "body.input: expected a string, text parts, or 1 to %d strings",
                       QG_MAX_INPUTS);
    row->list = true;
    QG_TRY(asks(row, json_array_size(input), err));
    json_array_foreach (input, i, item) {
        if (!json_is_string(item))
            return qg_fail(err, QG_ERR_FORMAT, "body.input.%zu: expected a string", i);
        QG_TRY(ask_texts(row, i, qg_json_slice(item), (qg_slice){0}, err));
    }
    return QG_OK;
}

static bool ends_with(qg_slice s, const char *end)
{
    size_t n = strlen(end);
    return s.n >= n && !memcmp(s.p + s.n - n, end, n);
}

static qg_status ask_batch(qg_row *row, const json_t *body, qg_err *err)
{
    qg_slice method = {NULL, 0}, url;
    QG_TRY(qg_json_opt_str(row->root, "method", &method, err));
    QG_TRY(qg_json_get_str(row->root, "url", &url, err));
    if (method.p && !qg_slice_is(method, "POST"))
        return qg_fail(err, QG_ERR_FORMAT, "method: expected POST");
    if (ends_with(url, "/chat/completions"))
        return ask_messages(row, json_object_get(body, "messages"), "body.messages", err);
    if (ends_with(url, "/moderations"))
        return ask_input(row, json_object_get(body, "input"), err);
    return qg_fail(err, QG_ERR_UNSUPPORTED,
                   "url: expected one that ends in /chat/completions or /moderations");
}

/* ---- other rows ------------------------------------------------------------------------------ */

static const json_t *member(const json_t *o, const char *name)
{
    char outer[QG_MAX_FIELD_BYTES];
    const json_t *whole = json_object_get(o, name);
    for (const char *dot = name; !whole && (dot = strchr(dot, '.')); dot++) {
        snprintf(outer, sizeof outer, "%.*s", (int)(dot - name), name);
        const json_t *inner = json_object_get(o, outer);
        if (json_is_object(inner))
            return member(inner, dot + 1);
    }
    return whole;
}

/* out->p is NULL where there is none: absent and not needed, or null. */
static qg_status text_of(const qg_row *row, const char *name, bool needed, qg_slice *out,
                         qg_err *err)
{
    const json_t *value = member(row->root, name);
    *out = (qg_slice){NULL, 0};
    if (!value && needed)
        return qg_fail(err, QG_ERR_FORMAT, "the row has no \"%s\"", name);
    if (json_is_string(value))
        *out = qg_json_slice(value);
    else if (value && !json_is_null(value))
        return qg_fail(err, QG_ERR_FORMAT, "\"%s\": expected a string", name);
    return QG_OK;
}

static qg_status ask_pair(qg_row *row, const qg_row_fields *f, qg_err *err)
{
    qg_slice prompt, reply = {NULL, 0};
    const char *name = f->prompt ? f->prompt : "prompt";
    QG_TRY(text_of(row, name, true, &prompt, err));
    if (!prompt.p)
        return qg_fail(err, QG_ERR_FORMAT, "\"%s\": expected a string", name);
    if (f->response || !f->prompt)
        QG_TRY(text_of(row, f->response ? f->response : "response", f->response, &reply, err));
    QG_TRY(asks(row, 1, err));
    return ask_texts(row, 0, prompt, reply, err);
}

static qg_status find_asks(qg_row *row, const qg_row_fields *f, qg_err *err)
{
    const json_t *body = json_object_get(row->root, "body");
    const json_t *messages = json_object_get(row->root, "messages");
    if (f->prompt || f->response)
        return ask_pair(row, f, err);
    if (json_is_object(body) && json_object_get(row->root, "url"))
        return ask_batch(row, body, err);
    if (messages)
        return ask_messages(row, messages, "messages", err);
    if (json_object_get(row->root, "prompt"))
        return ask_pair(row, f, err);
    return qg_fail(err, QG_ERR_FORMAT,
                   "the row has neither \"messages\" nor \"prompt\", nor \"url\" and \"body\"");
}

/* As the server shows them. */
static qg_status show_all(qg_row *row, qg_err *err)
{
    for (size_t i = 0; i < row->n; i++) {
        if (qg_shown_messages(&row->arena, &row->asks[i]) != QG_OK)
            return no_memory(row, err);
        for (size_t k = 0; k < row->asks[i].n; k++)
            row->bytes += row->asks[i].p[k].content.n;
    }
    return QG_OK;
}

/* A row has one line, and its number in the file is told beside the sentence. */
static void drop_line(qg_err *err)
{
    static const char first[] = "line 1, ";
    size_t n = sizeof first - 1;
    if (err && !strncmp(err->msg, first, n))
        memmove(err->msg, err->msg + n, strlen(err->msg + n) + 1);
}

qg_status qg_row_read(qg_row *row, qg_slice line, const qg_row_fields *fields, qg_err *err)
{
    *row = (qg_row){.n = 0};
    qg_arena_init(&row->arena, QG_MAX_TEXT_BYTES);
    qg_status rc = qg_json_parse(line, QG_JSON_NUL | QG_JSON_REALS, &row->root, err);
    if (rc != QG_OK)
        drop_line(err);
    else if (!json_is_object(row->root))
        rc = qg_fail(err, QG_ERR_FORMAT, "the row is not a JSON object");
    if (rc == QG_OK)
        rc = find_asks(row, fields, err);
    if (rc == QG_OK)
        rc = show_all(row, err);
    if (rc != QG_OK)
        qg_row_free(row);
    return rc;
}
