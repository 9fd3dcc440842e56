/* Requests of the four protocols, and what the gateway says in them itself. */
#include "unit.h"

#include "base/mem.h"
#include "gateway/wire.h"
#include "text/json.h"

/* "role:text|role:text", with what is unread behind a '/'. */
static void show(const qg_asked *a, char *out, size_t n)
{
    size_t at = 0;
    for (size_t i = 0; i < a->n_messages; i++)
        at += (size_t)snprintf(out + at, n - at, "%s%s:%.*s", i ? "|" : "", a->messages[i].role,
                               (int)a->messages[i].content.n, a->messages[i].content.p);
    if (a->n_unread)
        snprintf(out + at, n - at, "/%zu", a->n_unread);
}

static const struct {
    qg_proto proto;
    const char *body, *want; /* NULL: refused */
} requests[] = {
    {QG_PROTO_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}", "user:hi"},
    {QG_PROTO_CHAT,
     "{\"messages\":[{\"role\":\"developer\",\"content\":\"be\"},{\"role\":\"user\",\"content\":["
     "{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"image_url\",\"image_url\":{\"url\":\"x\"}},"
     "{\"type\":\"new\",\"words\":\"b\"}]}]}",
     "system:be|user:a{\"type\":\"new\",\"words\":\"b\"}/1"},
    {QG_PROTO_CHAT,
     "{\"messages\":[{\"role\":\"assistant\",\"content\":\"see\",\"tool_calls\":[{\"id\":\"1\","
     "\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},"
     "{\"role\":\"tool\",\"content\":\"out\"}]}",
     "assistant:see\nf {}|tool:out"},
    {QG_PROTO_CHAT, "{\"messages\":[]}", NULL},
    {QG_PROTO_CHAT, "{\"messages\":[{\"role\":\"user\",\"contents\":\"hi\"}]}", NULL},
    {QG_PROTO_CHAT, "{\"messages\":[{\"content\":\"hi\"}]}", NULL},
    {QG_PROTO_CHAT, "[]", NULL},
    {QG_PROTO_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"a\",\"content\":\"b\"}]}",
     NULL},
    {QG_PROTO_CHAT, "{\"stream\":1,\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}", NULL},
    /* names that a server in Go takes for the same */
    {QG_PROTO_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"Messages\":[]}", NULL},
    {QG_PROTO_CHAT,
     "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"me\\u017f\\u017fages\":1}", NULL},
    {QG_PROTO_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"a\",\"CONTENT\":\"b\"}]}",
     NULL},
    {QG_PROTO_CHAT,
     "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\",\"Text\":"
     "\"b\"}]}]}",
     NULL},
    {QG_PROTO_COMPLETIONS, "{\"prompt\":\"a\",\"Prompt\":\"b\"}", NULL},
    {QG_PROTO_CHAT,
     "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"tools\":[{\"function\":{"
     "\"parameters\":{"
     "\"properties\":{\"Content\":{}}}}}]}",
     "user:a"},
    {QG_PROTO_COMPLETIONS, "{\"prompt\":\"hi\",\"suffix\":\"end\"}", "user:hi\nend"},
    {QG_PROTO_COMPLETIONS, "{\"prompt\":[\"a\",\"b\"]}", "user:a\nb"},
    {QG_PROTO_COMPLETIONS, "{\"prompt\":[1,2]}", "user:/1"},
    {QG_PROTO_COMPLETIONS, "{\"prompt\":[]}", NULL},
    {QG_PROTO_COMPLETIONS, "{}", NULL},
    {QG_PROTO_RESPONSES, "{\"instructions\":\"be\",\"input\":\"hi\"}", "system:be|user:hi"},
    {QG_PROTO_RESPONSES,
     "{\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"q\"}]},"
     "{\"type\":\"function_call\",\"name\":\"f\",\"arguments\":\"{}\",\"call_id\":\"1\"},"
     "{\"type\":\"function_call_output\",\"call_id\":\"1\",\"output\":\"r\"},"
     "{\"type\":\"reasoning\",\"summary\":[{\"type\":\"summary_text\",\"text\":\"s\"}]}]}",
     "user:q|assistant:f {}|tool:r|assistant:s"},
    {QG_PROTO_RESPONSES, "{}", NULL},
    {QG_PROTO_ANTHROPIC,
     "{\"system\":[{\"type\":\"text\",\"text\":\"be\"}],\"messages\":[{\"role\":\"user\","
     "\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"1\",\"content\":[{\"type\":"
     "\"text\",\"text\":\"r\"}]},{\"type\":\"image\",\"source\":{}}]},{\"role\":\"assistant\","
     "\"content\":[{\"type\":\"tool_use\",\"id\":\"1\",\"name\":\"f\",\"input\":{\"a\":1}}]}]}",
     "system:be|user:r|assistant:f {\"a\":1}/1"},
    {QG_PROTO_ANTHROPIC,
     "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"document\",\"source\":{\"type\":"
     "\"text\",\"data\":\"doc\"}},{\"type\":\"document\",\"source\":{\"type\":\"base64\"}}]}]}",
     "user:doc/1"},
};

static void requests_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(requests); i++) {
        qg_asked *a;
        qg_err err = {""};
        char got[512] = "";
        qg_status rc = qg_asked_open(&a, requests[i].proto, qg_str(requests[i].body), &err);
        assert_int_equal(rc == QG_OK, requests[i].want != NULL);
        if (rc != QG_OK) {
            assert_true(err.msg[0] && !a);
            continue;
        }
        show(a, got, sizeof got);
        assert_string_equal(got, requests[i].want);
        qg_asked_close(a);
    }
}

static void choices_multiply(void **state)
{
    (void)state;
    qg_asked *a;
    assert_int_equal(qg_asked_open(&a, QG_PROTO_COMPLETIONS,
                                   qg_str("{\"model\":\"m\",\"stream\":true,\"n\":3,"
                                          "\"prompt\":[\"a\",\"b\"]}"),
                                   NULL),
                     QG_OK);
    assert_int_equal(a->n_choices, 6);
    assert_true(a->stream && qg_slice_is(a->model, "m"));
    qg_asked_close(a);
}

static void an_instruction_is_added(void **state)
{
    (void)state;
    static const struct {
        qg_proto proto;
        const char *body, *want;
    } cases[] = {
        {QG_PROTO_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]}",
         "{\"messages\":[{\"role\":\"system\",\"content\":\"be\"},{\"role\":\"user\",\"content\":"
         "\"q\"}]}"},
        {QG_PROTO_COMPLETIONS, "{\"prompt\":[\"a\",\"b\"]}",
         "{\"prompt\":[\"be\\n\\na\",\"be\\n\\nb\"]}"},
        {QG_PROTO_RESPONSES, "{\"input\":\"q\"}", "{\"input\":\"q\",\"instructions\":\"be\"}"},
        {QG_PROTO_ANTHROPIC, "{\"system\":[],\"messages\":[]}",
         "{\"system\":[{\"type\":\"text\",\"text\":\"be\"}],\"messages\":[]}"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        qg_buf out;
        qg_buf_init(&out, 4096);
        assert_int_equal(
            qg_asked_instruct(cases[i].proto, qg_str(cases[i].body), qg_str("be"), &out, NULL),
            QG_OK);
        assert_string_equal(out.p, cases[i].want);
        qg_buf_free(&out);
    }
}

static void paths_name_protocols(void **state)
{
    (void)state;
    qg_proto proto;
    assert_true(qg_proto_of(qg_str("/v1/responses"), &proto) && proto == QG_PROTO_RESPONSES);
    assert_true(qg_proto_of(qg_str("/v1/messages"), &proto) && proto == QG_PROTO_ANTHROPIC);
    assert_false(qg_proto_of(qg_str("/v1/messages/"), &proto));
    assert_false(qg_proto_of(qg_str("/v1/embeddings"), &proto));
    assert_false(qg_proto_of(qg_str(""), &proto));
}

/* Every answer of our own is JSON, event by event, and says the message. */
static void own_answers_are_whole(void **state)
{
    (void)state;
    const qg_wire_note note = {QG_UNSAFE, "Suicide & Self-Harm", 0.75, 1, 9, true};
    const qg_wire_blocked blocked = {{"m", 1}, {"abc", 3}, 7, "Not \"this\".", &note};
    for (int p = 0; p < QG_N_PROTOS; p++) {
        qg_buf out;
        qg_buf_init(&out, 1u << 20);
        json_t *tree;
        assert_int_equal(qg_wire_error((qg_proto)p, 400, "content_filter", "No.", &note, &out),
                         QG_OK);
        assert_int_equal(qg_json_parse(qg_buf_slice(&out), 0, &tree, NULL), QG_OK);
        assert_non_null(json_object_get(tree, "error"));
        assert_non_null(strstr(out.p, "\"suicide_self_harm\""));
        json_decref(tree);
        out.n = 0;
        assert_int_equal(qg_wire_blocked_reply((qg_proto)p, false, &blocked, &out), QG_OK);
        assert_int_equal(qg_json_parse(qg_buf_slice(&out), 0, &tree, NULL), QG_OK);
        assert_non_null(strstr(out.p, "Not \\\"this\\\"."));
        json_decref(tree);
        out.n = 0;
        assert_int_equal(qg_wire_blocked_reply((qg_proto)p, true, &blocked, &out), QG_OK);
        assert_non_null(strstr(out.p, "Not \\\"this\\\"."));
        for (const char *at = out.p; (at = strstr(at, "data: ")); at += 6) {
            const char *end = strstr(at, "\n\n");
            assert_non_null(end);
            if (strncmp(at + 6, "[DONE]", 6) == 0)
                continue;
            assert_int_equal(
                qg_json_parse(qg_slice_of(at + 6, (size_t)(end - at - 6)), 0, &tree, NULL), QG_OK);
            json_decref(tree);
        }
        qg_buf_free(&out);
    }
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
    for (size_t i = 0; i < COUNT(requests); i++)
        for (int64_t nth = 0;; nth++) {
            qg_asked *a;
            int64_t live = qg_live_blocks();
            qg_fault_arm(nth);
            qg_status rc = qg_asked_open(&a, requests[i].proto, qg_str(requests[i].body), NULL);
            bool fired = qg_fault_fired();
            qg_fault_arm(-1);
            if (fired)
                assert_int_equal(rc, QG_ERR_NOMEM);
            qg_asked_close(a);
            assert_int_equal(qg_live_blocks(), live);
            if (!fired)
                break;
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_read),       cmocka_unit_test(choices_multiply),
        cmocka_unit_test(an_instruction_is_added), cmocka_unit_test(paths_name_protocols),
        cmocka_unit_test(own_answers_are_whole),   cmocka_unit_test(every_allocation_fails_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
