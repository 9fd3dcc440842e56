/* One reply through the gateway's core, step by step, with a judge of the test's own. */
#ifndef QG_TEST_REPLY_RUN_H
#define QG_TEST_REPLY_RUN_H

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

static inline void begin(run *r, qg_proto proto, bool stream, const char *policy)
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

static inline void open_reply(run *r)
{
    qg_err err = {""};
    assert_int_equal(qg_reply_open(&r->reply, &r->opt, &err), QG_OK);
}

static inline void take(run *r)
{
    qg_slice out = qg_reply_output(r->reply);
    assert_int_equal(qg_buf_add(&r->out, out.p, out.n), QG_OK);
    qg_reply_took(r->reply, out.n);
    r->state = qg_reply_state_of(r->reply);
}

static inline void feed(run *r, const char *bytes, size_t n)
{
    qg_reply_feed(r->reply, qg_slice_of(bytes, n));
    rig_judge_all(&r->judge, r->reply);
    take(r);
}

static inline void end(run *r)
{
    qg_reply_end(r->reply);
    rig_judge_all(&r->judge, r->reply);
    take(r);
}

static inline void finish(run *r)
{
    qg_reply_close(r->reply);
    rig_judge_free(&r->judge);
    qg_buf_free(&r->out);
    qg_policy_unref(r->policy);
}

static inline const char *out_of(run *r)
{
    return qg_buf_slice(&r->out).p;
}

/* Whole: in one piece; then byte by byte; both must give `want` (NULL: the input). */
static inline void check(qg_proto proto, bool stream, const char *policy, const char *in,
                         const char *want, qg_reply_outcome outcome)
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

#define FILTERED                                                                                   \
    "data: " HEAD "\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,"                      \
    "\"finish_reason\":\"content_filter\",\"content_filter_results\":{\"violent\":{"               \
    "\"filtered\":true,\"detected\":true,\"severity\":\"high\",\"label\":\"Unsafe\",\"p\":1.0,"    \
    "\"start_offset\":%d,\"end_offset\":%d}}}]}\n\n" DONE
#define BODY(content, finish)                                                                      \
    "{\"id\":\"c1\",\"object\":\"chat.completion\",\"choices\":[{\"index\":0,\"message\":{"        \
    "\"role\":\"assistant\",\"content\":\"" content "\"},\"logprobs\":{\"content\":[]},"           \
    "\"finish_reason\":\"" finish "\"}],\"usage\":{\"total_tokens\":3}}"
#define NOTE                                                                                       \
    "\"content_filter_results\":{\"violent\":{\"filtered\":true,\"detected\":true,\"severity\":"   \
    "\"high\",\"label\":\"Unsafe\",\"p\":1.0000,\"start_offset\":16,\"end_offset\":24}},"

#endif
