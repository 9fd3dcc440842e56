/* Framing checks, request targets, keys and request ids: the parts of the right wing that need no
 * socket. */
#include "base/mem.h"
#include "http/chan_priv.h"
#include "svc/keys.h"
#include "svc/reqid.h"
#include "unit.h"

typedef struct pair {
    const char *name, *value;
} pair;

static const struct {
    const char *name, *version;
    pair headers[4];
    bool refused;
} framing_cases[] = {
    {"plain", "HTTP/1.1", {{"Host", "x"}, {"Content-Length", "5"}}, false},
    {"chunked", "HTTP/1.1", {{"Host", "x"}, {"transfer-encoding", "Chunked"}}, false},
    {"no body", "HTTP/1.1", {{"Host", ""}}, false},
    {"no host, 1.0", "HTTP/1.0", {{"Content-Length", "5"}}, false},
    {"tab in value", "HTTP/1.1", {{"Host", "x"}, {"X", "a\tb"}}, false},
    {"no host", "HTTP/1.1", {{"Content-Length", "5"}}, true},
    {"two hosts", "HTTP/1.1", {{"Host", "x"}, {"HOST", "x"}}, true},
    {"two lengths",
     "HTTP/1.1",
     {{"Host", "x"}, {"Content-Length", "5"}, {"content-length", "5"}},
     true},
    {"both",
     "HTTP/1.1",
     {{"Host", "x"}, {"Content-Length", "5"}, {"Transfer-Encoding", "chunked"}},
     true},
    {"two codings",
     "HTTP/1.1",
     {{"Host", "x"}, {"Transfer-Encoding", "chunked"}, {"Transfer-Encoding", "chunked"}},
     true},
    {"coding list", "HTTP/1.1", {{"Host", "x"}, {"Transfer-Encoding", "gzip, chunked"}}, true},
    {"coding unknown", "HTTP/1.1", {{"Host", "x"}, {"Transfer-Encoding", "identity"}}, true},
    {"coding in 1.0", "HTTP/1.0", {{"Transfer-Encoding", "chunked"}}, true},
    {"length empty", "HTTP/1.1", {{"Host", "x"}, {"Content-Length", ""}}, true},
    {"length signed", "HTTP/1.1", {{"Host", "x"}, {"Content-Length", "+5"}}, true},
    {"length list", "HTTP/1.1", {{"Host", "x"}, {"Content-Length", "5, 5"}}, true},
    {"length too big",
     "HTTP/1.1",
     {{"Host", "x"}, {"Content-Length", "18446744073709551616"}},
     true},
    {"blank in a name", "HTTP/1.1", {{"Host", "x"}, {"Content-Length ", "5"}}, true},
    {"control in a value", "HTTP/1.1", {{"Host", "x"}, {"X", "a\rb"}}, true},
};

static void framing(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(framing_cases); i++) {
        qg_http_framing f = {0};
        for (const pair *h = framing_cases[i].headers; h->name; h++)
            qg_http_framing_add(&f, qg_str(h->name), qg_str(h->value));
        const char *fault = qg_http_framing_fault(&f, framing_cases[i].version);
        if ((fault != NULL) != framing_cases[i].refused)
            fail_msg("%s: %s", framing_cases[i].name, fault ? fault : "accepted");
    }
}

static void largest_length(void **state)
{
    qg_http_framing f = {0};
    (void)state;
    qg_http_framing_add(&f, qg_str("Content-Length"), qg_str("18446744073709551615"));
    assert_null(f.fault);
    assert_true(f.length == UINT64_MAX);
}

static const struct {
    const char *uri, *path; /* NULL: refused */
} uri_cases[] = {
    {"/", "/"},
    {"/a/b?c=d", "/a/b"},
    {"/a%2Fb%20c", "/a/b c"},
    {"/%C3%a9", "/\xC3\xA9"},
    {"http://host:80/a?b", "/a"},
    {"HTTPS://host", "/"},
    {"", "/"},
    {"?x", "/"},
    {"*", "*"},
    {"/a%00", NULL},
    {"/a%", NULL},
    {"/a%2", NULL},
    {"/a%zz", NULL},
    {"/a%g1", NULL},
};

static void uri_path(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(uri_cases); i++) {
        qg_buf path;
        qg_buf_init(&path, 64);
        qg_status rc = qg_http_uri_path(uri_cases[i].uri, &path);
        assert_int_equal(rc, uri_cases[i].path ? QG_OK : QG_ERR_FORMAT);
        if (uri_cases[i].path)
            assert_string_equal(path.p, uri_cases[i].path);
        qg_buf_free(&path);
    }
}

static void keys(void **state)
{
    static const char *const two[] = {"secret", "k2"};
    const qg_keys k = {.keys = two, .n = 2};
    (void)state;
    assert_true(qg_keys_match(&k, qg_str("secret"), NULL));
    assert_true(qg_keys_match(&k, qg_str("k2"), NULL));
    assert_false(qg_keys_match(&k, qg_str("secre"), NULL));
    assert_false(qg_keys_match(&k, qg_str("secrets"), NULL));
    assert_false(qg_keys_match(&k, qg_str(""), NULL));
    assert_false(qg_keys_match(&k, qg_slice_of("secret\0", 7), NULL));
    assert_false(qg_keys_match(&k, qg_slice_of(NULL, 0), NULL));
}

static void request_ids(void **state)
{
    char most[128];
    (void)state;
    memset(most, 'a', sizeof most);
    assert_true(qg_reqid_ok(qg_str("aZ0-_.:/+=@")));
    assert_true(qg_reqid_ok(qg_slice_of(most, 127)));
    assert_false(qg_reqid_ok(qg_slice_of(most, 128)));
    assert_false(qg_reqid_ok(qg_str("")));
    assert_false(qg_reqid_ok(qg_slice_of("a\0b", 3)));
    assert_false(qg_reqid_ok(qg_str("a b")));
    assert_false(qg_reqid_ok(qg_str("a\"b")));
    assert_false(qg_reqid_ok(qg_str("\xC3\xA9")));
}

/* The key of RFC 6455 1.3, and what is no key. */
static void socket_accept(void **state)
{
    static const char *const odd[] = {"",
                                      "dGhlIHNhbXBsZSBub25jZQ=",
                                      "dGhlIHNhbXBsZSBub25jZQ==A",
                                      "dGhlIHNhbXBsZSBub25j====",
                                      "dGhlIHNhbXBsZSBub25jZQAA",
                                      "dGhlIHNhbX\"sZSBub25jZQ=="};
    char out[QG_HTTP_ACCEPT_BYTES];
    (void)state;
    assert_true(qg_http_socket_accept(qg_str("dGhlIHNhbXBsZSBub25jZQ=="), out));
    assert_string_equal(out, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    for (size_t i = 0; i < COUNT(odd); i++)
        assert_false(qg_http_socket_accept(qg_str(odd[i]), out));
    assert_false(qg_http_socket_accept(qg_slice_of(NULL, 0), out));
}

static void open_errors(void **state)
{
    qg_http *http;
    qg_err err;
    qg_http_options opt = {.host = "no.such.host.invalid", .watch_fd = -1};
    (void)state;
    qg_http_limits_init(&opt.limits);
    assert_int_equal(qg_http_open(&http, &opt, &err), QG_ERR_IO);
    assert_null(http);
    assert_non_null(strstr(err.msg, "no.such.host.invalid"));
    qg_http_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(framing),       cmocka_unit_test(largest_length),
        cmocka_unit_test(uri_path),      cmocka_unit_test(keys),
        cmocka_unit_test(request_ids),   cmocka_unit_test(open_errors),
        cmocka_unit_test(socket_accept),
    };
    return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
