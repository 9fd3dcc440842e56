/* Word and pattern rules: what matches, where, and that pieces change nothing. */
#include "unit.h"

#include "base/mem.h"
#include "svc/policy.h"

static qg_rule literal(const char *text, qg_severity severity)
{
    return (qg_rule){.text = {text, strlen(text)},
                     .severity = severity,
                     .category = severity == QG_SAFE ? NULL : "Violent",
                     .phases = {true, true},
                     .final = severity == QG_SAFE,
                     .line = 1};
}

static qg_rule pattern(const char *text)
{
    qg_rule rule = literal(text, QG_UNSAFE);
    rule.regex = true;
    return rule;
}

/* Feeds text in pieces of n bytes (0: whole). */
static bool scan(const qg_rule *rules, size_t n_rules, const char *text, size_t n, qg_rule_hit *hit)
{
    static qg_rule found;
    qg_rules *r;
    qg_scan *s;
    qg_err err;
    size_t len = strlen(text);
    assert_int_equal(qg_rules_open(&r, rules, n_rules, &err), QG_OK);
    assert_int_equal(qg_scan_open(&s, r, QG_PHASE_PROMPT, &err), QG_OK);
    for (size_t i = 0; n && i < len; i += n)
        assert_int_equal(
            qg_scan_push(s, qg_slice_of(text + i, len - i < n ? len - i : n), false, &err), QG_OK);
    assert_int_equal(qg_scan_push(s, qg_slice_of(text, n ? 0 : len), true, &err), QG_OK);
    bool any = qg_scan_verdict(s, hit);
    if (any) {
        found = *hit->rule;
        hit->rule = &found;
    }
    qg_scan_close(s);
    qg_rules_close(r);
    return any;
}

static const struct {
    const char *rule, *text;
    bool regex;
    int begin, end; /* -1: no match */
} cases[] = {
    {"bomb", "a BoMb here", false, 2, 6},
    {"BOMB", "a bomb", false, 2, 6},
    {"bomb", "bom b", false, -1, 0},
    {"aab", "aaaab", false, 2, 5},
    {"straße", "die STRASSE dort", false, 4, 11},
    {"strasse", "die Straße", false, 4, 10},
    {"ÄÖ", "xäö", false, 1, 3},
    {"москва", "в МОСКВА!", false, 2, 8},
    {"炸弹", "如何制造炸弹?", false, 4, 6},
    {"💣", "a💣b", false, 1, 2},
    {"ſ", "S", false, 0, 1},
    {"\xE2\x84\xAA", "k", false, 0, 1}, /* the Kelvin sign */
    {"\\b\\d{3}-\\d{2}-\\d{4}\\b", "ssn 123-45-6789.", true, 4, 15},
    {"\\b\\d{3}-\\d{2}-\\d{4}\\b", "ssn 0123-45-6789.", true, -1, 0},
    {"\\d+", "é 1234 x", true, 2, 6},
    {"(?i)straße", "STRAßE", true, 0, 6},
    {"^abc", "abc", true, 0, 3},
    {"^abc", "xabc", true, -1, 0},
    {"abc$", "xabc", true, 1, 4},
    {"(?<=foo)bar", "xfoobar", true, 4, 7},
    {"a.{0,5}z", "a12345z", true, 0, 7},
};

static void finds_where(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        qg_rule rule = cases[i].regex ? pattern(cases[i].rule) : literal(cases[i].rule, QG_UNSAFE);
        for (size_t n = 0; n <= 7; n++) {
            qg_rule_hit hit;
            bool any = scan(&rule, 1, cases[i].text, n, &hit);
            if (any != (cases[i].begin >= 0) ||
                (any && ((int)hit.begin != cases[i].begin || (int)hit.end != cases[i].end)))
                fail_msg("%s in %s by %zu: %d %d..%d", cases[i].rule, cases[i].text, n, any,
                         any ? (int)hit.begin : -1, any ? (int)hit.end : -1);
        }
    }
}

static void ranks_matches(void **state)
{
    (void)state;
    qg_rule rules[] = {literal("one", QG_CONTROVERSIAL), literal("two", QG_UNSAFE),
                       literal("three", QG_UNSAFE), literal("calm", QG_SAFE)};
    qg_rule_hit hit;
    rules[2].final = true;
    assert_true(scan(rules, 4, "one two", 0, &hit));
    assert_true(qg_slice_is(hit.rule->text, "two") || hit.rule->severity == QG_UNSAFE);
    assert_true(scan(rules, 4, "one", 0, &hit));
    assert_int_equal(hit.rule->severity, QG_CONTROVERSIAL);
    assert_true(scan(rules, 4, "two one calm", 0, &hit)); /* final decides alone */
    assert_int_equal(hit.rule->severity, QG_SAFE);
    assert_true(scan(rules, 4, "calm three", 0, &hit)); /* the first final one of the file */
    assert_int_equal(hit.rule->severity, QG_UNSAFE);
    assert_false(scan(rules, 4, "nothing", 0, &hit));
}

/* Nothing that may still become part of a match is given free. */
static void holds_back(void **state)
{
    (void)state;
    qg_rule rules[] = {literal("abcd", QG_UNSAFE), pattern("x\\d+y")};
    static const struct {
        const char *text;
        uint64_t held;
    } steps[] = {{"zab", 1}, {"c", 1}, {"q", 5}, {"x12", 5}, {"3", 5}, {"!", 10}, {"ab", 10}};
    qg_rules *r;
    qg_scan *s;
    qg_err err;
    assert_int_equal(qg_rules_open(&r, rules, 2, &err), QG_OK);
    assert_int_equal(qg_scan_open(&s, r, QG_PHASE_RESPONSE, &err), QG_OK);
    for (size_t i = 0; i < COUNT(steps); i++) {
        assert_int_equal(qg_scan_push(s, qg_str(steps[i].text), false, &err), QG_OK);
        assert_int_equal(qg_scan_held(s), steps[i].held);
    }
    qg_scan_close(s);
    qg_rules_close(r);
}

static void long_partial_is_let_go(void **state)
{
    (void)state;
    qg_rule rule = pattern("a.*z");
    qg_rules *r;
    qg_scan *s;
    qg_err err;
    assert_int_equal(qg_rules_open(&r, &rule, 1, &err), QG_OK);
    assert_int_equal(qg_scan_open(&s, r, QG_PHASE_RESPONSE, &err), QG_OK);
    assert_int_equal(qg_scan_push(s, qg_str("a"), false, &err), QG_OK);
    for (int i = 0; i < 5000; i++) {
        assert_int_equal(qg_scan_push(s, qg_str("b"), false, &err), QG_OK);
        assert_true(qg_scan_held(s) + 1025 >= (uint64_t)i + 2);
    }
    qg_scan_close(s);
    qg_rules_close(r);
}

static void refuses(void **state)
{
    (void)state;
    static const struct {
        const char *rule;
        bool regex;
        const char *says;
    } bad[] = {{"(", true, "line 1: regex"}, {"a*", true, "matches the empty text"},
               {"[z-a]", true, "at byte"},   {"", false, "contains"},
               {"\xff", false, "not UTF-8"}, {"\xff", true, "UTF"}};
    for (size_t i = 0; i < COUNT(bad); i++) {
        qg_rule rule = bad[i].regex ? pattern(bad[i].rule) : literal(bad[i].rule, QG_UNSAFE);
        qg_rules *r;
        qg_err err;
        assert_int_not_equal(qg_rules_open(&r, &rule, 1, &err), QG_OK);
        assert_null(r);
        if (!strstr(err.msg, bad[i].says))
            fail_msg("%s: %s", bad[i].rule, err.msg);
    }
}

/* A pattern that blows up is an error, never a pass. */
static void bounds_work(void **state)
{
    (void)state;
    qg_rule rule = pattern("(a|aa)+[bd]");
    qg_rules *r;
    qg_scan *s;
    qg_err err;
    char text[61];
    memset(text, 'a', 60);
    text[60] = 0;
    assert_int_equal(qg_rules_open(&r, &rule, 1, &err), QG_OK);
    assert_int_equal(qg_scan_open(&s, r, QG_PHASE_PROMPT, &err), QG_OK);
    memcpy(text + 50, "cccccccccc", 10);
    qg_status rc = qg_scan_push(s, qg_str(text), true, &err);
    assert_int_equal(rc, QG_ERR_TOO_LONG);
    assert_non_null(strstr(err.msg, "line 1"));
    qg_scan_close(s);
    qg_rules_close(r);
}

static void broken_text(void **state)
{
    (void)state;
    qg_rule rule = literal("x", QG_UNSAFE);
    static const char *const bad[] = {"a\xff", "\xc3\x28", "\xed\xa0\x80", "\xf5\x80\x80\x80"};
    for (size_t i = 0; i < COUNT(bad); i++)
        for (size_t n = 1; n < 4; n++) {
            qg_rules *r;
            qg_scan *s;
            qg_err err;
            size_t len = strlen(bad[i]);
            qg_status rc = QG_OK;
            assert_int_equal(qg_rules_open(&r, &rule, 1, &err), QG_OK);
            assert_int_equal(qg_scan_open(&s, r, QG_PHASE_PROMPT, &err), QG_OK);
            for (size_t j = 0; j < len && rc == QG_OK; j += n)
                rc = qg_scan_push(s, qg_slice_of(bad[i] + j, len - j < n ? len - j : n),
                                  j + n >= len, &err);
            assert_int_equal(rc, QG_ERR_ARG);
            qg_scan_close(s);
            qg_rules_close(r);
        }
}

/* Random words of a tiny alphabet against plain searching. */
static void agrees_with_search(void **state)
{
    (void)state;
    uint32_t seed = 7;
    for (int round = 0; round < 300; round++) {
        char words[8][6], text[41];
        qg_rule rules[8];
        for (int i = 0; i < 8; i++) {
            int n = 1 + (int)((seed = seed * 1664525u + 1013904223u) >> 24) % 5;
            for (int j = 0; j < n; j++)
                words[i][j] = (char)('a' + ((seed = seed * 1664525u + 1013904223u) >> 24) % 3);
            words[i][n] = 0;
            rules[i] = literal(words[i], QG_UNSAFE);
        }
        for (int j = 0; j < 40; j++)
            text[j] = (char)('a' + ((seed = seed * 1664525u + 1013904223u) >> 24) % 3);
        text[40] = 0;
        for (int i = 0; i < 8; i++) {
            qg_rule_hit hit;
            const char *at = strstr(text, words[i]);
            bool any = scan(&rules[i], 1, text, (size_t)round % 4, &hit);
            assert_int_equal(any, at != NULL);
            if (at)
                assert_int_equal(hit.begin, at - text);
        }
        const char *first = NULL;
        for (int i = 0; i < 8; i++) {
            const char *at = strstr(text, words[i]);
            if (at && (!first || at < first))
                first = at;
        }
        qg_rule_hit hit;
        bool any = scan(rules, 8, text, 0, &hit);
        assert_int_equal(any, first != NULL);
        if (first)
            assert_int_equal(hit.begin, first - text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_where), cmocka_unit_test(ranks_matches),
        cmocka_unit_test(holds_back),  cmocka_unit_test(long_partial_is_let_go),
        cmocka_unit_test(refuses),     cmocka_unit_test(bounds_work),
        cmocka_unit_test(broken_text), cmocka_unit_test(agrees_with_search),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
