#include "gateway/ending.h"

#include "base/mem.h"

void qg_ending_init(qg_ending *e, qg_proto proto)
{
    *e = (qg_ending){.proto = proto, .block = -1};
}

void qg_ending_free(qg_ending *e)
{
    json_decref(e->head);
    json_decref(e->items);
    json_decref(e->open);
    e->head = e->items = e->open = NULL;
}

void qg_ending_head(qg_ending *e, json_t *head)
{
    json_decref(e->head);
    e->head = head;
}

qg_status qg_put_event(qg_buf *out, const char *name, json_t *value)
{
    char *text = value ? qg_json_dump(value) : NULL;
    qg_status rc = text ? QG_OK : QG_ERR_NOMEM;
    json_decref(value);
    if (rc == QG_OK && name)
        rc = qg_buf_addf(out, "event: %s\n", name);
    if (rc == QG_OK)
        rc = qg_buf_adds(out, "data: ");
    if (rc == QG_OK)
        rc = qg_buf_adds(out, text);
    if (rc == QG_OK)
        rc = qg_buf_adds(out, "\n\n");
    qg_mfree(text);
    return rc;
}

json_t *qg_note_json(const qg_wire_note *note)
{
    qg_buf b;
    json_t *value = NULL;
    if (!note || !note->category)
        return NULL;
    qg_buf_init(&b, 4096);
    if (qg_buf_adds(&b, "{") == QG_OK && qg_wire_note_put(note, &b) == QG_OK &&
        qg_buf_adds(&b, "}") == QG_OK)
        qg_json_parse(qg_buf_slice(&b), 0, &value, NULL);
    qg_buf_free(&b);
    return value;
}

/* ---- chat and completions -------------------------------------------------------------------- */

/* What every chunk repeats, from the first one that has an id. */
static qg_status chat_head(qg_ending *e, qg_slice data)
{
    static const char *const names[] = {"id", "object", "created", "model", "system_fingerprint"};
    json_t *first = NULL;
    if (qg_json_parse(data, QG_JSON_NUL, &first, NULL) != QG_OK)
        return QG_OK; /* the next one will do */
    if (json_object_get(first, "id"))
        e->head = json_object();
    for (size_t i = 0; e->head && i < QG_COUNT(names); i++)
        if (json_object_get(first, names[i]))
            json_object_set(e->head, names[i], json_object_get(first, names[i]));
    json_decref(first);
    return QG_OK;
}

static qg_status chat_saw(qg_ending *e, const qg_event *event)
{
    if (!e->head && event->data.n && event->data.p[0] == '{')
        QG_TRY(chat_head(e, event->data));
    for (size_t i = 0; i < event->n_marks; i++) {
        const qg_mark *m = &event->marks[i];
        if (m->choice >= 0 && m->choice < QG_ENDING_CHOICES)
            e->choices[m->choice] |= m->what == QG_MARK_FINISH ? 3 : 1;
    }
    return QG_OK;
}

/* One chunk for a choice; text NULL: the one that ends it. */
static qg_status chat_chunk(qg_ending *e, int32_t choice, const char *text, bool apart,
                            const qg_wire_note *note, qg_buf *out)
{
    bool chat = e->proto == QG_PROTO_CHAT;
    json_t *chunk = e->head ? json_copy(e->head)
                            : json_pack("{s:s,s:s,s:i,s:s}", "id", "qguard", "object",
                                        chat ? "chat.completion.chunk" : "text_completion",
                                        "created", 0, "model", "");
    json_t *said = json_sprintf("%s%s", apart ? "\n\n" : "", text ? text : "");
    json_t *delta = json_object();
    json_t *c = json_pack("{s:i}", "index", (int)choice);
    if (!chat)
        json_object_set(c, "text", said);
    else if (text)
        json_object_set(delta, "content", said);
    if (chat && !e->begun)
        json_object_set_new(delta, "role", json_string("assistant"));
    if (chat)
        json_object_set(c, "delta", delta);
    json_object_set_new(c, "logprobs", json_null());
    json_object_set_new(c, "finish_reason", text ? json_null() : json_string("content_filter"));
    json_t *results = text ? NULL : qg_note_json(note);
    if (results)
        json_object_set_new(c, "content_filter_results", results);
    json_object_set_new(chunk, "choices", json_pack("[O]", c));
    bool whole = chunk && said && delta && c;
    json_decref(said);
    json_decref(delta);
    json_decref(c);
    if (!whole) {
        json_decref(chunk);
        return QG_ERR_NOMEM;
    }
    e->begun = true;
    return qg_put_event(out, NULL, chunk);
}

static qg_status chat_end(qg_ending *e, const qg_ending_say *s, qg_buf *out)
{
    int32_t hit = s->choice >= 0 && s->choice < QG_ENDING_CHOICES ? s->choice : 0;
    if (!(e->choices[hit] & 2))
        e->choices[hit] |= 1;
    if (s->message && !(e->choices[hit] & 2))
        QG_TRY(chat_chunk(e, hit, s->message, s->behind_text, NULL, out));
    for (int32_t i = 0; i < QG_ENDING_CHOICES; i++)
        if (e->choices[i] == 1)
            QG_TRY(chat_chunk(e, i, NULL, false, i == hit ? s->note : NULL, out));
    return qg_buf_adds(out, "data: [DONE]\n\n");
}

/* ---- Anthropic ------------------------------------------------------------------------------- */

static qg_status anthropic_saw(qg_ending *e, const qg_event *event)
{
    qg_slice type = qg_marks_root_string(event->data, "type");
    json_t *tree = NULL;
    if (qg_slice_is(type, "content_block_delta") || qg_slice_is(type, "ping"))
        return QG_OK;
    e->begun |= qg_slice_is(type, "message_start");
    if (qg_slice_is(type, "content_block_stop"))
        e->block = -1;
    if (!qg_slice_is(type, "content_block_start") ||
        qg_json_parse(event->data, QG_JSON_NUL, &tree, NULL) != QG_OK)
        return QG_OK;
    e->block = (int32_t)json_integer_value(json_object_get(tree, "index"));
    if (e->block >= e->n_blocks)
        e->n_blocks = e->block + 1;
    e->block_is_text = qg_slice_is(
        qg_json_slice(json_object_get(json_object_get(tree, "content_block"), "type")), "text");
    json_decref(tree);
    return QG_OK;
}

static qg_status anthropic_begin(qg_ending *e, qg_buf *out)
{
    if (e->begun)
        return QG_OK;
    e->begun = true;
    json_t *message = e->head ? json_incref(e->head)
                              : json_pack("{s:s,s:s,s:s,s:s,s:[],s:n,s:n,s:{s:i,s:i}}", "id",
                                          "msg_qguard", "type", "message", "role", "assistant",
                                          "model", "", "content", "stop_reason", "stop_sequence",
                                          "usage", "input_tokens", 0, "output_tokens", 0);
    return qg_put_event(out, "message_start",
                        json_pack("{s:s,s:o}", "type", "message_start", "message", message));
}

static qg_status block_stop(qg_ending *e, qg_buf *out)
{
    if (e->block < 0)
        return QG_OK;
    json_t *v = json_pack("{s:s,s:i}", "type", "content_block_stop", "index", (int)e->block);
    e->block = -1;
    return qg_put_event(out, "content_block_stop", v);
}

static qg_status anthropic_message(qg_ending *e, const char *message, bool apart, qg_buf *out)
{
    if (e->block < 0 || !e->block_is_text) {
        QG_TRY(block_stop(e, out));
        apart = false;
        e->block = e->n_blocks++;
        QG_TRY(
            qg_put_event(out, "content_block_start",
                         json_pack("{s:s,s:i,s:{s:s,s:s}}", "type", "content_block_start", "index",
                                   (int)e->block, "content_block", "type", "text", "text", "")));
    }
    json_t *text = json_sprintf("%s%s", apart ? "\n\n" : "", message);
    return qg_put_event(out, "content_block_delta",
                        json_pack("{s:s,s:i,s:{s:s,s:o}}", "type", "content_block_delta", "index",
                                  (int)e->block, "delta", "type", "text_delta", "text", text));
}

static qg_status anthropic_end(qg_ending *e, const qg_ending_say *s, qg_buf *out)
{
    QG_TRY(anthropic_begin(e, out));
    if (s->message)
        QG_TRY(anthropic_message(e, s->message, s->behind_text, out));
    QG_TRY(block_stop(e, out));
    json_t *last =
        json_pack("{s:s,s:{s:s,s:n},s:{s:I}}", "type", "message_delta", "delta", "stop_reason",
                  "refusal", "stop_sequence", "usage", "output_tokens", (json_int_t)s->tokens);
    json_t *results = qg_note_json(s->note);
    if (results)
        json_object_set_new(last, "content_filter_results", results);
    QG_TRY(qg_put_event(out, "message_delta", last));
    return qg_put_event(out, "message_stop", json_pack("{s:s}", "type", "message_stop"));
}

/* ---- all of them ----------------------------------------------------------------------------- */

qg_status qg_ending_saw(qg_ending *e, const qg_event *event)
{
    qg_status rc = QG_OK;
    if (event->data.n == 0)
        return QG_OK;
    if (e->proto == QG_PROTO_ANTHROPIC)
        rc = anthropic_saw(e, event);
    else if (e->proto == QG_PROTO_RESPONSES)
        rc = qg_ending_responses_saw(e, event);
    else
        rc = chat_saw(e, event);
    e->begun |= e->proto != QG_PROTO_ANTHROPIC;
    return rc;
}

qg_status qg_ending_saw_part(qg_ending *e, const qg_event *event)
{
    if (e->proto == QG_PROTO_ANTHROPIC)
        return anthropic_saw(e, event);
    if (e->proto == QG_PROTO_RESPONSES) {
        e->sequence++;
        return QG_OK; /* a delta opens and closes nothing */
    }
    uint8_t before[QG_ENDING_CHOICES];
    memcpy(before, e->choices, sizeof before);
    QG_TRY(chat_saw(e, event));
    for (size_t i = 0; i < QG_ENDING_CHOICES; i++) /* its finish reasons were taken out */
        e->choices[i] = (uint8_t)((e->choices[i] & 1) | (before[i] & 2));
    e->begun = true;
    return QG_OK;
}

qg_status qg_ending_write(qg_ending *e, const qg_ending_say *s, qg_buf *out)
{
    if (e->proto == QG_PROTO_ANTHROPIC)
        return anthropic_end(e, s, out);
    return e->proto == QG_PROTO_RESPONSES ? qg_ending_responses(e, s, out) : chat_end(e, s, out);
}

qg_status qg_ending_error(qg_ending *e, int http, const char *code, const char *sentence,
                          qg_buf *out)
{
    if (e->proto != QG_PROTO_RESPONSES)
        return qg_wire_error_event(e->proto, http, code, sentence, out);
    return qg_put_event(out, "error",
                        json_pack("{s:s,s:s,s:s,s:n,s:I}", "type", "error", "code", code, "message",
                                  sentence, "param", "sequence_number", (json_int_t)e->sequence++));
}
