/* Replies through the gateway's core, with a judge of the test's own. */
#include "unit.h"

#include "base/mem.h"
#include "gateway_rig.h"

typedef struct run {
    qg_policy *policy;
    qg_policy_view view;
    qg_reply_options opt;
    qg_reply *reply;
    rig_judge judge;
    qg_buf out;
    qg_reply_state state;
} run;

static void begin(run *r, qg_proto proto, bool stream, const char *policy)
{
    qg_err err = {""};
    memset(r, 0, sizeof *r);
    char text[2048];
    snprintf(text, sizeof text, "version: 1\nhold_back_tokens: 2\n%s", policy ? policy : "");
    assert_int_equal(qg_policy_parse(&r->policy, qg_str(text), "test", &err), QG_OK);
    qg_policy_view_of(r->policy, qg_str(""), qg_str(""), &r->view);
    qg_reply_options_init(&r->opt);
    r->opt.proto = proto;
    r->opt.stream = stream;
    r->opt.view = &r->view;
    r->opt.rules = qg_policy_rules(r->policy);
    rig_judge_init(&r->judge);
    qg_buf_init(&r->out, 1u << 26);
}

static void open_reply(run *r)
{
    qg_err err = {""};
    assert_int_equal(qg_reply_open(&r->reply, &r->opt, &err), QG_OK);
}

static void take(run *r)
{
    qg_slice out = qg_reply_output(r->reply);
    assert_int_equal(qg_buf_add(&r->out, out.p, out.n), QG_OK);
    qg_reply_took(r->reply, out.n);
    r->state = qg_reply_state_of(r->reply);
}

static void feed(run *r, const char *bytes, size_t n)
{
    qg_reply_feed(r->reply, qg_slice_of(bytes, n));
    rig_judge_all(&r->judge, r->reply);
    take(r);
}

static void end(run *r)
{
    qg_reply_end(r->reply);
    rig_judge_all(&r->judge, r->reply);
    take(r);
}

static void finish(run *r)
{
    qg_reply_close(r->reply);
    rig_judge_free(&r->judge);
    qg_buf_free(&r->out);
    qg_policy_unref(r->policy);
}

static const char *out_of(run *r)
{
    return qg_buf_slice(&r->out).p;
}

/* Whole: in one piece; then byte by byte; both must give `want` (NULL: the input). */
static void check(qg_proto proto, bool stream, const char *policy, const char *in, const char *want,
                  qg_reply_outcome outcome)
{
    for (int split = 0; split < 2; split++) {
        run r;
        begin(&r, proto, stream, policy);
        open_reply(&r);
        size_t n = strlen(in), step = split ? 1 : n;
        for (size_t i = 0; i < n; i += step)
            feed(&r, in + i, step);
        end(&r);
        if (r.state.outcome != outcome)
            print_error("%s: %s\n", qg_reply_outcome_name(r.state.outcome), r.state.sentence);
        assert_true(r.state.done);
        assert_int_equal(r.state.outcome, outcome);
        if (strcmp(out_of(&r), want ? want : in) != 0)
            print_error("split %d\n got: %s\nwant: %s\n", split, out_of(&r), want ? want : in);
        assert_string_equal(out_of(&r), want ? want : in);
        finish(&r);
    }
}

#define HEAD "{\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\","
#define CHAT(text, finish)                                                                         \
    "data: " HEAD "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text                       \
    "\"},\"finish_reason\":" finish "}]}\n\n"
#define ROLE                                                                                       \
    "data: " HEAD "\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}," \
    "\"finish_reason\":null}]}\n\n"
#define DONE "data: [DONE]\n\n"
#define USAGE                                                                                      \
    "data: " HEAD "\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":9}}\n\n"

static void passes_unchanged(void **state)
{
    (void)state;
    check(QG_PROTO_CHAT, true, NULL,
          ROLE CHAT("Hello wor", "null") CHAT("ld, h\\u00e4 \\ud83d\\ude00 \\\"x\\\"", "null")
              CHAT("", "\"stop\"") USAGE DONE,
          NULL, QG_REPLY_PASSED);
    check(QG_PROTO_CHAT, true, NULL, ROLE DONE, NULL, QG_REPLY_PASSED);
    check(QG_PROTO_CHAT, true, NULL,
          "data: {\"choices\":[{\"delta\":{\"content\":\"abc\",\"new_text\":\"def\"}}]}\r\n\r\n"
          ":\n\ndata: [DONE]\r\n\r\n",
          NULL, QG_REPLY_PASSED);
    check(QG_PROTO_CHAT, true, NULL, ROLE ": a comment\n\n" CHAT("hi", "\"stop\"") DONE,
          ROLE ":\n\n" CHAT("hi", "\"stop\"") DONE, QG_REPLY_PASSED);
}

#define FILTERED                                                                                   \
    "data: " HEAD "\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,"                      \
    "\"finish_reason\":\"content_filter\",\"content_filter_results\":{\"violent\":{"               \
    "\"filtered\":true,\"detected\":true,\"severity\":\"high\",\"label\":\"Unsafe\",\"p\":1.0,"    \
    "\"start_offset\":%d,\"end_offset\":%d}}}]}\n\n" DONE

static void a_hit_cuts(void **state)
{
    (void)state;
    char want[4096];
    /* tokens of four: 0123 4567 89ab cdef #### ####; two hits flag, two tokens are held back */
    snprintf(want, sizeof want, ROLE CHAT("0123", "null") CHAT("456789abcdef", "null") FILTERED, 16,
             24);
    check(QG_PROTO_CHAT, true, NULL,
          ROLE CHAT("0123", "null") CHAT("456789abcdef########", "null") CHAT("tail", "null")
              CHAT("", "\"stop\"") DONE,
          want, QG_REPLY_CUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passes_unchanged),
        cmocka_unit_test(a_hit_cuts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
