/* What the gateway itself says: annotations, errors, and whole replies in place of a blocked one.
 */
#include "base/limits.h"
#include "base/mem.h"
#include "gateway/ending.h"
#include "text/utf8.h"

#include <ctype.h>

qg_status qg_wire_note_put(const qg_wire_note *note, qg_buf *out)
{
    const char *name = note->category ? note->category : "unknown";
    QG_TRY(qg_buf_adds(out, "\""));
    for (const char *p = name; *p; p++) {
        char c = isalnum((unsigned char)*p) ? (char)tolower((unsigned char)*p) : '_';
        if (c != '_' || (p > name && isalnum((unsigned char)p[-1])))
            QG_TRY(qg_buf_add(out, &c, 1));
    }
    return qg_buf_addf(out,
                       "\":{\"filtered\":%s,\"detected\":true,\"severity\":\"%s\",\"label\":\"%s\","
                       "\"p\":%.4f,\"start_offset\":%llu,\"end_offset\":%llu}",
                       note->filtered ? "true" : "false",
                       note->severity == QG_UNSAFE ? "high" : "medium",
                       qg_severity_name(note->severity), note->p, (unsigned long long)note->begin,
                       (unsigned long long)note->end);
}

/* Gives up the value. */
static qg_status put_json(qg_buf *out, json_t *value)
{
    char *text = value ? qg_json_dump_digits(value, 9) : NULL;
    qg_status rc = text ? qg_buf_adds(out, text) : QG_ERR_NOMEM;
    qg_mfree(text);
    json_decref(value);
    return rc;
}

/* ---- errors ---------------------------------------------------------------------------------- */

static const char *openai_type(int http)
{
    return http == 401   ? "authentication_error"
           : http == 403 ? "permission_error"
           : http == 429 ? "rate_limit_error"
           : http < 500  ? "invalid_request_error"
                         : "server_error";
}

static const char *anthropic_type(int http)
{
    return http == 401                  ? "authentication_error"
           : http == 403                ? "permission_error"
           : http == 404                ? "not_found_error"
           : http == 413                ? "request_too_large"
           : http == 429                ? "rate_limit_error"
           : http == 503 || http == 529 ? "overloaded_error"
           : http == 504                ? "timeout_error"
           : http < 500                 ? "invalid_request_error"
                                        : "api_error";
}

static json_t *error_json(qg_proto proto, int http, const char *code, const char *sentence,
                          const qg_wire_note *note)
{
    json_t *results = qg_note_json(note);
    if (!qg_utf8_valid(qg_str(sentence)))
        sentence = "The model's server failed.";
    json_t *error = proto == QG_PROTO_ANTHROPIC
                        ? json_pack("{s:s,s:s}", "type", anthropic_type(http), "message", sentence)
                        : json_pack("{s:s,s:s,s:n,s:s}", "message", sentence, "type",
                                    openai_type(http), "param", "code", code);
    if (error && results)
        json_object_set_new(error, "innererror",
                            json_pack("{s:s,s:O}", "code", "ResponsibleAIPolicyViolation",
                                      "content_filter_result", results));
    json_decref(results);
    return proto == QG_PROTO_ANTHROPIC ? json_pack("{s:s,s:o}", "type", "error", "error", error)
                                       : json_pack("{s:o}", "error", error);
}

qg_status qg_wire_error(qg_proto proto, int http, const char *code, const char *sentence,
                        const qg_wire_note *note, qg_buf *out)
{
    return put_json(out, error_json(proto, http, code, sentence, note));
}

qg_status qg_wire_error_event(qg_proto proto, int http, const char *code, const char *sentence,
                              qg_buf *out)
{
    if (proto == QG_PROTO_RESPONSES)
        return qg_put_event(out, "error",
                            json_pack("{s:s,s:s,s:s,s:n,s:i}", "type", "error", "code", code,
                                      "message", sentence, "param", "sequence_number", 0));
    QG_TRY(qg_put_event(out, proto == QG_PROTO_ANTHROPIC ? "error" : NULL,
                        error_json(proto, http, code, sentence, NULL)));
    return proto == QG_PROTO_ANTHROPIC ? QG_OK : qg_buf_adds(out, "data: [DONE]\n\n");
}

/* ---- blocked replies ------------------------------------------------------------------------- */

static json_t *strn(qg_slice s)
{
    return json_stringn(s.p, s.n);
}

static json_t *id_of(const char *prefix, const qg_wire_blocked *b)
{
    return json_sprintf("%s%.*s", prefix, b->id.n > 128 ? 128 : (int)b->id.n, b->id.p);
}

static json_t *chat_body(bool chat, const qg_wire_blocked *b)
{
    json_t *choice = chat ? json_pack("{s:i,s:{s:s,s:s,s:n},s:n,s:s}", "index", 0, "message",
                                      "role", "assistant", "content", b->message, "refusal",
                                      "logprobs", "finish_reason", "content_filter")
                          : json_pack("{s:i,s:s,s:n,s:s}", "index", 0, "text", b->message,
                                      "logprobs", "finish_reason", "content_filter");
    json_t *results = qg_note_json(b->note);
    if (choice && results)
        json_object_set(choice, "content_filter_results", results);
    json_decref(results);
    return json_pack("{s:o,s:s,s:I,s:o,s:[o],s:{s:i,s:i,s:i}}", "id",
                     id_of(chat ? "chatcmpl-" : "cmpl-", b), "object",
                     chat ? "chat.completion" : "text_completion", "created",
                     (json_int_t)b->created, "model", strn(b->model), "choices", choice, "usage",
                     "prompt_tokens", 0, "completion_tokens", 0, "total_tokens", 0);
}

static json_t *chat_head(bool chat, const qg_wire_blocked *b)
{
    return json_pack("{s:o,s:s,s:I,s:o}", "id", id_of(chat ? "chatcmpl-" : "cmpl-", b), "object",
                     chat ? "chat.completion.chunk" : "text_completion", "created",
                     (json_int_t)b->created, "model", strn(b->model));
}

static json_t *anthropic_body(const qg_wire_blocked *b, bool head)
{
    json_t *content =
        head ? json_array() : json_pack("[{s:s,s:s}]", "type", "text", "text", b->message);
    return json_pack("{s:o,s:s,s:s,s:o,s:o,s:s?,s:n,s:{s:i,s:i}}", "id", id_of("msg_", b), "type",
                     "message", "role", "assistant", "model", strn(b->model), "content", content,
                     "stop_reason", head ? NULL : "refusal", "stop_sequence", "usage",
                     "input_tokens", 0, "output_tokens", 0);
}

static json_t *responses_body(const qg_wire_blocked *b, bool head)
{
    json_t *output =
        head ? json_array()
             : json_pack("[{s:o,s:s,s:s,s:s,s:[{s:s,s:s,s:[]}]}]", "id", id_of("msg_", b), "type",
                         "message", "status", "incomplete", "role", "assistant", "content", "type",
                         "output_text", "text", b->message, "annotations");
    json_t *why = head ? json_null() : json_pack("{s:s}", "reason", "content_filter");
    return json_pack("{s:o,s:s,s:I,s:s,s:o,s:n,s:o,s:o,s:b,s:s,s:[]}", "id", id_of("resp_", b),
                     "object", "response", "created_at", (json_int_t)b->created, "status",
                     head ? "in_progress" : "incomplete", "incomplete_details", why, "error",
                     "model", strn(b->model), "output", output, "parallel_tool_calls", 1,
                     "tool_choice", "auto", "tools");
}

static json_t *body_of(qg_proto proto, const qg_wire_blocked *b, bool head)
{
    bool chat = proto == QG_PROTO_CHAT;
    if (proto == QG_PROTO_ANTHROPIC)
        return anthropic_body(b, head);
    if (proto == QG_PROTO_RESPONSES)
        return responses_body(b, head);
    return head ? chat_head(chat, b) : chat_body(chat, b);
}

qg_status qg_wire_blocked_reply(qg_proto proto, bool stream, const qg_wire_blocked *b, qg_buf *out)
{
    json_t *body = body_of(proto, b, stream);
    qg_ending e;
    qg_ending_say end = {.message = b->message, .note = b->note};
    if (!body || !stream)
        return put_json(out, body);
    qg_ending_init(&e, proto);
    qg_ending_head(&e, body);
    qg_status rc = qg_ending_write(&e, &end, out);
    qg_ending_free(&e);
    return rc;
}
