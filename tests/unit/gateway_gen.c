#include "gateway_gen.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

uint32_t gen_random(gen *g, uint32_t below)
{
    g->seed = g->seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(g->seed >> 33) % below;
}

static void must(qg_status rc)
{
    if (rc != QG_OK)
        abort();
}

/* ---- texts ----------------------------------------------------------------------------------- */

/* A piece of text as it stands in JSON: plain, escaped, of several bytes, with blanks. */
static void piece(gen *g, char *out, size_t room)
{
    static const char *const parts[] = {"a",
                                        "the ",
                                        "\\n",
                                        "\\u00e4",
                                        "\xC3\xA4",
                                        "\\\"",
                                        "\xE4\xBD\xA0",
                                        "\\ud83d\\ude00",
                                        "\xF0\x9F\x98\x80",
                                        "end. ",
                                        "xyz",
                                        "zy",
                                        "xyzzy",
                                        "\\/"};
    size_t n = 0, want = gen_random(g, 4) ? 1 + gen_random(g, 4) : gen_random(g, 30);
    bool bad = (int)gen_random(g, 100) < g->hits;
    for (size_t i = 0; i < want && n + 32 < room; i++) {
        const char *p = parts[gen_random(g, gen_random(g, 8) ? 10 : 14)];
        n += (size_t)snprintf(out + n, room - n, "%s", p);
    }
    if (bad)
        n +=
            (size_t)snprintf(out + n, room - n, "%.*s", 1 + (int)gen_random(g, 12), "############");
    out[n] = 0;
}

static void close_event(gen *g)
{
    must(qg_buf_adds(&g->text, g->crlf ? "\r\n\r\n" : "\n\n"));
    g->ends[g->n++] = g->text.n;
}

static void event(gen *g, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void event(gen *g, const char *name, const char *fmt, ...)
{
    char data[16384];
    va_list args;
    if (g->n + 8 > GEN_EVENTS)
        return;
    if (!gen_random(g, 40)) {
        must(qg_buf_adds(&g->text, ":"));
        close_event(g);
    }
    va_start(args, fmt);
    vsnprintf(data, sizeof data, fmt, args);
    va_end(args);
    if (name)
        must(qg_buf_addf(&g->text, "event: %s%s", name, g->crlf ? "\r\n" : "\n"));
    must(qg_buf_addf(&g->text, "data:%s%s", gen_random(g, 10) ? " " : "", data));
    close_event(g);
}

/* ---- chat and completions -------------------------------------------------------------------- */

static const char chat_start[] =
    "{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",";

static void chat_delta(gen *g, uint32_t choice, const char *finish)
{
    static const struct {
        const char *before, *behind;
    } shapes[] = {
        {"\"content\":\"", "\""},
        {"\"content\":\"", "\""},
        {"\"reasoning_content\":\"", "\""},
        {"\"refusal\":\"", "\""},
        {"\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"", "\"}}]"},
        {"\"new_text\":\"", "\""},
        {"\"tool_calls\":[{\"index\":1,\"id\":\"x\",\"function\":{\"name\":\"", "\"}}]"},
    };
    char text[512], delta[1024];
    uint32_t shape = gen_random(g, 3) ? 0 : gen_random(g, 7);
    piece(g, text, sizeof text);
    snprintf(delta, sizeof delta, "%s%s%s", shapes[shape].before, text, shapes[shape].behind);
    if (g->proto == QG_PROTO_COMPLETIONS)
        event(g, NULL, "%s\"choices\":[{\"text\":\"%s\",\"index\":%u,\"finish_reason\":%s}]}",
              chat_start, text, choice, finish);
    else
        event(g, NULL, "%s\"choices\":[{\"index\":%u,\"delta\":{%s},\"finish_reason\":%s}]}",
              chat_start, choice, delta, finish);
}

static void chat_reply(gen *g)
{
    uint32_t n_choices = gen_random(g, 3) ? 1 : 1 + gen_random(g, 3);
    uint32_t n = gen_random(g, 40);
    for (uint32_t i = 0; i < n; i++)
        chat_delta(g, gen_random(g, n_choices), "null");
    for (uint32_t c = 0; c < n_choices; c++)
        chat_delta(g, c, "\"stop\"");
    if (gen_random(g, 2))
        event(g, NULL, "%s\"choices\":[],\"usage\":{\"total_tokens\":3}}", chat_start);
    event(g, NULL, "[DONE]");
}

/* ---- Anthropic ------------------------------------------------------------------------------- */

static void anthropic_reply(gen *g)
{
    static const struct {
        const char *start, *delta;
    } kinds[] = {
        {"\"type\":\"text\",\"text\":\"\"", "\"type\":\"text_delta\",\"text\":\""},
        {"\"type\":\"thinking\",\"thinking\":\"\"", "\"type\":\"thinking_delta\",\"thinking\":\""},
        {"\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"search\",\"input\":{}",
         "\"type\":\"input_json_delta\",\"partial_json\":\""},
    };
    uint32_t n_blocks = gen_random(g, 4);
    event(g, "message_start",
          "{\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\",\"role\":"
          "\"assistant\",\"model\":\"m\",\"content\":[],\"stop_reason\":null,\"usage\":{"
          "\"input_tokens\":1,\"service_tier\":\"standard\"}}}");
    for (uint32_t b = 0; b < n_blocks; b++) {
        uint32_t kind = gen_random(g, 3), n = gen_random(g, 15);
        event(g, "content_block_start",
              "{\"type\":\"content_block_start\",\"index\":%u,\"content_block\":{%s}}", b,
              kinds[kind].start);
        for (uint32_t i = 0; i < n; i++) {
            char text[512], delta[1024];
            piece(g, text, sizeof text);
            snprintf(delta, sizeof delta, "%s%s\"", kinds[kind].delta, text);
            event(g, "content_block_delta",
                  "{\"type\":\"content_block_delta\",\"index\":%u,\"delta\":{%s}}", b, delta);
            if (!gen_random(g, 9))
                event(g, "ping", "{\"type\":\"ping\"}");
        }
        event(g, "content_block_stop", "{\"type\":\"content_block_stop\",\"index\":%u}", b);
    }
    event(g, "message_delta",
          "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":"
          "null},\"usage\":{\"output_tokens\":7}}");
    event(g, "message_stop", "{\"type\":\"message_stop\"}");
}

/* ---- responses ------------------------------------------------------------------------------- */

static void responses_item(gen *g, uint32_t item, qg_buf *output)
{
    qg_buf all;
    uint32_t n = gen_random(g, 15);
    qg_buf_init(&all, 1u << 20);
    must(qg_buf_adds(&all, ""));
    event(g, "response.output_item.added",
          "{\"type\":\"response.output_item.added\",\"output_index\":%u,\"item\":{\"id\":\"i%u\","
          "\"type\":\"message\",\"status\":\"in_progress\",\"role\":\"assistant\",\"content\":[]}}",
          item, item);
    event(g, "response.content_part.added",
          "{\"type\":\"response.content_part.added\",\"item_id\":\"i%u\",\"output_index\":%u,"
          "\"content_index\":0,\"part\":{\"type\":\"output_text\",\"text\":\"\",\"annotations\":"
          "[]}}",
          item, item);
    for (uint32_t i = 0; i < n; i++) {
        char text[512];
        piece(g, text, sizeof text);
        must(qg_buf_adds(&all, text));
        event(g, "response.output_text.delta",
              "{\"type\":\"response.output_text.delta\",\"item_id\":\"i%u\",\"output_index\":%u,"
              "\"content_index\":0,\"delta\":\"%s\"}",
              item, item, text);
    }
    const char *said = qg_buf_slice(&all).p;
    event(g, "response.output_text.done",
          "{\"type\":\"response.output_text.done\",\"item_id\":\"i%u\",\"output_index\":%u,"
          "\"content_index\":0,\"text\":\"%s\"}",
          item, item, said);
    event(g, "response.output_item.done",
          "{\"type\":\"response.output_item.done\",\"output_index\":%u,\"item\":{\"id\":\"i%u\","
          "\"type\":\"message\",\"status\":\"completed\",\"content\":[{\"type\":\"output_text\","
          "\"text\":\"%s\"}]}}",
          item, item, said);
    must(qg_buf_addf(output,
                     "%s{\"id\":\"i%u\",\"type\":\"message\",\"content\":[{\"type\":"
                     "\"output_text\",\"text\":\"%s\"}]}",
                     item ? "," : "", item, said));
    qg_buf_free(&all);
}

static void responses_reply(gen *g)
{
    qg_buf output;
    uint32_t n = gen_random(g, 3);
    qg_buf_init(&output, 1u << 20);
    must(qg_buf_adds(&output, ""));
    event(g, "response.created",
          "{\"type\":\"response.created\",\"response\":{\"id\":\"r\",\"object\":\"response\","
          "\"status\":\"in_progress\",\"instructions\":\"be kind\",\"output\":[]}}");
    for (uint32_t i = 0; i < n; i++)
        responses_item(g, i, &output);
    event(g, "response.completed",
          "{\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"object\":\"response\","
          "\"status\":\"completed\",\"output\":[%s]}}",
          qg_buf_slice(&output).p);
    qg_buf_free(&output);
}

void gen_reply(gen *g)
{
    g->text.n = g->n = 0;
    g->crlf = !gen_random(g, 4);
    if (g->proto == QG_PROTO_ANTHROPIC)
        anthropic_reply(g);
    else if (g->proto == QG_PROTO_RESPONSES)
        responses_reply(g);
    else
        chat_reply(g);
}
