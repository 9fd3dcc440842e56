#include "unit.h"

#include "base/limits.h"
#include "base/mem.h"
#include "text/json.h"
#include "text/utf8.h"

static void parse_table(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned flags;
        qg_status want;
        const char *says; /* part of the sentence */
    } cases[] = {
        {"{\"a\":1}", 0, QG_OK, NULL},
        {" [1, 2.5, \"x\", null, true] \n", 0, QG_OK, NULL},
        {"3", 0, QG_ERR_FORMAT, "line 1"},
        {"3", QG_JSON_ANY, QG_OK, NULL},
        {"", 0, QG_ERR_FORMAT, "line 1"},
        {"{\"a\":1,\"a\":2}", 0, QG_ERR_FORMAT, "duplicate"},
        {"{\"a\":1} x", 0, QG_ERR_FORMAT, "end of file"},
        {"{\n \"a\": 1,\n}", 0, QG_ERR_FORMAT, "line 3"},
        {"[\"a\nb\"]", 0, QG_ERR_FORMAT, "line 1"},
        {"[\"\\u0000\"]", 0, QG_ERR_FORMAT, "u0000"},
        {"[\"\\u0000\"]", QG_JSON_NUL, QG_OK, NULL},
        {"[\"\\ud800\"]", 0, QG_ERR_FORMAT, "line 1"},
        {"[\"\xff\"]", 0, QG_ERR_FORMAT, "0xff"},
        {"[9223372036854775808]", 0, QG_ERR_FORMAT, "integer"},
        {"[\"\xC3\xA9\" \xC3", 0, QG_ERR_FORMAT, "line 1"},
        {"[1e999]", 0, QG_ERR_FORMAT, "real"},
        {"[NaN]", 0, QG_ERR_FORMAT, "line 1"},
        {"[01]", 0, QG_ERR_FORMAT, "line 1"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        json_t *v;
        qg_err err = {""};
        qg_status rc = qg_json_parse(qg_str(cases[i].text), cases[i].flags, &v, &err);
        if (rc != cases[i].want || (rc && !strstr(err.msg, cases[i].says)))
            fail_msg("case %zu %s: status %d, %s", i, cases[i].text, rc, err.msg);
        assert_true((v != NULL) == (rc == QG_OK));
        assert_null(strchr(err.msg, '\n'));
        assert_true(qg_utf8_valid(qg_str(err.msg)));
        json_decref(v);
    }
}

static void depth_is_counted_outside_strings(void **state)
{
    (void)state;
    char text[2 * QG_MAX_JSON_DEPTH + 3];
    json_t *v;
    qg_err err;
    memset(text, '[', QG_MAX_JSON_DEPTH);
    memset(text + QG_MAX_JSON_DEPTH, ']', QG_MAX_JSON_DEPTH);
    assert_int_equal(qg_json_parse(qg_slice_of(text, 2 * QG_MAX_JSON_DEPTH), 0, &v, &err), QG_OK);
    json_decref(v);
    memset(text, '[', QG_MAX_JSON_DEPTH + 1);
    memset(text + QG_MAX_JSON_DEPTH + 1, ']', QG_MAX_JSON_DEPTH + 1);
    assert_int_equal(qg_json_parse(qg_slice_of(text, 2 * QG_MAX_JSON_DEPTH + 2), 0, &v, &err),
                     QG_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "column 65: JSON nests deeper"));
    memset(text, '[', sizeof text);
    text[0] = '[';
    text[1] = '"';
    text[sizeof text - 2] = '"';
    text[sizeof text - 1] = ']';
    assert_int_equal(qg_json_parse(qg_slice_of(text, sizeof text), 0, &v, &err), QG_OK);
    json_decref(v);
}

static void getters_name_the_key(void **state)
{
    (void)state;
    json_t *v;
    qg_err err;
    const char *text = "{\"n\":7,\"x\":0.5,\"s\":\"hi\",\"t\":true,\"o\":{},\"a\":[],\"z\":null}";
    assert_int_equal(qg_json_parse(qg_str(text), 0, &v, &err), QG_OK);
    int64_t n = -1;
    double x = -1;
    bool t = false;
    qg_slice s;
    json_t *tree = NULL;
    assert_int_equal(qg_json_get_int(v, "n", 0, 7, &n, &err), QG_OK);
    assert_int_equal(n, 7);
    assert_int_equal(qg_json_get_int(v, "n", 8, 9, &n, &err), QG_ERR_FORMAT);
    assert_string_equal(err.msg, "\"n\" is 7, must be from 8 to 9");
    assert_int_equal(qg_json_get_int(v, "x", 0, 9, &n, &err), QG_ERR_FORMAT);
    assert_string_equal(err.msg, "\"x\" must be an integer, not a real number");
    assert_int_equal(qg_json_get_int(v, "q", 0, 9, &n, &err), QG_ERR_FORMAT);
    assert_string_equal(err.msg, "\"q\" is missing");
    assert_int_equal(qg_json_get_int(v, "z", 0, 9, &n, &err), QG_ERR_FORMAT);
    assert_int_equal(qg_json_opt_int(v, "q", 0, 9, &n, &err), QG_OK);
    assert_int_equal(qg_json_opt_int(v, "z", 0, 9, &n, &err), QG_OK);
    assert_int_equal(n, 7);
    assert_int_equal(qg_json_get_num(v, "n", 0, 9, &x, &err), QG_OK);
    assert_true(x == 7);
    assert_int_equal(qg_json_opt_num(v, "s", 0, 9, &x, &err), QG_ERR_FORMAT);
    assert_int_equal(qg_json_get_bool(v, "t", &t, &err), QG_OK);
    assert_true(t);
    assert_int_equal(qg_json_get_bool(v, "n", &t, &err), QG_ERR_FORMAT);
    assert_int_equal(qg_json_get_str(v, "s", &s, &err), QG_OK);
    assert_true(qg_slice_is(s, "hi"));
    assert_int_equal(qg_json_get_object(v, "o", &tree, &err), QG_OK);
    assert_int_equal(qg_json_get_array(v, "o", &tree, &err), QG_ERR_FORMAT);
    assert_int_equal(qg_json_opt_array(v, "a", &tree, &err), QG_OK);
    assert_int_equal(qg_json_get_int(tree, "n", 0, 9, &n, &err), QG_ERR_FORMAT);
    assert_int_equal(qg_json_get_int(NULL, "n", 0, 9, &n, &err), QG_ERR_FORMAT);
    json_decref(v);
}

static void dump_is_compact_utf8(void **state)
{
    (void)state;
    json_t *v;
    const char *text = "{ \"b\" : [1, true, null], \"a\" : \"\\u00e9\\n\" }";
    assert_int_equal(qg_json_parse(qg_str(text), 0, &v, NULL), QG_OK);
    char *out = qg_json_dump(v);
    assert_string_equal(out, "{\"b\":[1,true,null],\"a\":\"\xc3\xa9\\n\"}");
    qg_mfree(out);
    json_decref(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parse_table),
        cmocka_unit_test(depth_is_counted_outside_strings),
        cmocka_unit_test(getters_name_the_key),
        cmocka_unit_test(dump_is_compact_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
