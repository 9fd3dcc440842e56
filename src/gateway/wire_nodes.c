/* Sources: the OpenAPI descriptions of OpenAI and Anthropic and the events that their SDKs name;
 * vLLM, llama.cpp, Ollama and OpenRouter for what servers add.  An unknown member is text, so a
 * line that is missing here costs time, never safety. */
#include "gateway/wire_nodes.h"

#define MEMBER(name, act, kind, lane, sub)                                                         \
    {                                                                                              \
        name, sizeof name - 1, QG_ACT_##act, QG_FIELD_##kind, lane, sub                            \
    }
#define META(name)            MEMBER(name, META, OTHER, NULL, NULL)
#define ECHO(name)            MEMBER(name, ECHO, OTHER, NULL, NULL)
#define TYPE(name)            MEMBER(name, TYPE, OTHER, NULL, NULL)
#define TEXT(name, kind)      MEMBER(name, TEXT, kind, name, NULL)
#define WHOLE(name, kind)     MEMBER(name, WHOLE, kind, name, NULL)
#define RAW(name, kind)       MEMBER(name, RAW, kind, name, NULL)
#define CALL(name)            MEMBER(name, TEXT, TOOL, "call", NULL)
#define OPAQUE(name)          MEMBER(name, OPAQUE, OPAQUE, name, NULL)
#define IN(name, sub)         MEMBER(name, IN, CONTENT, name, &sub)
#define CHOICES(name, sub)    MEMBER(name, CHOICES, CONTENT, name, &sub)
#define CALLS(name, sub)      MEMBER(name, CALLS, TOOL, "call", &sub)
#define INDEX(name)           MEMBER(name, INDEX, OTHER, NULL, NULL)
#define SUBINDEX(name)        MEMBER(name, SUBINDEX, OTHER, NULL, NULL)
#define FINISH(name, instead) MEMBER(name, FINISH, OTHER, instead, NULL)
#define WORDS(name)           MEMBER(name, WORDS, OTHER, NULL, NULL)
#define LOGPROBS(name)        MEMBER(name, LOGPROBS, OTHER, NULL, NULL)
#define NODE(name, goes_on, note)                                                                  \
    static const qg_node name = {name##_members, QG_COUNT(name##_members), goes_on, note}

/* ---- chat completions ------------------------------------------------------------------------ */

static const qg_member function_members[] = {CALL("name"), CALL("arguments")};
NODE(function, true, false);

static const qg_member call_members[] = {
    META("id"),
    TYPE("type"),
    SUBINDEX("index"),
    MEMBER("function", IN, TOOL, "call", &function),
    MEMBER("custom", IN, TOOL, "call", &function),
};
NODE(call, true, false);

/* Parts of a content: {"type":"text","text":…}; of Mistral's thinking, one level deeper. */
static const qg_member part_inner_members[] = {TYPE("type"),
                                               MEMBER("text", TEXT, REASONING, "thinking", NULL)};
NODE(part_inner, true, false);
static const qg_member part_members[] = {
    TYPE("type"),
    MEMBER("text", TEXT, CONTENT, "content", NULL), /* it goes on behind a content that is none */
    TEXT("refusal", REFUSAL),
    OPAQUE("signature"),
    MEMBER("thinking", TEXT, REASONING, "thinking", &part_inner),
};
NODE(part, true, false);

static const qg_member detail_members[] = {
    /* OpenRouter's reasoning_details */
    META("type"),
    META("id"),
    META("format"),
    SUBINDEX("index"),
    TEXT("text", REASONING),
    TEXT("summary", REASONING),
    OPAQUE("data"),
    OPAQUE("signature"),
};
NODE(detail, true, false);

static const qg_member audio_members[] = {META("id"), OPAQUE("data"), TEXT("transcript", CONTENT)};
NODE(audio, true, false);

static const qg_member delta_members[] = {
    META("role"),
    MEMBER("content", TEXT, CONTENT, "content", &part),
    TEXT("refusal", REFUSAL),
    TEXT("reasoning_content", REASONING),
    TEXT("reasoning", REASONING),
    TEXT("thinking", REASONING),
    CALLS("tool_calls", call),
    MEMBER("function_call", IN, TOOL, "call", &function),
    IN("reasoning_details", detail),
    IN("audio", audio),
    META("tool_call_id"),
};
NODE(delta, true, false);

static const qg_member choice_members[] = {
    INDEX("index"),
    IN("delta", delta),
    IN("message", delta),
    TEXT("text", CONTENT),
    LOGPROBS("logprobs"),
    FINISH("finish_reason", "\"content_filter\""),
    META("native_finish_reason"),
    ECHO("stop_reason"), /* vLLM: the stop word of the request */
    LOGPROBS("token_ids"),
    WORDS("content_filter_results"),
    WORDS("content_filter_offsets"),
};
NODE(choice, false, true);

static const qg_member chat_members[] = {
    META("id"),
    META("object"),
    META("model"),
    META("system_fingerprint"),
    META("service_tier"),
    META("provider"),
    META("obfuscation"),
    CHOICES("choices", choice),
    WORDS("usage"),
    WORDS("timings"),
    WORDS("x_groq"),
    WORDS("prompt_filter_results"),
    WORDS("content_filter_results"),
};
NODE(chat, false, false);

/* ---- Anthropic messages ---------------------------------------------------------------------- */

static const qg_member block_members[] = {
    TYPE("type"),
    META("id"),
    TEXT("text", CONTENT),
    TEXT("thinking", REASONING),
    MEMBER("partial_json", TEXT, TOOL, "call", NULL),
    CALL("name"),
    MEMBER("input", RAW, TOOL, "input", NULL),
    OPAQUE("signature"),
    OPAQUE("data"),
    META("tool_use_id"),
};
NODE(block, false, false);

static const qg_member ending_members[] = {FINISH("stop_reason", "\"refusal\""),
                                           ECHO("stop_sequence")};
NODE(ending, false, false);

static const qg_member message_members[] = {
    META("id"),
    META("type"),
    META("role"),
    META("model"),
    CHOICES("content", block),
    FINISH("stop_reason", "\"refusal\""),
    ECHO("stop_sequence"),
    WORDS("usage"),
};
NODE(message, false, true);

static const qg_member block_event_members[] = {META("type"), INDEX("index"), IN("delta", block),
                                                IN("content_block", block)};
NODE(block_event, false, false);
static const qg_member message_event_members[] = {META("type"), IN("delta", ending),
                                                  IN("message", message), WORDS("usage")};
NODE(message_event, false, true);

/* ---- responses ------------------------------------------------------------------------------- */

static const qg_member output_part_members[] = {
    TYPE("type"),         WHOLE("text", CONTENT),       WHOLE("refusal", REFUSAL),
    LOGPROBS("logprobs"), WHOLE("transcript", CONTENT), OPAQUE("data"),
};
NODE(output_part, false, false);

static const qg_member summary_members[] = {META("type"), WHOLE("text", REASONING)};
NODE(summary, false, false);

static const qg_member item_members[] = {
    TYPE("type"),
    META("id"),
    META("call_id"),
    FINISH("status", "\"incomplete\""),
    META("role"),
    META("phase"),
    MEMBER("content", CALLS, CONTENT, "text", &output_part),
    MEMBER("summary", CALLS, REASONING, "summary", &summary),
    WHOLE("name", TOOL),
    WHOLE("arguments", TOOL),
    WHOLE("input", TOOL),
    WHOLE("code", TOOL),
    RAW("action", TOOL),
    RAW("queries", TOOL),
    OPAQUE("encrypted_content"),
    OPAQUE("result"),
    META("server_label"),
    META("container_id"),
};
NODE(item, false, false);

static const qg_member response_members[] = {
    META("id"),
    META("object"),
    META("model"),
    FINISH("status", "\"incomplete\""),
    MEMBER("incomplete_details", FINISH, OPAQUE, "{\"reason\":\"content_filter\"}", NULL),
    CHOICES("output", item),
    ECHO("instructions"),
    ECHO("metadata"),
    ECHO("tools"),
    ECHO("tool_choice"),
    ECHO("text"),
    ECHO("reasoning"),
    ECHO("prompt"),
    ECHO("input"),
    ECHO("user"),
    META("previous_response_id"),
    META("truncation"),
    META("service_tier"),
    META("safety_identifier"),
    META("prompt_cache_key"),
    META("prompt_cache_retention"),
    ECHO("conversation"),
    WORDS("usage"),
    WORDS("billing"),
};
NODE(response, false, true);

/* An event whose delta and text are of one kind. */
#define DELTA_EVENT(node, kind, word)                                                              \
    static const qg_member node##_members[] = {                                                    \
        META("type"),                                                                              \
        META("item_id"),                                                                           \
        INDEX("output_index"),                                                                     \
        SUBINDEX("content_index"),                                                                 \
        SUBINDEX("summary_index"),                                                                 \
        MEMBER("delta", TEXT, kind, word, NULL),                                                   \
        MEMBER("text", WHOLE, kind, word, NULL),                                                   \
        MEMBER("refusal", WHOLE, kind, word, NULL),                                                \
        MEMBER("arguments", WHOLE, kind, word, NULL),                                              \
        MEMBER("input", WHOLE, kind, word, NULL),                                                  \
        MEMBER("code", WHOLE, kind, word, NULL),                                                   \
        MEMBER("name", WHOLE, kind, "name", NULL),                                                 \
        MEMBER("part", IN, kind, word, &output_part),                                              \
        MEMBER("item", IN, kind, word, &item),                                                     \
        LOGPROBS("logprobs"),                                                                      \
        META("obfuscation"),                                                                       \
        MEMBER("response", IN, OTHER, NULL, &response),                                            \
    };                                                                                             \
    NODE(node, false, true)

DELTA_EVENT(text_event, CONTENT, "text");
DELTA_EVENT(refusal_event, REFUSAL, "refusal");
DELTA_EVENT(tool_event, TOOL, "arguments");
DELTA_EVENT(other_event, OTHER, "delta");

static const qg_member reasoning_event_members[] = {
    META("type"),
    META("item_id"),
    INDEX("output_index"),
    SUBINDEX("content_index"),
    SUBINDEX("summary_index"),
    MEMBER("delta", TEXT, REASONING, "reasoning", NULL),
    MEMBER("text", WHOLE, REASONING, "reasoning", NULL),
    MEMBER("part", IN, REASONING, "summary", &summary),
    META("obfuscation"),
};
NODE(reasoning_event, false, false);

/* ---- which of them --------------------------------------------------------------------------- */

static bool begins(qg_slice s, const char *with)
{
    size_t n = strlen(with);
    return s.n >= n && !memcmp(s.p, with, n);
}

static bool ends(qg_slice s, const char *with)
{
    size_t n = strlen(with);
    return s.n >= n && !memcmp(s.p + s.n - n, with, n);
}

static const qg_node *responses_root(qg_slice type)
{
    static const struct {
        const char *begin;
        const qg_node *root;
    } roots[] = {
        {"response.output_text.", &text_event},
        {"response.content_part.", &text_event},
        {"response.output_item.", &text_event},
        {"response.output_audio_transcript.", &text_event},
        {"response.audio.transcript.", &text_event},
        {"response.refusal.", &refusal_event},
        {"response.reasoning", &reasoning_event},
        {"response.function_call_arguments.", &tool_event},
        {"response.mcp_call_arguments.", &tool_event},
        {"response.custom_tool_call_input.", &tool_event},
        {"response.code_interpreter_call_code.", &tool_event},
    };
    for (size_t i = 0; i < QG_COUNT(roots); i++)
        if (begins(type, roots[i].begin))
            return roots[i].root;
    return &other_event;
}

static qg_wire_event responses_event(qg_slice data)
{
    qg_slice type = qg_marks_root_string(data, "type");
    bool last = qg_slice_is(type, "response.completed") ||
                qg_slice_is(type, "response.incomplete") || qg_slice_is(type, "response.failed") ||
                qg_slice_is(type, "error");
    return (qg_wire_event){.root = responses_root(type),
                           .ends_choice = ends(type, ".done"),
                           .ends_all = last,
                           .last = last};
}

static qg_wire_event anthropic_event(qg_slice data)
{
    qg_slice type = qg_marks_root_string(data, "type");
    bool block_type = begins(type, "content_block_");
    bool last = qg_slice_is(type, "message_stop") || qg_slice_is(type, "error");
    return (qg_wire_event){.root = block_type ? &block_event : &message_event,
                           .ends_choice = qg_slice_is(type, "content_block_stop"),
                           .ends_all = last || qg_slice_is(type, "message_delta"),
                           .last = last};
}

qg_wire_event qg_wire_event_of(qg_proto proto, qg_slice data)
{
    if (proto == QG_PROTO_RESPONSES)
        return responses_event(data);
    if (proto == QG_PROTO_ANTHROPIC)
        return anthropic_event(data);
    return (qg_wire_event){.root = &chat};
}

const qg_node *qg_wire_body(qg_proto proto)
{
    static const qg_node *const roots[QG_N_PROTOS] = {&chat, &chat, &response, &message};
    return roots[proto];
}

bool qg_wire_is_done(qg_proto proto, qg_slice data)
{
    return proto <= QG_PROTO_COMPLETIONS && qg_slice_is(data, "[DONE]");
}
