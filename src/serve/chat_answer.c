#define _GNU_SOURCE

#include "serve/chat_answer.h"

#include "base/buf.h"
#include "base/mem.h"

static json_t *text_json(qg_slice text)
{
    return json_stringn(text.p, text.n);
}

static const char *finish_reason(const qg_chat_answer *a)
{
    return a->said.length ? "length" : "stop";
}

static json_t *stop_reason(const qg_chat_answer *a)
{
    return a->said.stop.p ? text_json(a->said.stop) : json_null();
}

static json_t *usage(const qg_chat_answer *a)
{
    json_int_t prompt = a->n_prompt;
    json_int_t said = a->said.n_tokens * a->n;
    json_t *details =
        a->n_cached ? json_pack("{s:I}", "cached_tokens", (json_int_t)a->n_cached) : json_null();
    return json_pack("{s:I,s:I,s:I,s:o}", "prompt_tokens", prompt, "completion_tokens", said,
                     "total_tokens", prompt + said, "prompt_tokens_details", details);
}

static json_t *choice(const qg_chat_answer *a, int64_t index)
{
    json_t *message = json_pack("{s:s,s:o,s:n,s:[]}", "role", "assistant", "content",
                                text_json(a->said.text), "refusal", "tool_calls");
    return json_pack("{s:I,s:o,s:n,s:s,s:o}", "index", (json_int_t)index, "message", message,
                     "logprobs", "finish_reason", finish_reason(a), "stop_reason", stop_reason(a));
}

static json_t *envelope(const qg_chat_answer *a, const char *object, json_t *choices)
{
    return json_pack("{s:s,s:s,s:I,s:s,s:o}", "id", a->id, "object", object, "created",
                     (json_int_t)a->created, "model", a->model, "choices", choices);
}

json_t *qg_chat_answer_object(const qg_chat_answer *a)
{
    json_t *choices = json_array();
    for (int64_t i = 0; choices && i < a->n; i++)
        if (json_array_append_new(choices, choice(a, i))) {
            json_decref(choices);
            choices = NULL;
        }
    json_t *object = choices ? envelope(a, "chat.completion", choices) : NULL;
    if (object && (json_object_set_new(object, "usage", usage(a)) ||
                   json_object_set_new(object, "service_tier", json_null()) ||
                   json_object_set_new(object, "system_fingerprint", json_null()))) {
        json_decref(object);
        object = NULL;
    }
    return object;
}

/* ---- streaming: per choice its role, its text and its end; then usage; then the mark -------- */

enum { PER_CHOICE = 3 };

static json_t *delta_choice(const qg_chat_answer *a, int64_t index, int64_t part)
{
    json_t *delta;
    if (part == 0)
        delta = json_pack("{s:s,s:s}", "role", "assistant", "content", "");
    else if (part == 1)
        delta = json_pack("{s:o}", "content", text_json(a->said.text));
    else
        delta = json_pack("{s:s}", "content", "");
    json_t *c = json_pack("{s:I,s:o,s:n,s:s?}", "index", (json_int_t)index, "delta", delta,
                          "logprobs", "finish_reason", part == 2 ? finish_reason(a) : NULL);
    if (c && part == 2 && json_object_set_new(c, "stop_reason", stop_reason(a))) {
        json_decref(c);
        c = NULL;
    }
    return c;
}

static json_t *chunk(const qg_chat_answer *a, int64_t step)
{
    bool last = step == a->n * PER_CHOICE;
    json_t *choices = last
                          ? json_array()
                          : json_pack("[o]", delta_choice(a, step / PER_CHOICE, step % PER_CHOICE));
    json_t *object = choices ? envelope(a, "chat.completion.chunk", choices) : NULL;
    if (object && (last || a->continuous_usage) && json_object_set_new(object, "usage", usage(a))) {
        json_decref(object);
        object = NULL;
    }
    return object;
}

static char *frame_of(const char *line)
{
    qg_buf b;
    char *frame = NULL;
    qg_buf_init(&b, SIZE_MAX / 2);
    if (qg_buf_adds(&b, "data: ") == QG_OK && qg_buf_adds(&b, line) == QG_OK &&
        qg_buf_adds(&b, "\n\n") == QG_OK)
        frame = qg_buf_take(&b);
    qg_buf_free(&b);
    return frame;
}

int qg_chat_answer_frame(const qg_chat_answer *a, int64_t step, char **frame)
{
    int64_t end = a->n * PER_CHOICE + (a->include_usage ? 1 : 0);
    *frame = NULL;
    if (step > end)
        return 0;
    if (step == end) {
        *frame = frame_of("[DONE]");
        return *frame ? 1 : -1;
    }
    json_t *object = chunk(a, step);
    char *line = object ? qg_json_dump(object) : NULL;
    json_decref(object);
    *frame = line ? frame_of(line) : NULL;
    qg_mfree(line);
    return *frame ? 1 : -1;
}
