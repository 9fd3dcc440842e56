/* Whole bodies, and the log probabilities of streams: judged, and trimmed with their text. */
#include "reply_run.h"

/* What a whole body becomes. */
static const struct {
    qg_proto proto;
    const char *policy, *in, *want; /* NULL: unchanged */
} bodies[] = {
    {QG_PROTO_CHAT, NULL, BODY("fine \\u00e4", "stop"), NULL},
    {QG_PROTO_CHAT, NULL, BODY("0123456789abcdef########tail", "stop"),
     "{\"id\":\"c1\",\"object\":\"chat.completion\",\"choices\":[{" NOTE
     "\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"0123456789abcdef\"},"
     "\"logprobs\":{\"content\":[]},\"finish_reason\":\"content_filter\"}],\"usage\":{\"total_"
     "tokens\":3}}"},
    {QG_PROTO_CHAT, "cut: reply\nmessage: \"No \\\"x\\\".\"\n",
     BODY("0123456789abcdef########tail", "stop"),
     "{\"id\":\"c1\",\"object\":\"chat.completion\",\"choices\":[{" NOTE
     "\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"No \\\"x\\\".\"},"
     "\"logprobs\":{\"content\":[]},\"finish_reason\":\"content_filter\"}],\"usage\":{\"total_"
     "tokens\":3}}"},
    {QG_PROTO_CHAT, "message: No.\n", BODY("0123456789abcdef########tail", "stop"),
     "{\"id\":\"c1\",\"object\":\"chat.completion\",\"choices\":[{" NOTE
     "\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"0123456789abcdef\\n\\nNo.\"},"
     "\"logprobs\":{\"content\":[]},\"finish_reason\":\"content_filter\"}],\"usage\":{\"total_"
     "tokens\":3}}"},
    /* the other choice stays as it is */
    {QG_PROTO_CHAT, NULL,
     "{\"choices\":[{\"index\":0,\"message\":{\"content\":\"kind words\"},\"finish_reason\":"
     "\"stop\"},{\"index\":1,\"message\":{\"content\":\"0123456789abcdef########\"},"
     "\"finish_reason\":\"stop\"}]}",
     "{\"choices\":[{\"index\":0,\"message\":{\"content\":\"kind words\"},\"finish_reason\":"
     "\"stop\"},{" NOTE "\"index\":1,\"message\":{\"content\":\"0123456789abcdef\"},"
     "\"finish_reason\":\"content_filter\"}]}"},
    {QG_PROTO_COMPLETIONS, NULL,
     "{\"choices\":[{\"text\":\"0123456789abcdef########\",\"index\":0,\"finish_reason\":\"stop\"}"
     "]}",
     "{\"choices\":[{" NOTE "\"text\":\"0123456789abcdef\",\"index\":0,\"finish_reason\":"
     "\"content_filter\"}]}"},
    {QG_PROTO_ANTHROPIC, NULL,
     "{\"type\":\"message\",\"content\":[{\"type\":\"text\",\"text\":\"0123456789abcdef########\"}"
     "],\"stop_reason\":\"end_turn\"}",
     "{" NOTE "\"type\":\"message\",\"content\":[{\"type\":\"text\",\"text\":\"0123456789abcdef\"}"
     "],\"stop_reason\":\"refusal\"}"},
    {QG_PROTO_ANTHROPIC, NULL,
     "{\"content\":[{\"type\":\"tool_use\",\"id\":\"1\",\"name\":\"f\",\"input\":{\"q\":"
     "\"0123########\"}}],\"stop_reason\":\"tool_use\"}",
     NULL}, /* what it becomes: below */
    {QG_PROTO_RESPONSES, NULL,
     "{\"object\":\"response\",\"status\":\"completed\",\"output\":[{\"type\":\"message\","
     "\"status\":\"completed\",\"content\":[{\"type\":\"output_text\",\"text\":"
     "\"0123456789abcdef########\"}]}]}",
     "{" NOTE "\"object\":\"response\",\"status\":\"incomplete\",\"output\":[{\"type\":\"message\","
     "\"status\":\"incomplete\",\"content\":[{\"type\":\"output_text\",\"text\":"
     "\"0123456789abcdef\"}]}]}"},
    {QG_PROTO_CHAT, "fields: {reasoning: withheld}\n",
     "{\"choices\":[{\"message\":{\"reasoning_content\":\"secret ####\",\"content\":\"hi\"},"
     "\"finish_reason\":\"stop\"}]}",
     "{\"choices\":[{\"message\":{\"reasoning_content\":\"\",\"content\":\"hi\"},"
     "\"finish_reason\":\"stop\"}]}"},
    {QG_PROTO_CHAT, "fields: {reasoning: passed}\n",
     "{\"choices\":[{\"message\":{\"reasoning_content\":\"############\",\"content\":\"hi\"},"
     "\"finish_reason\":\"stop\"}]}",
     NULL},
    {QG_PROTO_CHAT, "severities: {Unsafe: {action: allow}}\n",
     BODY("0123456789abcdef########tail", "stop"), NULL},
};

static void bodies_are_judged_and_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(bodies); i++) {
        const char *want = bodies[i].want;
        bool tool = bodies[i].proto == QG_PROTO_ANTHROPIC && !want;
        if (tool)
            want = "{\"content_filter_results\":{\"violent\":{\"filtered\":true,\"detected\":true,"
                   "\"severity\":\"high\",\"label\":\"Unsafe\",\"p\":1.0000,\"start_offset\":8,"
                   "\"end_offset\":16}},\"content\":[{\"type\":\"tool_use\",\"id\":\"1\",\"name\":"
                   "\"f\",\"input\":{}}],\"stop_reason\":\"refusal\"}";
        check(bodies[i].proto, false, bodies[i].policy, bodies[i].in, want,
              want && !strstr(bodies[i].policy ? bodies[i].policy : "", "withheld")
                  ? QG_REPLY_CUT
                  : QG_REPLY_PASSED);
    }
}

#define TOKEN(t) "{\"token\":\"" t "\",\"logprob\":-0.5,\"bytes\":null,\"top_logprobs\":[]}"

static void log_probabilities_are_trimmed(void **state)
{
    (void)state;
    char want[2048];
    snprintf(want, sizeof want,
             ROLE "data: " HEAD "\"choices\":[{\"index\":0,\"delta\":{\"content\":"
                  "\"0123456789abcdef\"},\"logprobs\":{\"content\":[" TOKEN("01234567") "," TOKEN(
                      "89ab") "]},\"token_ids\":null,\"finish_reason\":null}]}\n\n" FILTERED,
             16, 24);
    check(QG_PROTO_CHAT, true, NULL,
          ROLE "data: " HEAD
               "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"0123456789abcdef########\"},"
               "\"logprobs\":{\"content\":[" TOKEN("01234567") "," TOKEN("89ab") "," TOKEN(
                   "cdef#") "," TOKEN("#######") "]},\"token_ids\":[1,2,3,4],\"finish_reason\":"
                                                 "null}]}\n\n" DONE,
          want, QG_REPLY_CUT);
    /* what says the text leaves with it, whatever else could have stood there */
    check(QG_PROTO_CHAT, true, NULL,
          "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"ab\"},\"logprobs\":{"
          "\"content\":[{\"token\":\"a\",\"top_logprobs\":[{\"token\":\"#\"}]},{\"token\":"
          "\"b\",\"bytes\":[98]}]}}]}\n\n" DONE,
          NULL, QG_REPLY_PASSED);
    check(QG_PROTO_COMPLETIONS, false, NULL,
          "{\"choices\":[{\"text\":\"0123456789abcdef########\",\"index\":0,\"logprobs\":{"
          "\"tokens\":[\"0123456789\",\"abcdef########\"],\"token_logprobs\":[-1,-2],"
          "\"text_offset\":[0,10],\"top_logprobs\":[{},{}]},\"finish_reason\":\"stop\"}]}",
          "{\"choices\":[{" NOTE "\"text\":\"0123456789abcdef\",\"index\":0,\"logprobs\":{"
          "\"tokens\":[\"0123456789\"],\"token_logprobs\":[-1],\"text_offset\":[0],"
          "\"top_logprobs\":[{}]},\"finish_reason\":\"content_filter\"}]}",
          QG_REPLY_CUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_are_judged_and_cut),
        cmocka_unit_test(log_probabilities_are_trimmed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
