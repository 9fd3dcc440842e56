/* Replies through the gateway's core, with a judge of the test's own. */
#include "base/limits.h"
#include "reply_run.h"

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

#define THINK(text)                                                                                \
    "data: " HEAD "\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"" text             \
    "\"},\"finish_reason\":null}]}\n\n"

/* An event that is too long is the last that is read: what was judged leaves, and the reply ends
 * though the upstream, which is hung up on, will not. */
static void an_event_that_is_too_long_ends_the_reply(void **state)
{
    (void)state;
    static char much[QG_MAX_SSE_EVENT + 100];
    run r;
    begin(&r, QG_PROTO_CHAT, true, NULL);
    open_reply(&r);
    feed(&r, ROLE CHAT("0123456789", "null"), strlen(ROLE CHAT("0123456789", "null")));
    memset(much, 'x', sizeof much);
    feed(&r, "data: ", 6);
    feed(&r, much, sizeof much);
    assert_true(r.state.abort_upstream && r.state.done);
    assert_int_equal(r.state.outcome, QG_REPLY_MALFORMED);
    assert_non_null(strstr(out_of(&r), "0123456789"));
    assert_non_null(strstr(out_of(&r), "upstream_malformed"));
    finish(&r);
}

/* A text goes on behind another, and is over before the judge has been asked: what goes on is still
 * judged with what stood before it. */
static void a_hit_over_two_segments_is_seen(void **state)
{
    (void)state;
    static const char in[] = ROLE CHAT("0123####", "null") THINK("hm") CHAT("####tail", "null")
        CHAT("", "\"stop\"") DONE;
    run r;
    begin(&r, QG_PROTO_CHAT, true, NULL);
    open_reply(&r);
    feed(&r, in, sizeof in - 1);
    end(&r);
    assert_int_equal(r.state.outcome, QG_REPLY_CUT);
    assert_null(strstr(out_of(&r), "####tail"));
    finish(&r);
}

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

static void fields_are_withheld_or_passed_in_streams(void **state)
{
    (void)state;
    const char in[] =
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning\":\"########\"}}]}\n\n"
        "data: [DONE]\n\n";
    check(QG_PROTO_CHAT, true, "fields: {reasoning: withheld}\n", in,
          "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning\":\"\"}}]}\n\ndata: [DONE]\n\n",
          QG_REPLY_PASSED);
    check(QG_PROTO_CHAT, true, "fields: {reasoning: passed}\n", in, NULL, QG_REPLY_PASSED);
}

/* What stands before the hit in the stream is judged to its end and leaves; a text that nobody
 * judges holds nothing up. */
static void what_stands_before_a_hit_leaves(void **state)
{
    (void)state;
    static const char *const policies[] = {NULL, "fields: {reasoning: passed}\n"};
    for (size_t i = 0; i < COUNT(policies); i++) {
        run r;
        const char in[] = "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning\":\"let me "
                          "think\"}}]}\n\n" CHAT("0123456789abcdef############", "null");
        begin(&r, QG_PROTO_CHAT, true, policies[i]);
        open_reply(&r);
        feed(&r, in, strlen(in));
        assert_true(r.state.done);
        assert_int_equal(r.state.outcome, QG_REPLY_CUT);
        assert_non_null(strstr(out_of(&r), "\"let me think\""));
        assert_non_null(strstr(out_of(&r), "0123456789abcdef\""));
        finish(&r);
    }
}

/* Every string is text unless it is known not to be. */
static void nothing_passes_unread(void **state)
{
    (void)state;
    static const char *const strings[] = {
        "{\"choices\":[{\"index\":0,\"delta\":{\"new\":\"%s\"}}]}",
        "{\"choices\":[{\"index\":0,\"new\":\"%s\",\"delta\":{}}]}",
        "{\"new\":{\"deep\":[\"%s\"]},\"choices\":[]}",
        "{\"new\":[[{\"x\":\"%s\"}]],\"choices\":[]}",
        "{\"id\":\"%s words\",\"choices\":[]}",
        "{\"usage\":{\"note\":\"%s words\"},\"choices\":[]}",
        "{\"error\":{\"message\":\"%s\"}}",
        "{\"choices\":[{\"index\":0,\"delta\":{\"content\":[{\"type\":\"text\",\"text\":\"%s\"}]}}]"
        "}",
        "{\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"function\":{\"arguments\":{"
        "\"a\":\"%s\"}}}]}}]}",
        "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"logprobs\":{\"content\":[{"
        "\"token\":\"%s\"}]}}]}",
        "{\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":{\"new\":\"%s\"}}]}",
        "{\"choices\":[{\"index\":0,\"delta\":\"%s\"}]}",
        "{\"choices\":\"%s\"}",
        "{\"choices\":[\"%s\"]}",
        "{\"choices\":[],\"usage\":\"%s\"}",
        "{\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":\"%s\"}}]}",
        "{\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":\"%s\"}]}",
        "{\"choices\":[{\"index\":0,\"delta\":{},\"stop_reason\":\"%s, he said\"}]}",
        "{\"choices\":[],\"prompt_logprobs\":[null,{\"7\":{\"decoded_token\":\"%s\"}}]}",
        "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"ab\"},\"logprobs\":{\"content\":[{"
        "\"token\":\"ab\",\"top_logprobs\":[{\"token\":\"%s\"},{\"token\":\"ab\"}]}]}}]}",
        "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"ab\"},\"logprobs\":{\"content\":[{"
        "\"token\":\"%s\",\"bytes\":[97,98]}]}}]}",
        "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"ab\"},\"logprobs\":{\"content\":[{"
        "\"token\":\"ab\",\"why\":\"%s\"}]}}]}",
        "{\"choices\":[{\"index\":0,\"text\":\"ab\",\"logprobs\":{\"tokens\":[\"ab\"],"
        "\"top_logprobs\":[{\"%s\":-1,\"ab\":-2}]}}]}",
        /* escapes of what is judged as its JSON, and of what is JSON in a string */
        "{\"new\":{\"x\":\"\\u0023\\u0023\\u0023\\u0023\\u0023\\u0023\\u0023\\u0023\"},\"choices\":"
        "[]}",
        "{\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"function\":{\"arguments\":"
        "\"{\\\"q\\\":"
        "\\\"\\\\u0023\\\\u0023\\\\u0023\\\\u0023\\\\u0023\\\\u0023\\\\u0023\\\\u0023\\\"}\"}}]}}]"
        "}",
        /* parts go on behind each other */
        "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a###\"}},{\"index\":0,\"delta\":{"
        "\"content\":[{\"type\":\"text\",\"text\":\"###b\"}]}}]}",
        "{\"choices\":[{\"delta\":{\"audio\":{\"data\":\"%s not base64\"}},\"index\":0}]}",
        "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"},\"finish_reason\":\"%s and "
        "so on\"}]}",
    };
    for (size_t i = 0; i < COUNT(strings); i++) {
        char data[512], in[600];
        run r;
        const char *hole = strstr(strings[i], "%s");
        if (hole)
            snprintf(data, sizeof data, "%.*s%s%s", (int)(hole - strings[i]), strings[i],
                     "################", hole + 2);
        else
            snprintf(data, sizeof data, "%s", strings[i]);
        snprintf(in, sizeof in, "data: %s\n\ndata: [DONE]\n\n", data);
        begin(&r, QG_PROTO_CHAT, true, NULL);
        open_reply(&r);
        feed(&r, in, strlen(in));
        end(&r);
        if (r.state.outcome != QG_REPLY_CUT)
            print_error("%s\n", in);
        assert_int_equal(r.state.outcome, QG_REPLY_CUT);
        assert_null(strstr(out_of(&r), "####"));
        assert_null(strstr(out_of(&r), "u0023"));
        finish(&r);
    }
}

/* The escapes of arguments are cut anywhere; the last half of one waits for the rest of it. */
static void arguments_are_read_as_json(void **state)
{
    (void)state;
#define ARGS(text)                                                                                 \
    "data: " HEAD "\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,"             \
    "\"function\":{\"arguments\":\"" text "\"}}]},\"finish_reason\":null}]}\n\n"
    static const char good[] =
        ROLE ARGS("{\\\"a\\\":\\\"\\\\u4e") ARGS("ca\\\\") ARGS("ud83d\\\\ude0")
            ARGS("0 \\\\\\\\u0023 \\\\n") ARGS("\\\\ud83d") CHAT("", "\"tool_calls\"") DONE;
    check(QG_PROTO_CHAT, true, NULL, good, NULL, QG_REPLY_PASSED);
    run r;
    static const char bad[] = ROLE ARGS("{\\\"a\\\":\\\"0123\\\\u00") ARGS("23\\\\u0023#\\\\")
        ARGS("u0023#\\\\u0023##########") CHAT("", "\"tool_calls\"") DONE;
    begin(&r, QG_PROTO_CHAT, true, NULL);
    open_reply(&r);
    feed(&r, bad, sizeof bad - 1);
    end(&r);
    assert_int_equal(r.state.outcome, QG_REPLY_CUT);
    assert_null(strstr(out_of(&r), "u0023"));
    finish(&r);
}

/* Instructions and tools said back by the server; what the client has not said is text. */
static void an_echo_is_what_the_client_said(void **state)
{
    (void)state;
    static const char request[] =
        "{\"instructions\":\"Be #### br\\u00eff, please\",\"tools\":[{\"type\":\"function\","
        "\"description\":\"Looks #### things up\"}],\"input\":\"hi\"}";
    static const struct {
        const char *said;
        bool passes;
    } cases[] = {
        {"\"instructions\":\"Be #### br\\u00eff, please\"", true},
        {"\"instructions\":\"Be #### br\xc3\xaf"
         "f, please\"",
         true},
        {"\"instructions\":\"Be ######## brief, please\"", false},
        {"\"instructions\":\"########\"", false},
        {"\"tools\":[{\"type\":\"function\",\"strict\":true,\"description\":\"Looks \\u0023### "
         "things up\"}]",
         true},
        {"\"tools\":[{\"type\":\"function\",\"description\":\"Looks ######## things up\"}]", false},
        {"\"metadata\":{\"a\":\"see ########\"}", false},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        for (int with = 0; with < 2; with++) {
            run r;
            char in[1024];
            snprintf(in, sizeof in,
                     "data: {\"type\":\"response.created\",\"response\":{\"id\":\"r\",%s}}\n\n"
                     "data: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\"}}\n\n",
                     cases[i].said);
            begin(&r, QG_PROTO_RESPONSES, true, NULL);
            r.opt.request = with ? qg_str(request) : qg_str("");
            open_reply(&r);
            feed(&r, in, strlen(in));
            end(&r);
            bool passes = strstr(out_of(&r), cases[i].said) != NULL;
            if (with)
                assert_int_equal(passes, cases[i].passes);
            else
                assert_true(r.judge.n_asks > 0);
            finish(&r);
        }
}

static void what_cannot_be_read_ends_it(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        bool stream, open;
        qg_reply_outcome outcome;
    } cases[] = {
        {ROLE "data: {\"choices\":[{\"delta\":{\"content\":\"a\n\n" DONE, true, false,
         QG_REPLY_MALFORMED},
        {ROLE "data: {\"choices\":[]} {}\n\n" DONE, true, false, QG_REPLY_MALFORMED},
        {ROLE "data: hello\n\n" DONE, true, false, QG_REPLY_MALFORMED},
        {ROLE "data: {\"a text as a name\":1}\n\n" DONE, true, false, QG_REPLY_MALFORMED},
        {ROLE "data: {\"choices\":[{\"delta\":{\"con\\u0074ent\":\"a\"}}]}\n\n" DONE, true, false,
         QG_REPLY_MALFORMED},
        {ROLE "data: {\"choices\":[{\"delta\":{\"content\":\"a\",\"content\":\"b\"}}]}\n\n" DONE,
         true, false, QG_REPLY_MALFORMED},
        {ROLE "data: {\"choices\":[{\"index\":-1,\"delta\":{}}]}\n\n" DONE, true, false,
         QG_REPLY_MALFORMED},
        {ROLE "data: {\"choices\":[{\"index\":\"1\",\"delta\":{}}]}\n\n" DONE, true, false,
         QG_REPLY_MALFORMED},
        {ROLE "data: {\"choices\":[{\"index\":1.0,\"delta\":{}}]}\n\n" DONE, true, false,
         QG_REPLY_MALFORMED},
        {ROLE "data: {\"choices\":[{\"index\":99999999999,\"delta\":{}}]}\n\n" DONE, true, false,
         QG_REPLY_MALFORMED},
        {ROLE "data: {\"choices\":[{\"index\":{},\"delta\":{}}]}\n\n" DONE, true, false,
         QG_REPLY_MALFORMED},
        {ROLE "data: {\"choices\":[{\"index\":null,\"delta\":{}}]}\n\n" DONE, true, false,
         QG_REPLY_PASSED},
        {ROLE "data: {\"choices\":[{\"delta\":{\"content\":\"\xff\"}}]}\n\n" DONE, true, false,
         QG_REPLY_MALFORMED},
        {ROLE "data: hello\n\n" DONE, true, true, QG_REPLY_PASSED},
        {ROLE CHAT("hi", "null"), true, false, QG_REPLY_UPSTREAM},
        {ROLE "data: {\"choi", true, false, QG_REPLY_UPSTREAM},
        {"", true, false, QG_REPLY_UPSTREAM},
        {"<html>", false, false, QG_REPLY_MALFORMED},
        {"", false, false, QG_REPLY_MALFORMED},
        {"<html>", false, true, QG_REPLY_PASSED},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        run r;
        begin(&r, QG_PROTO_CHAT, cases[i].stream, cases[i].open ? "on_error: open\n" : NULL);
        open_reply(&r);
        feed(&r, cases[i].in, strlen(cases[i].in));
        end(&r);
        if (r.state.outcome != cases[i].outcome)
            print_error("case %zu: %s\n", i, r.state.sentence);
        assert_int_equal(r.state.outcome, cases[i].outcome);
        assert_true(r.state.done);
        if (cases[i].outcome == QG_REPLY_PASSED)
            assert_string_equal(out_of(&r), cases[i].in);
        else
            assert_non_null(strstr(out_of(&r), "\"error\":{"));
        if (!r.state.event_stream && cases[i].outcome != QG_REPLY_PASSED)
            assert_int_equal(r.state.http, 502);
        if (cases[i].outcome != QG_REPLY_PASSED && cases[i].stream && *cases[i].in)
            assert_non_null(strstr(out_of(&r), DONE));
        finish(&r);
    }
}

static void a_failed_judge_closes_or_opens(void **state)
{
    (void)state;
    for (int open = 0; open < 2; open++) {
        run r;
        qg_reply_ask ask;
        const char in[] = CHAT("unread", "\"stop\"") DONE;
        begin(&r, QG_PROTO_CHAT, true, open ? "on_error: open\n" : NULL);
        open_reply(&r);
        qg_reply_feed(r.reply, qg_str(in));
        assert_true(qg_reply_ask_next(r.reply, &ask));
        assert_true(ask.fresh && ask.last && qg_slice_is(ask.text, "unread"));
        assert_false(qg_reply_ask_next(r.reply, &ask));
        qg_reply_judge_failed(r.reply, 0, QG_ERR_DEADLINE, "too slow");
        qg_reply_end(r.reply);
        take(&r);
        assert_true(r.state.done);
        assert_int_equal(r.state.outcome, open ? QG_REPLY_PASSED : QG_REPLY_UNJUDGED);
        assert_int_equal(r.state.http, open ? 200 : 503);
        assert_int_equal(qg_reply_counts_of(r.reply).text_unjudged, open ? 6 : 0);
        if (open)
            assert_string_equal(out_of(&r), in);
        else
            assert_null(strstr(out_of(&r), "unread"));
        finish(&r);
    }
}

static void a_gated_reply_waits(void **state)
{
    (void)state;
    run r;
    begin(&r, QG_PROTO_CHAT, true, NULL);
    r.opt.gated = true;
    open_reply(&r);
    feed(&r, ROLE, strlen(ROLE));
    assert_false(r.state.started);
    assert_int_equal(r.out.n, 0);
    qg_reply_admit(r.reply);
    take(&r);
    assert_true(r.state.started);
    assert_string_equal(out_of(&r), ROLE);
    finish(&r);
}

static void a_second_try_replaces_the_first(void **state)
{
    (void)state;
    run r;
    const char bad[] = ROLE CHAT("################", "null"),
               good[] = ROLE CHAT("better", "\"stop\"") DONE;
    begin(&r, QG_PROTO_CHAT, true, NULL);
    r.opt.may_retry = true;
    open_reply(&r);
    feed(&r, bad, strlen(bad));
    assert_true(r.state.retry && r.state.abort_upstream && !r.state.started);
    qg_reply_retry(r.reply);
    assert_false(qg_reply_state_of(r.reply).abort_upstream);
    feed(&r, good, strlen(good));
    end(&r);
    assert_string_equal(out_of(&r), good);
    assert_int_equal(r.state.outcome, QG_REPLY_PASSED);
    qg_reply_close(r.reply);
    r.out.n = 0;
    open_reply(&r);
    feed(&r, bad, strlen(bad));
    assert_true(r.state.retry);
    qg_reply_give_up(r.reply);
    take(&r);
    assert_true(r.state.done && r.state.outcome == QG_REPLY_CUT);
    assert_non_null(strstr(out_of(&r), "content_filter\""));
    finish(&r);
}

static void sentences_stay_whole(void **state)
{
    (void)state;
    run r;
    const char first[] = CHAT("One two three. Four five six seven eig", "null"),
               then[] = CHAT("ht nine ten ################", "null");
    begin(&r, QG_PROTO_CHAT, true, "cut: sentence\n");
    open_reply(&r);
    feed(&r, first, strlen(first));
    assert_int_equal(r.out.n, 0);
    feed(&r, then, strlen(then));
    assert_int_equal(r.state.outcome, QG_REPLY_CUT);
    assert_non_null(strstr(out_of(&r), "\"One two three. \""));
    assert_null(strstr(out_of(&r), "Four"));
    finish(&r);
}

static void shadow_mode_changes_nothing(void **state)
{
    (void)state;
    const char in[] = ROLE ": words\n\n" CHAT("################", "\"stop\"") "x: y\n\n" DONE;
    run r;
    const qg_reply_hit *hits;
    begin(&r, QG_PROTO_CHAT, true, "shadow: true\n");
    open_reply(&r);
    feed(&r, in, strlen(in));
    end(&r);
    assert_string_equal(out_of(&r), in);
    assert_int_equal(qg_reply_hits(r.reply, &hits), 1);
    assert_int_equal(hits[0].action, QG_ACTION_BLOCK);
    finish(&r);
}

static void an_endless_text_is_held_back_only_so_far(void **state)
{
    (void)state;
    run r;
    const char in[] = CHAT("0123456789012345678901234567890123456789", "null");
    begin(&r, QG_PROTO_CHAT, true, NULL);
    open_reply(&r);
    size_t fed = 0;
    while (!qg_reply_state_of(r.reply).pause && fed < (1u << 24)) {
        qg_reply_feed(r.reply, qg_str(in)); /* and no judge answers */
        fed += sizeof in - 1;
    }
    assert_true(fed < 300 * 1024);
    qg_reply_close(r.reply);
    open_reply(&r);
    for (int i = 0; i < 20000; i++) {
        qg_reply_feed(r.reply, qg_str(in));
        rig_judge_all(&r.judge, r.reply);
        take(&r);
        r.out.n = 0;
        /* the judge of the test keeps all of its text: give it a new session now and then */
        if (i % 50 == 49) {
            qg_reply_ask ask;
            qg_reply_feed(r.reply, qg_str(in));
            assert_true(qg_reply_ask_next(r.reply, &ask));
            qg_reply_judge_failed(r.reply, ask.lane, QG_ERR_GONE, NULL);
        }
        assert_false(r.state.pause || r.state.done);
    }
    finish(&r);
}

static void every_allocation_fails_once(void **state)
{
    (void)state;
    qg_fault_arm(0);
    void *p = qg_malloc(1);
    bool faults = p == NULL;
    qg_mfree(p);
    qg_fault_arm(-1);
    if (!faults) {
        print_message("every_allocation_fails_once: SKIPPED, needs a build with -Dfaults=true\n");
        skip();
    }
    const char in[] =
        ROLE CHAT("0123", "null") "data: {\"choices\":[{\"delta\":{\"reasoning\":"
                                  "\"\\u00e4b\"}}]}\n\n" CHAT("456789abcdef########", "null") DONE;
    run r;
    begin(&r, QG_PROTO_CHAT, true,
          "message: No.\nrules:\n  - {contains: zzz, severity: Unsafe, category: PII}\n");
    for (int64_t nth = 0;; nth++) {
        int64_t live = qg_live_blocks();
        rig_judge_free(&r.judge);
        rig_judge_init(&r.judge);
        qg_fault_arm(nth);
        if (qg_reply_open(&r.reply, &r.opt, NULL) == QG_OK) {
            for (size_t i = 0; i < sizeof in - 1; i += 64)
                qg_reply_feed(r.reply,
                              qg_slice_of(in + i, sizeof in - 1 - i < 64 ? sizeof in - 1 - i : 64)),
                    rig_judge_all(&r.judge, r.reply);
            qg_reply_end(r.reply);
            rig_judge_all(&r.judge, r.reply);
            qg_reply_state s = qg_reply_state_of(r.reply);
            assert_true(s.done);
            assert_true(s.outcome == QG_REPLY_CUT ||
                        (qg_fault_fired() && s.outcome == QG_REPLY_NO_MEMORY));
        }
        bool fired = qg_fault_fired();
        qg_fault_arm(-1);
        qg_reply_close(r.reply);
        assert_int_equal(qg_live_blocks(), live);
        if (!fired)
            break;
    }
    r.reply = NULL;
    finish(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passes_unchanged),
        cmocka_unit_test(an_event_that_is_too_long_ends_the_reply),
        cmocka_unit_test(a_hit_over_two_segments_is_seen),
        cmocka_unit_test(a_hit_cuts),
        cmocka_unit_test(fields_are_withheld_or_passed_in_streams),
        cmocka_unit_test(what_stands_before_a_hit_leaves),
        cmocka_unit_test(nothing_passes_unread),
        cmocka_unit_test(arguments_are_read_as_json),
        cmocka_unit_test(an_echo_is_what_the_client_said),
        cmocka_unit_test(what_cannot_be_read_ends_it),
        cmocka_unit_test(a_failed_judge_closes_or_opens),
        cmocka_unit_test(a_gated_reply_waits),
        cmocka_unit_test(a_second_try_replaces_the_first),
        cmocka_unit_test(sentences_stay_whole),
        cmocka_unit_test(shadow_mode_changes_nothing),
        cmocka_unit_test(an_endless_text_is_held_back_only_so_far),
        cmocka_unit_test(every_allocation_fails_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
