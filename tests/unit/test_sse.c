/* Event streams in pieces, strings of JSON as they stand, and the texts in a reply's JSON. */
#include "unit.h"

#include "base/limits.h"
#include "base/mem.h"
#include "gateway/jstr.h"
#include "gateway/marks.h"
#include "gateway/sse.h"
#include "gateway/wire_nodes.h"

/* "raw<data>name|" of every event, with the stream cut at `cut` (0: whole; -1: byte by byte). */
static void read_all(const char *in, size_t n, long cut, qg_buf *out, qg_status *rc, bool *torn)
{
    qg_sse s;
    qg_sse_event e;
    bool got;
    size_t at = 0;
    qg_sse_init(&s);
    *rc = QG_OK;
    while (at < n && *rc == QG_OK) {
        size_t step = cut < 0 ? 1 : cut && at < (size_t)cut ? (size_t)cut : n - at;
        qg_slice piece = qg_slice_of(in + at, step);
        at += step;
        while (piece.n && *rc == QG_OK) {
            *rc = qg_sse_next(&s, &piece, &e, &got, NULL);
            if (*rc == QG_OK && got)
                assert_int_equal(qg_buf_addf(out, "%.*s<%.*s>%.*s%s|", (int)e.raw.n, e.raw.p,
                                             (int)e.data.n, e.data.p, (int)e.name.n, e.name.p,
                                             e.has_data ? "" : "-"),
                                 QG_OK);
        }
    }
    if (*rc == QG_OK)
        *rc = qg_sse_end(&s, &e, &got, torn, NULL);
    if (*rc == QG_OK && got)
        assert_int_equal(
            qg_buf_addf(out, "%.*s<%.*s>|", (int)e.raw.n, e.raw.p, (int)e.data.n, e.data.p), QG_OK);
    qg_sse_free(&s);
}

static const struct {
    const char *in, *want; /* NULL: refused */
    bool torn;
} streams[] = {
    {"data: a\n\n", "data: a\n\n<a>|", false},
    {"data:a\r\n\r\n", "data:a\r\n\r\n<a>|", false},
    {"data: a\r\r", "data: a\r\r<a>|", false},
    {"data: a\ndata:  b\n\n", "data: a\ndata:  b\n\n<a\n b>|", false},
    {"data\ndata\n\n", "data\ndata\n\n<\n>|", false},
    {"event: x\ndata: a\n\ndata: b\n\n", "event: x\ndata: a\n\n<a>x|data: b\n\n<b>|", false},
    {": words\n\ndata: a\n\n", ":\n\n<>-|data: a\n\n<a>|", false},
    {": words\ndata: a\nother: b\nretry: 10\nid: 7\nid: a b\n\n",
     ":\ndata: a\nretry: 10\nid: 7\n\n<a>|", false},
    {"\xEF\xBB\xBF"
     "data: a\n\n",
     "\xEF\xBB\xBF"
     "data: a\n\n<a>|",
     false},
    {"data: \xEF\xBB\xBF"
     "a\n\n",
     "data: \xEF\xBB\xBF"
     "a\n\n<\xEF\xBB\xBF"
     "a>|",
     false},
    {"\n\ndata: a\n\n", "\n<>-|\n<>-|data: a\n\n<a>|", false},
    {"data: a", "", true},
    {"data: a\n", "", true},
    {"data: a\n\ndata: b\n", "data: a\n\n<a>|", true},
    {"event: two words\ndata: a\n\n", NULL, false},
    {" data: a\n\n", "\n<>-|", false},
};

static void streams_are_read_in_any_pieces(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(streams); i++) {
        size_t n = strlen(streams[i].in);
        for (long cut = -1; cut < (long)n; cut++) {
            qg_buf out;
            qg_status rc;
            bool torn = false;
            qg_buf_init(&out, 1u << 20);
            read_all(streams[i].in, n, cut, &out, &rc, &torn);
            assert_int_equal(rc, streams[i].want ? QG_OK : QG_ERR_FORMAT);
            if (streams[i].want) {
                assert_string_equal(qg_buf_slice(&out).p, streams[i].want);
                assert_int_equal(torn, streams[i].torn);
            }
            qg_buf_free(&out);
        }
    }
}

static void a_line_of_64_megabytes_is_refused(void **state)
{
    (void)state;
    static char piece[65536];
    qg_sse s;
    qg_sse_event e;
    bool got;
    size_t fed = 0;
    qg_status rc = QG_OK;
    qg_sse_init(&s);
    memset(piece, 'a', sizeof piece);
    while (rc == QG_OK && fed < (64u << 20)) {
        qg_slice in = qg_slice_of(piece, sizeof piece);
        rc = qg_sse_next(&s, &in, &e, &got, NULL);
        fed += sizeof piece;
    }
    assert_int_equal(rc, QG_ERR_TOO_LONG);
    assert_true(fed <= QG_MAX_SSE_EVENT + sizeof piece);
    qg_sse_free(&s);
    qg_sse_init(&s);
    qg_slice zero = qg_slice_of("data: a\0b\n", 10);
    assert_int_equal(qg_sse_next(&s, &zero, &e, &got, NULL), QG_ERR_FORMAT);
    qg_sse_free(&s);
}

static void strings_are_cut_between_characters(void **state)
{
    (void)state;
    static const struct {
        const char *raw, *says;
    } cases[] = {
        {"abc", "abc"},
        {"a\\nb", "a\nb"},
        {"\\u00e4x", "\xC3\xA4x"},
        {"\\ud83d\\ude00!", "\xF0\x9F\x98\x80!"},
        {"\\ud83d!", "\xEF\xBF\xBD!"},
        {"\\ude00\\ud83d", "\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xC3\xA4\\\\\\\"\\/", "\xC3\xA4\\\"/"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        qg_buf all, part;
        qg_slice raw = qg_str(cases[i].raw);
        qg_buf_init(&all, 100);
        qg_buf_init(&part, 100);
        assert_int_equal(qg_jstr_decode(raw, &all), QG_OK);
        assert_string_equal(all.p, cases[i].says);
        for (size_t n = 0; n <= all.n; n++) {
            if (n < all.n && ((unsigned char)all.p[n] & 0xC0) == 0x80)
                continue;
            part.n = 0;
            assert_int_equal(qg_jstr_decode(qg_slice_of(raw.p, qg_jstr_cut(raw, n)), &part), QG_OK);
            assert_true(part.n == n && (n == 0 || memcmp(part.p, all.p, n) == 0));
        }
        qg_buf_free(&all);
        qg_buf_free(&part);
    }
    bool plain;
    static const char *const broken[] = {"abc", "a\nb\"", "\\x\"", "\\u12\"", "\xff\"", "\\"};
    for (size_t i = 0; i < COUNT(broken); i++)
        assert_null(qg_jstr_end(broken[i], broken[i] + strlen(broken[i]), &plain));
}

static const struct {
    qg_proto proto;
    const char *json, *want; /* "lane choice.sub=text;", NULL: refused */
} replies[] = {
    {QG_PROTO_CHAT, "{\"choices\":[{\"delta\":{\"content\":\"a\"},\"index\":3}]}",
     "content 3.-1=a;"},
    {QG_PROTO_CHAT,
     "{\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":2,\"function\":{\"name\":"
     "\"f\",\"arguments\":\"{}\"}}]}}]}",
     "call 0.2=f;call 0.2={};"},
    {QG_PROTO_CHAT, "{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}", "F;"},
    {QG_PROTO_CHAT, "{\"choices\":[{\"index\":0,\"finish_reason\":null}]}", ""},
    {QG_PROTO_CHAT, "{\"a\":{\"b\":[\"text\"]}}", "a -1.-1={\"b\":[\"text\"]};"},
    {QG_PROTO_ANTHROPIC,
     "{\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"thinking_delta\","
     "\"thinking\":\"t\"}}",
     "thinking 1.-1=t;"},
    {QG_PROTO_RESPONSES,
     "{\"delta\":\"d\",\"output_index\":1,\"content_index\":2,\"type\":"
     "\"response.output_text.delta\"}",
     "text 1.2=d;"},
    {QG_PROTO_CHAT, "{\"a\":1,}", NULL},
    {QG_PROTO_CHAT, "{\"a\" 1}", NULL},
    {QG_PROTO_CHAT, "{\"a\":tru e}", NULL},
    {QG_PROTO_CHAT, "{\"a\":}", NULL},
    {QG_PROTO_CHAT, "{\"a\":[1 2]}", NULL},
    {QG_PROTO_CHAT, "{\"a\":1", NULL},
    {QG_PROTO_CHAT, "[1]", NULL},
    {QG_PROTO_CHAT, "", NULL},
    {QG_PROTO_CHAT, "{\"two words\":1}", NULL},
};

static void texts_are_found(void **state)
{
    (void)state;
    qg_marks marks = {NULL, 0, 0, -1};
    for (size_t i = 0; i < COUNT(replies); i++) {
        qg_slice json = qg_str(replies[i].json);
        qg_wire_event e = qg_wire_event_of(replies[i].proto, json);
        qg_status rc = qg_marks_read(&marks, e.root, json, NULL);
        char got[256] = "";
        size_t at = 0;
        assert_int_equal(rc, replies[i].want ? QG_OK : QG_ERR_FORMAT);
        for (size_t k = 0; rc == QG_OK && k < marks.n; k++) {
            const qg_mark *m = &marks.p[k];
            if (m->what == QG_MARK_FINISH) {
                at += (size_t)snprintf(got + at, sizeof got - at, "F;");
                continue;
            }
            qg_slice lane = m->lane ? qg_str(m->lane) : qg_slice_of(json.p + m->name, m->n_name);
            at +=
                (size_t)snprintf(got + at, sizeof got - at, "%.*s %d.%d=%.*s;", (int)lane.n, lane.p,
                                 m->choice, m->sub, (int)(m->end - m->begin), json.p + m->begin);
        }
        if (replies[i].want)
            assert_string_equal(got, replies[i].want);
    }
    /* no depth, no number of texts is too much for the reader */
    char deep[300];
    memset(deep, '[', sizeof deep);
    memcpy(deep, "{\"a\":", 5);
    assert_int_equal(
        qg_marks_read(&marks, qg_wire_body(QG_PROTO_CHAT), qg_slice_of(deep, sizeof deep), NULL),
        QG_ERR_FORMAT);
    qg_marks_free(&marks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streams_are_read_in_any_pieces),
        cmocka_unit_test(a_line_of_64_megabytes_is_refused),
        cmocka_unit_test(strings_are_cut_between_characters),
        cmocka_unit_test(texts_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
