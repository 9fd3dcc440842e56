/* What jinja2 cannot tell us: taint, refusals at load time, limits, failed allocations, threads. */
#include "unit.h"

#include "base/mem.h"
#include "text/json.h"
#include "tmpl/tmpl.h"

#include <pthread.h>

static json_t *vars_of(const char *json)
{
    json_t *vars;
    qg_err err;
    if (qg_json_parse(qg_str(json), QG_JSON_NUL, &vars, &err))
        fail_msg("%s: %s", json, err.msg);
    return vars;
}

/* ---- taint ----------------------------------------------------------------------------------- */

static const char people[] =
    "{\"s\":\"INPUT\",\"t\":\" A,B \",\"n\":7,\"l\":[\"X\",\"Y\"],\"d\":{\"K\":\"V\"},\"b\":true,"
    "\"messages\":[{\"role\":\"user\",\"content\":\"<|im_end|>\"}]}";

static const struct {
    const char *source, *text, *origin; /* origin: i input, t template, per byte of text */
} taints[] = {
    {"ab{{ s }}c", "abINPUTc", "ttiiiiit"},
    {"{{ '<' + s + '>' }}", "<INPUT>", "tiiiiit"},
    {"{{ '<' ~ s ~ 1 ~ n }}", "<INPUT17", "tiiiiiti"},
    {"{{ ('<' + s + '>')[3:] }}", "PUT>", "iiit"},
    {"{{ ('<' + s + '>')[::-1] }}", ">TUPNI<", "tiiiiit"},
    {"{{ ('<' + s + '>')[0] }}{{ ('<' + s)[1] }}", "<I", "ti"},
    {"{{ ('a ' + t + ' b').split(',')[0] }}", "a  A", "ttii"},
    {"{{ (' ' + t + 'z').strip() }}", "A,B z", "iiiit"},
    {"{{ ('x' + s).replace('N', 'nn') }}", "xInnPUT", "tittiii"},
    {"{{ 'a-b'.replace('-', s) }}", "aINPUTb", "tiiiiit"},
    {"{{ '+'.join(l) }}", "X+Y", "iti"},
    {"{{ l|join('+') }}", "X+Y", "iti"},
    {"{{ ('a' + s)|lower }}{{ ('a' + s)|title }}", "ainputAinput", "tiiiiitiiiii"},
    {"{{ '\xC3\x9F' + s|upper }}", "\xC3\x9FINPUT", "ttiiiii"},
    {"{{ ('\xC3\x9F' ~ 'x' ~ s)|upper }}", "SSXINPUT", "tttiiiii"},
    {"{{ d|tojson }}", "{\"K\": \"V\"}", "iiiiiiiiii"},
    {"{{ ['a', s] }}", "['a', 'INPUT']", "iiiiiiiiiiiiii"},
    {"{{ ['a', 'b'] }}{{ {'a': 1}|tojson }}", "['a', 'b']{\"a\": 1}", "tttttttttttttttttt"},
    {"{{ n }}{{ n + 1 }}{{ b }}{{ 1 + 1 }}", "78True2", "iiiiiit"},
    {"{{ s|length }}{{ s == 'x' }}", "5False", "ittttt"},
    {"{{ 'yes' if s == 'INPUT' else 'no' }}", "yes", "ttt"},
    {"{% set x %}[{{ s }}]{% endset %}{{ x }}", "[INPUT]", "tiiiiit"},
    {"{% macro m(a) %}<{{ a }}>{% endmacro %}{{ m(s) }}{{ m('t') }}", "<INPUT><t>", "tiiiiitttt"},
    {"{% filter upper %}a{{ s }}{% endfilter %}", "AINPUT", "tiiiii"},
    {"{% for m in messages %}{{ '<|im_end|>' + m.content + m['role'] }}{% endfor %}",
     "<|im_end|><|im_end|>user", "ttttttttttiiiiiiiiiiiiii"},
    {"{% set ns = namespace(x='a') %}{% set ns.x = ns.x + s %}{{ ns.x * 2 }}", "aINPUTaINPUT",
     "tiiiiitiiiii"},
    {"{{ ('  a\n' + s)|indent(1) }}", "  a\n INPUT", "tttttiiiii"},
    {"{{ d.items()|list }}{{ d|first }}", "[('K', 'V')]K", "iiiiiiiiiiiii"},
    {"{{ (s + 'x').partition('T')[2] }}{{ (s ~ ' q').split() | last }}", "xq", "tt"},
    {"{{ missing }}{{ '' + s[:0] }}", "", ""},
    {"{{ range(n)|last }}{{ (l|length) ~ '' }}{{ s.find('P') }}", "622", "iii"},
};

static void every_byte_knows_where_it_came_from(void **state)
{
    json_t *vars = vars_of(people);
    (void)state;
    for (size_t i = 0; i < COUNT(taints); i++) {
        qg_tmpl *tmpl;
        qg_rendered out = {0};
        qg_err err;
        char origin[64] = "";
        if (qg_tmpl_open(&tmpl, qg_str(taints[i].source), &err) ||
            qg_tmpl_render(tmpl, vars, &out, &err))
            fail_msg("%s: %s", taints[i].source, err.msg);
        for (size_t k = 0, at = 0; k < out.n_spans; k++)
            for (; at < out.spans[k].end; at++)
                origin[at] = out.spans[k].input ? 'i' : 't';
        assert_string_equal(qg_buf_slice(&out.text).p, taints[i].text);
        if (strcmp(origin, taints[i].origin))
            fail_msg("%s:\n%s\n%s, expected\n%s", taints[i].source, taints[i].text, origin,
                     taints[i].origin);
        qg_rendered_free(&out);
        qg_tmpl_close(tmpl);
    }
    json_decref(vars);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static const struct {
    const char *source;
    qg_status rc;
    const char *says;
} refused[] = {
    {"a\n{% include 'x' %}", QG_ERR_UNSUPPORTED, "line 2: unknown statement 'include'"},
    {"{% block a %}{% endblock %}", QG_ERR_UNSUPPORTED, "unknown statement 'block'"},
    {"{{ x|urlize }}", QG_ERR_UNSUPPORTED, "line 1: unknown filter 'urlize'"},
    {"{% if 0 %}\n\n{{ x|nope }}{% endif %}", QG_ERR_UNSUPPORTED, "line 3: unknown filter"},
    {"{{ x is nice }}", QG_ERR_UNSUPPORTED, "unknown test 'nice'"},
    {"{{ x.encode() }}", QG_ERR_UNSUPPORTED, "unknown method 'encode'"},
    {"\n{{ cycler(1) }}", QG_ERR_UNSUPPORTED, "line 2: unknown function 'cycler'"},
    {"{{ l|map('nope') }}", QG_ERR_UNSUPPORTED, "unknown filter 'nope'"},
    {"{{ l|selectattr('a', 'nope') }}", QG_ERR_UNSUPPORTED, "unknown test 'nope'"},
    {"{% for x in y recursive %}{% endfor %}", QG_ERR_UNSUPPORTED, "recursive"},
    {"{{ f(*x) }}", QG_ERR_UNSUPPORTED, "arguments with '*'"},
    {"{{ 1 +\n\n }}", QG_ERR_FORMAT, "line 3: expected an expression"},
    {"{% if x %}", QG_ERR_FORMAT, "'endif' is missing"},
    {"{{ 'x }}", QG_ERR_FORMAT, "a string without end"},
    {"{{ \xff }}", QG_ERR_FORMAT, "byte 3 is not UTF-8"},
    {"{% continue %}", QG_ERR_FORMAT, "outside of a loop"},
    {"{% macro m() %}{% endmacro %}{{ strftime_now('%d') if 0 }}{{ m() }}", QG_OK, ""},
};

static void unknown_constructs_are_named_with_their_line(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(refused); i++) {
        qg_tmpl *tmpl;
        qg_err err = {""};
        qg_status rc = qg_tmpl_open(&tmpl, qg_str(refused[i].source), &err);
        if (rc != refused[i].rc || !strstr(err.msg, refused[i].says))
            fail_msg("%s: %d, %s", refused[i].source, rc, err.msg);
        assert_true((tmpl != NULL) == (rc == QG_OK));
        qg_tmpl_close(tmpl);
    }
}

/* ---- limits and errors while rendering ------------------------------------------------------- */

static qg_status render_one(const char *source, qg_err *err)
{
    qg_tmpl *tmpl;
    qg_rendered out = {0};
    json_t *vars = vars_of(people);
    qg_status rc = qg_tmpl_open(&tmpl, qg_str(source), err);
    if (rc == QG_OK)
        rc = qg_tmpl_render(tmpl, vars, &out, err);
    qg_rendered_free(&out);
    qg_tmpl_close(tmpl);
    json_decref(vars);
    return rc;
}

static const struct {
    const char *source;
    qg_status rc;
    const char *says;
} failing[] = {
    {"{{ raise_exception('a\nb') }}", QG_ERR_TEMPLATE, "line 1: a b"},
    {"\n{{ nope.x }}", QG_ERR_TEMPLATE, "line 2: 'nope' is undefined"},
    {"{{ messages[0].x.y }}", QG_ERR_TEMPLATE, "'x' is undefined"},
    {"{{ s + 1 }}", QG_ERR_TEMPLATE, "can only concatenate str (not \"int\") to str"},
    {"{{ strftime_now('%d') }}", QG_ERR_TEMPLATE, "'strftime_now' is undefined"},
    {"{{ 9223372036854775807 + 1 }}", QG_ERR_TEMPLATE, "64 bits"},
    {"{{ range(1000000) }}", QG_ERR_TOO_LONG, "range"},
    {"{% for i in range(99999) %}{% for j in range(999) %}{% endfor %}{% endfor %}",
     QG_ERR_TOO_LONG, "steps"},
    {"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", QG_ERR_TOO_LONG, "deep"},
    {"{% set ns = namespace(x='a') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}"
     "{% endfor %}",
     QG_ERR_TOO_LONG, "a string of more than"},
    {"{% for i in range(9999) %}{{ 'x' * 99999 }}{% endfor %}", QG_ERR_TOO_LONG, ""},
    {"{{ 'x' * 9999999999999 }}", QG_ERR_TOO_LONG, "steps"},
    {"{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}{% endfor %}"
     "{{ ns.x }}",
     QG_ERR_TOO_LONG, "too deeply"},
    {"{% set ns = namespace() %}{% set ns.n = ns %}{{ ns }}", QG_ERR_TOO_LONG, "too deeply"},
};

static void failures_have_a_code_and_a_sentence(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(failing); i++) {
        qg_err err = {""};
        qg_status rc = render_one(failing[i].source, &err);
        if (rc != failing[i].rc || !strstr(err.msg, failing[i].says))
            fail_msg("%s: %d, %s", failing[i].source, rc, err.msg);
    }
}

static void nesting_is_bounded_when_parsing(void **state)
{
    static const char *const openers[] = {"{{ (",          "{{ [",     "{% if 1 %}",
                                          "{{ not ",       "{{ - ",    "{{ a[",
                                          "{{ x|default(", "{% set (", "{{ 1 if 1 else "};
    (void)state;
    for (size_t i = 0; i < COUNT(openers); i++) {
        char source[60000] = "";
        size_t n = 0, more = strlen(openers[i]);
        const char *tail = openers[i];
        for (int k = 0; k < 5000 && n + more + 1 < sizeof source; k++) {
            memcpy(source + n, tail, more);
            n += more;
            if (openers[i][1] == '{' && k == 0) { /* one tag, many brackets */
                tail += 3;
                more -= 3;
            }
        }
        qg_err err;
        qg_tmpl *tmpl;
        assert_int_not_equal(qg_tmpl_open(&tmpl, qg_slice_of(source, n), &err), QG_OK);
    }
}

static void long_chains_are_not_nesting(void **state)
{
    char source[40000] = "{{ 1";
    qg_err err;
    (void)state;
    for (int k = 0; k < 3000; k++)
        strncat(source, " + 1", 5);
    strncat(source, " }}", 4);
    assert_int_equal(render_one(source, &err), QG_OK);
    memcpy(source + strlen(source) - 3, " - 1 - 1 - 1 }}", 16);
    assert_int_equal(render_one(source, &err), QG_OK);
}

/* ---- allocation faults, threads -------------------------------------------------------------- */

static const char busy[] =
    "{% macro m(a) %}<{{ a }}>{% endmacro %}{% for m2 in messages|list + l %}{{ m(m2) }}"
    "{{ m2|tojson }}{% endfor %}{{ 'x' * 40000 + s }}{% set q %}{{ s }}a{% endset %}{{ q|upper }}";

static void every_allocation_may_fail(void **state)
{
    json_t *vars = vars_of(people);
    int64_t before = qg_live_blocks();
    (void)state;
    for (int64_t i = 0;; i++) {
        qg_tmpl *tmpl;
        qg_rendered out = {0};
        qg_err err;
        qg_fault_arm(i);
        qg_status rc = qg_tmpl_open(&tmpl, qg_str(busy), &err);
        if (rc == QG_OK)
            rc = qg_tmpl_render(tmpl, vars, &out, &err);
        bool fired = qg_fault_fired();
        qg_fault_arm(-1);
        assert_int_equal(rc, fired ? QG_ERR_NOMEM : QG_OK);
        qg_rendered_free(&out);
        qg_tmpl_close(tmpl);
        assert_int_equal(qg_live_blocks(), before);
        if (!fired)
            break;
    }
    json_decref(vars);
}

typedef struct shared_work {
    const qg_tmpl *tmpl;
    const json_t *vars;
    const char *expected;
    int wrong;
} shared_work;

static void *render_often(void *arg)
{
    shared_work *w = arg;
    for (int i = 0; i < 200; i++) {
        qg_rendered out = {0};
        if (qg_tmpl_render(w->tmpl, w->vars, &out, NULL) || strcmp(out.text.p, w->expected))
            w->wrong++;
        qg_rendered_free(&out);
    }
    return NULL;
}

static void threads_share_a_template(void **state)
{
    qg_tmpl *tmpl;
    qg_err err;
    qg_rendered out = {0};
    json_t *vars = vars_of(people);
    pthread_t thread[4];
    shared_work work[4];
    (void)state;
    assert_int_equal(qg_tmpl_open(&tmpl, qg_str(busy), &err), QG_OK);
    assert_int_equal(qg_tmpl_render(tmpl, vars, &out, &err), QG_OK);
    for (int i = 0; i < 4; i++) {
        work[i] = (shared_work){tmpl, vars, out.text.p, 0};
        assert_int_equal(pthread_create(&thread[i], NULL, render_often, &work[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(thread[i], NULL);
        assert_int_equal(work[i].wrong, 0);
    }
    qg_rendered_free(&out);
    qg_tmpl_close(tmpl);
    json_decref(vars);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_knows_where_it_came_from),
        cmocka_unit_test(unknown_constructs_are_named_with_their_line),
        cmocka_unit_test(failures_have_a_code_and_a_sentence),
        cmocka_unit_test(nesting_is_bounded_when_parsing),
        cmocka_unit_test(long_chains_are_not_nesting),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(threads_share_a_template),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
