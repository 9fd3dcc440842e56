/* The Responses protocol says everything twice: deltas, then the whole of each part, item and of
 * the reply.  A cut stream says so of what has left. */
#include "gateway/ending.h"

#include "base/limits.h"

#include <stdio.h>

static void set_key(char key[16], int64_t n)
{
    snprintf(key, 16, "%d", n < 0 || n > 999999 ? 0 : (int)n);
}

/* The item an event speaks of, borrowed, or NULL. */
static json_t *open_item(const qg_ending *e, const json_t *event)
{
    char key[16];
    set_key(key, json_integer_value(json_object_get(event, "output_index")));
    return json_object_get(e->open, key);
}

static void open_part(json_t *item, const json_t *event)
{
    size_t at = (size_t)json_integer_value(json_object_get(event, "content_index"));
    json_t *parts = json_object_get(item, "content"), *part = json_object_get(event, "part");
    if (!json_is_array(parts) && item) {
        json_object_set_new(item, "content", json_array());
        parts = json_object_get(item, "content");
    }
    if (part && parts && at == json_array_size(parts))
        json_array_append_new(parts, json_deep_copy(part));
}

static void saw_item(qg_ending *e, const json_t *event, bool done)
{
    char key[16];
    json_t *item = json_object_get(event, "item");
    set_key(key, json_integer_value(json_object_get(event, "output_index")));
    if (done) {
        if (e->kept <= QG_REPLY_KEPT_BYTES)
            json_array_append(e->items, item);
        json_object_del(e->open, key);
    } else if (e->kept <= QG_REPLY_KEPT_BYTES) {
        json_object_set_new(e->open, key, json_deep_copy(item));
    }
}

static bool structural(qg_slice type)
{
    return qg_slice_is(type, "response.created") || qg_slice_is(type, "response.in_progress") ||
           qg_slice_is(type, "response.output_item.added") ||
           qg_slice_is(type, "response.output_item.done") ||
           qg_slice_is(type, "response.content_part.added");
}

qg_status qg_ending_responses_saw(qg_ending *e, const qg_event *event)
{
    qg_slice type = qg_marks_root_string(event->data, "type");
    json_t *tree = NULL;
    e->sequence++;
    if (!structural(type) || qg_json_parse(event->data, QG_JSON_NUL, &tree, NULL) != QG_OK)
        return QG_OK;
    e->kept += event->data.n;
    if (!e->items)
        e->items = json_array();
    if (!e->open)
        e->open = json_object();
    const json_t *number = json_object_get(tree, "sequence_number");
    if (json_is_integer(number))
        e->sequence = json_integer_value(number) + 1;
    json_t *response = json_object_get(tree, "response");
    if (json_is_object(response))
        qg_ending_head(e, json_incref(response));
    if (qg_slice_is(type, "response.output_item.added"))
        saw_item(e, tree, false);
    else if (qg_slice_is(type, "response.output_item.done"))
        saw_item(e, tree, true);
    else if (qg_slice_is(type, "response.content_part.added"))
        open_part(open_item(e, tree), tree);
    json_decref(tree);
    return e->items && e->open ? QG_OK : QG_ERR_NOMEM;
}

/* ---- writing --------------------------------------------------------------------------------- */

static qg_status put(qg_ending *e, const char *type, json_t *value, qg_buf *out)
{
    if (!value)
        return QG_ERR_NOMEM;
    json_object_set_new(value, "type", json_string(type));
    json_object_set_new(value, "sequence_number", json_integer(e->sequence++));
    return qg_put_event(out, type, value);
}

static qg_status put_response(qg_ending *e, const char *type, const qg_wire_note *note, qg_buf *out)
{
    json_t *response = json_copy(e->head);
    json_t *value = json_pack("{s:o}", "response", response);
    json_t *results = qg_note_json(note);
    if (results)
        json_object_set_new(value, "content_filter_results", results);
    return put(e, type, value, out);
}

static qg_status begin(qg_ending *e, qg_buf *out)
{
    if (!e->items)
        e->items = json_array();
    if (!e->open)
        e->open = json_object();
    if (!e->items || !e->open)
        return QG_ERR_NOMEM;
    if (e->begun)
        return e->head ? QG_OK : QG_ERR_NOMEM;
    e->begun = true;
    if (!e->head)
        e->head = json_pack("{s:s,s:s,s:i,s:s,s:s,s:[],s:n,s:n,s:b,s:s,s:[]}", "id", "resp_qguard",
                            "object", "response", "created_at", 0, "status", "in_progress", "model",
                            "", "output", "error", "incomplete_details", "parallel_tool_calls", 1,
                            "tool_choice", "auto", "tools");
    if (!e->head)
        return QG_ERR_NOMEM;
    QG_TRY(put_response(e, "response.created", NULL, out));
    return put_response(e, "response.in_progress", NULL, out);
}

/* A text part as it stands, its text taken from its lane. */
static json_t *part_now(const json_t *part, int32_t index, int32_t sub, const qg_ending_say *s)
{
    bool refusal = qg_slice_is(qg_json_slice(json_object_get(part, "type")), "refusal");
    qg_slice text =
        s->text ? s->text(s->ud, index, sub, refusal ? "refusal" : "text") : qg_slice_of("", 0);
    json_t *now = json_copy((json_t *)part);
    json_object_set_new(now, refusal ? "refusal" : "text", json_stringn_nocheck(text.p, text.n));
    return now;
}

static json_t *place_of(const json_t *item, int32_t index, int32_t sub)
{
    json_t *value = json_pack("{s:O?,s:i,s:i}", "item_id", json_object_get(item, "id"),
                              "output_index", (int)index, "content_index", (int)sub);
    return value;
}

/* Adds the message to a part's text, as a delta. */
static qg_status add_message(qg_ending *e, const json_t *item, int32_t index, int32_t sub,
                             const char *message, json_t *part, qg_buf *out)
{
    const char *said = json_string_value(json_object_get(part, "text"));
    const char *gap = said && *said ? "\n\n" : "";
    json_t *delta = json_sprintf("%s%s", gap, message);
    json_t *value = place_of(item, index, sub);
    json_object_set_new(value, "delta", delta);
    json_object_set_new(value, "logprobs", json_array());
    json_object_set_new(part, "text", json_sprintf("%s%s%s", said ? said : "", gap, message));
    return put(e, "response.output_text.delta", value, out);
}

static qg_status close_part(qg_ending *e, const json_t *item, int32_t index, int32_t sub,
                            json_t *part, qg_buf *out)
{
    bool refusal = json_object_get(part, "refusal") != NULL;
    json_t *done = place_of(item, index, sub);
    json_object_set(done, refusal ? "refusal" : "text",
                    json_object_get(part, refusal ? "refusal" : "text"));
    if (!refusal)
        json_object_set_new(done, "logprobs", json_array());
    QG_TRY(put(e, refusal ? "response.refusal.done" : "response.output_text.done", done, out));
    json_t *closed = place_of(item, index, sub);
    json_object_set(closed, "part", part);
    return put(e, "response.content_part.done", closed, out);
}

static qg_status close_item(qg_ending *e, json_t *item, int32_t index, qg_buf *out)
{
    if (json_object_get(item, "status"))
        json_object_set_new(item, "status", json_string("incomplete"));
    json_array_append(e->items, item);
    json_t *done = json_pack("{s:i,s:O}", "output_index", (int)index, "item", item);
    return put(e, "response.output_item.done", done, out);
}

static const char *const call_texts[] = {"arguments", "input", "code"};

/* Closes an open item; *message goes into its first text part that can take it. */
static qg_status end_item(qg_ending *e, json_t *item, int32_t index, const char **message,
                          const qg_ending_say *s, qg_buf *out)
{
    json_t *parts = json_object_get(item, "content");
    bool is_message = qg_slice_is(qg_json_slice(json_object_get(item, "type")), "message") && parts;
    for (size_t i = 0; is_message && i < json_array_size(parts); i++) {
        json_t *part = part_now(json_array_get(parts, i), index, (int32_t)i, s);
        if (!part)
            return QG_ERR_NOMEM;
        json_array_set_new(parts, i, part);
        if (*message && json_object_get(part, "text")) {
            QG_TRY(add_message(e, item, index, (int32_t)i, *message, part, out));
            *message = NULL;
        }
        QG_TRY(close_part(e, item, index, (int32_t)i, part, out));
    }
    for (size_t i = 0; i < QG_COUNT(call_texts); i++)
        if (json_object_get(item, call_texts[i]) && s->text) {
            qg_slice text = s->text(s->ud, index, -1, "arguments");
            json_object_set_new(item, call_texts[i], json_stringn_nocheck(text.p, text.n));
        }
    return close_item(e, item, index, out);
}

/* The message as an item of its own. */
static qg_status message_item(qg_ending *e, const char *message, qg_buf *out)
{
    int32_t index = (int32_t)json_array_size(e->items);
    json_t *item = json_pack("{s:s,s:s,s:s,s:s,s:[]}", "id", "msg_qguard", "type", "message",
                             "status", "in_progress", "role", "assistant", "content");
    json_t *part = json_pack("{s:s,s:s,s:[]}", "type", "output_text", "text", "", "annotations");
    json_t *value = place_of(item, index, 0);
    qg_status rc = item && part && value ? QG_OK : QG_ERR_NOMEM;
    if (rc == QG_OK)
        rc = put(e, "response.output_item.added",
                 json_pack("{s:i,s:o}", "output_index", (int)index, "item", json_deep_copy(item)),
                 out);
    json_object_set_new(value, "part", json_deep_copy(part));
    if (rc == QG_OK)
        rc = put(e, "response.content_part.added", json_incref(value), out);
    if (rc == QG_OK)
        rc = add_message(e, item, index, 0, message, part, out);
    if (rc == QG_OK)
        rc = close_part(e, item, index, 0, part, out);
    json_array_append(json_object_get(item, "content"), part);
    if (rc == QG_OK)
        rc = close_item(e, item, index, out);
    json_decref(value);
    json_decref(part);
    json_decref(item);
    return rc;
}

qg_status qg_ending_responses(qg_ending *e, const qg_ending_say *s, qg_buf *out)
{
    const char *message = s->message, *key;
    json_t *item;
    QG_TRY(begin(e, out));
    json_object_foreach (e->open, key, item) {
        int64_t index = 0;
        for (const char *p = key; *p; p++)
            index = 10 * index + (*p - '0');
        QG_TRY(end_item(e, item, (int32_t)index, &message, s, out));
    }
    json_object_clear(e->open);
    if (message)
        QG_TRY(message_item(e, message, out));
    json_t *head = json_copy(e->head);
    qg_ending_head(e, head);
    if (!head)
        return QG_ERR_NOMEM;
    json_object_set_new(head, "status", json_string("incomplete"));
    json_object_set_new(head, "incomplete_details", json_pack("{s:s}", "reason", "content_filter"));
    json_object_set(head, "output", e->items);
    return put_response(e, "response.incomplete", s->note, out);
}
