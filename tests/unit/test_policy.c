/* The policy file: what each key means, and that every mistake is told with its line. */
#include "unit.h"

#include "base/mem.h"
#include "svc/policy.h"

static qg_policy *parse(const char *text)
{
    qg_policy *policy;
    qg_err err;
    if (qg_policy_parse(&policy, qg_str(text), "p.yaml", &err) != QG_OK)
        fail_msg("%s", err.msg);
    return policy;
}

static qg_policy_view view(const qg_policy *policy, const char *key, const char *model)
{
    qg_policy_view v;
    qg_policy_view_of(policy, qg_str(key), qg_str(model), &v);
    return v;
}

static void defaults(void **state)
{
    (void)state;
    qg_policy *policy;
    qg_err err;
    assert_int_equal(qg_policy_default(&policy, &err), QG_OK);
    qg_policy_view v = view(policy, "", "");
    assert_false(v.thresholds.loose);
    assert_true(v.thresholds.unsafe == 0);
    assert_false(v.open[QG_PHASE_PROMPT] || v.open[QG_PHASE_RESPONSE] || v.shadow);
    assert_int_equal(v.roles, QG_ROLE_ALL);
    assert_int_equal(qg_policy_action(&v, QG_CONTROVERSIAL, "PII"), QG_ACTION_BLOCK);
    assert_true(*v.message);
    assert_int_equal(qg_rules_n(qg_policy_rules(policy), QG_PHASE_PROMPT), 0);
    qg_policy_unref(policy);
}

static const char whole[] =
    "version: 1\n"
    "mode: strict\n"
    "on_error: {prompt: closed, response: open}\n"
    "thresholds: {unsafe: 0.5}\n"
    "severities:\n"
    "  Controversial: {action: flag}\n"
    "categories:\n"
    "  Politically Sensitive Topics: {action: allow}\n"
    "  Jailbreak: {threshold: 0.3, action: block}\n"
    "message: \"This content was blocked.\"\n"
    "hold_back_tokens: 4\n"
    "scope: last_turn\n"
    "roles: [user, assistant]\n"
    "deadline_ms: 250\n"
    "long_input: windows\n"
    "prompt_block: message\n"
    "rules:\n"
    "  - {contains: \"bomb\", severity: Unsafe, category: Violent}\n"
    "  - {regex: \"\\\\b\\\\d{3}-\\\\d{2}-\\\\d{4}\\\\b\", severity: Unsafe, category: PII, in: "
    "[prompt, response]}\n"
    "  - {contains: \"as a large language model\", severity: Safe, final: true, in: [response]}\n"
    "keys:\n"
    "  team-a: {mode: loose, message: hello}\n"
    "models:\n"
    "  big: {mode: strict, shadow: true, categories: {Jailbreak: {action: flag}}}\n";

static void reads_every_key(void **state)
{
    (void)state;
    qg_policy *policy = parse(whole);
    qg_policy_view v = view(policy, "nobody", "none");
    assert_false(v.thresholds.loose);
    assert_true(v.thresholds.unsafe == 0.5);
    assert_true(!v.open[QG_PHASE_PROMPT] && v.open[QG_PHASE_RESPONSE]);
    assert_int_equal(qg_policy_action(&v, QG_CONTROVERSIAL, "PII"), QG_ACTION_FLAG);
    assert_int_equal(qg_policy_action(&v, QG_UNSAFE, "PII"), QG_ACTION_BLOCK);
    assert_int_equal(qg_policy_action(&v, QG_UNSAFE, "Politically Sensitive Topics"),
                     QG_ACTION_ALLOW);
    assert_int_equal(qg_policy_action(&v, QG_CONTROVERSIAL, "Jailbreak"), QG_ACTION_BLOCK);
    assert_true(v.thresholds.category[qg_policy_category("Jailbreak")] == 0.3);
    assert_true(v.thresholds.category[qg_policy_category("Violent")] == 0);
    assert_string_equal(v.message, "This content was blocked.");
    assert_int_equal(v.hold_back_tokens, 4);
    assert_int_equal(v.scope, QG_SCOPE_LAST_TURN);
    assert_int_equal(v.roles, QG_ROLE_USER | QG_ROLE_ASSISTANT);
    assert_int_equal(v.deadline_ms[QG_PHASE_PROMPT], 250);
    assert_int_equal(v.deadline_ms[QG_PHASE_RESPONSE], 250);
    assert_true(v.long_input_windows && v.prompt_block_message && !v.shadow);
    assert_int_equal(qg_rules_n(qg_policy_rules(policy), QG_PHASE_PROMPT), 2);
    assert_int_equal(qg_rules_n(qg_policy_rules(policy), QG_PHASE_RESPONSE), 3);
    assert_int_equal(strlen(qg_policy_hash(policy)), 64);
    qg_policy_unref(policy);
}

static void overrides_change_what_they_name(void **state)
{
    (void)state;
    qg_policy *policy = parse(whole);
    qg_policy_view v = view(policy, "team-a", "");
    assert_true(v.thresholds.loose);
    assert_true(v.thresholds.unsafe == 0.5);
    assert_string_equal(v.message, "hello");
    v = view(policy, "team-a", "big"); /* the key has the last word */
    assert_true(v.thresholds.loose && v.shadow);
    assert_int_equal(qg_policy_action(&v, QG_UNSAFE, "Jailbreak"), QG_ACTION_FLAG);
    assert_true(v.thresholds.category[qg_policy_category("Jailbreak")] == 0.3);
    v = view(policy, "", "big");
    assert_true(!v.thresholds.loose && v.shadow);
    qg_policy_unref(policy);
}

static const struct {
    const char *text, *says;
} mistakes[] = {
    {"", "line 1: the file is empty"},
    {"mode: strict\n", "version: 1 is missing"},
    {"version: 2\n", "p.yaml: line 1: version: version 2 is not known"},
    {"version: one\n", "expected a whole number"},
    {"version: \"1\"\n", "expected a whole number"},
    {"version: 1\nmode: lax\n", "line 2: mode: expected one of: strict, loose"},
    {"version: 1\nmode: [strict]\n", "line 2: mode"},
    {"version: 1\n\nmood: strict\n", "line 3: mood: unknown key; known here: mode"},
    {"version: 1\nversion: 1\n", "line 2: version: given twice"},
    {"version: 1\nthresholds: {unsafe: 1.5}\n", "line 2: thresholds.unsafe: expected 1e-06 to 1"},
    {"version: 1\nthresholds: {unsafe: 0}\n", "thresholds.unsafe"},
    {"version: 1\nthresholds: {unsafe: .nan}\n", "expected a number"},
    {"version: 1\nthresholds: {safe: 0.5}\n", "thresholds.safe: unknown key"},
    {"version: 1\ncategories:\n  Violence: {action: flag}\n",
     "line 3: categories.Violence: unknown category"},
    {"version: 1\ncategories:\n  PII: {action: stop}\n",
     "line 3: categories.PII.action: expected one of: allow, flag, block"},
    {"version: 1\ncategories:\n  PII: flag\n", "line 3: categories.PII: expected keys and values"},
    {"version: 1\non_error: ajar\n", "expected one of: closed, open"},
    {"version: 1\non_error: {prompt: closed, reply: open}\n", "on_error.reply: unknown key"},
    {"version: 1\nhold_back_tokens: 1\n", "expected 2 to 64"},
    {"version: 1\nhold_back_tokens: 2.5\n", "whole number"},
    {"version: 1\nroles: []\n", "at least one role"},
    {"version: 1\nroles: [robot]\n", "roles: expected one of: user"},
    {"version: 1\nrules: {}\n", "expected a list of rules"},
    {"version: 1\nrules:\n  - {severity: Unsafe, category: PII}\n",
     "line 3: rules[0]: a rule needs contains or regex"},
    {"version: 1\nrules:\n  - {contains: a, regex: b, severity: Unsafe, category: PII}\n",
     "either contains or regex"},
    {"version: 1\nrules:\n  - {contains: a, category: PII}\n", "needs a severity"},
    {"version: 1\nrules:\n  - {contains: a, severity: Unsafe}\n", "needs a category"},
    {"version: 1\nrules:\n  - {contains: a, severity: Safe}\n", "unless it is final"},
    {"version: 1\nrules:\n  - {contains: a, severity: Unsafe, category: PII}\n  - {regex: \"(\", "
     "severity: Unsafe, category: PII}\n",
     "p.yaml: line 4: regex: missing closing parenthesis"},
    {"version: 1\nrules:\n  - {contains: \"\", severity: Unsafe, category: PII}\n",
     "line 3: contains: empty"},
    {"version: 1\nrules:\n  - {contains: a, severity: Unsafe, category: PII, in: []}\n", "in:"},
    {"version: 1\nkeys:\n  a: {rules: []}\n", "line 3: keys.a.rules: unknown key"},
    {"version: 1\nkeys:\n  a: {mode: loose}\n  a: {mode: loose}\n", "line 4: keys.a: given twice"},
    {"version: 1\nmode: \"strict\n", "p.yaml: line"},
    {"version: 1\n---\nversion: 1\n", "a second document"},
    {"version: 1\nmessage: \xff\n", "is not UTF-8"},
    {"- version\n", "expected keys and values"},
    {"? [a]\n: b\n", "a key must be a word"},
    {"version: &a 1\nkeys: &b\n  x: *b\n", "line 3: keys.x.x: unknown key"},
};

static void tells_mistakes(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(mistakes); i++) {
        qg_policy *policy;
        qg_err err;
        qg_status rc = qg_policy_parse(&policy, qg_str(mistakes[i].text), "p.yaml", &err);
        assert_int_not_equal(rc, QG_OK);
        assert_null(policy);
        if (!strstr(err.msg, mistakes[i].says))
            fail_msg("%s\nsays: %s\nnot: %s", mistakes[i].text, err.msg, mistakes[i].says);
    }
}

/* Aliases may not multiply into work without end. */
static void aliases_are_bounded(void **state)
{
    (void)state;
    char text[4096];
    size_t n = (size_t)snprintf(text, sizeof text, "version: 1\nroles: &r0 [user, user]\n");
    for (int i = 1; i < 40; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "x%d: &r%d [*r%d, *r%d]\n", i, i, i - 1,
                              i - 1);
    qg_policy *policy;
    qg_err err;
    assert_int_equal(qg_policy_parse(&policy, qg_slice_of(text, n), "p", &err), QG_ERR_FORMAT);
}

static void many_rules(void **state)
{
    (void)state;
    enum { N = 20000 };
    qg_err err;
    char *text = malloc(N * 64 + 64);
    size_t room = N * 64 + 64, n = (size_t)snprintf(text, room, "version: 1\nrules:\n");
    for (int i = 0; i < N; i++)
        n += (size_t)snprintf(text + n, room - n,
                              "- {contains: word%dx, severity: Unsafe, category: PII}\n", i);
    qg_policy *policy;
    assert_int_equal(qg_policy_parse(&policy, qg_slice_of(text, n), "p", &err), QG_OK);
    assert_int_equal(qg_rules_n(qg_policy_rules(policy), QG_PHASE_PROMPT), N);
    qg_scan *scan;
    qg_rule_hit hit;
    assert_int_equal(qg_scan_open(&scan, qg_policy_rules(policy), QG_PHASE_PROMPT, &err), QG_OK);
    assert_int_equal(qg_scan_push(scan, qg_str("word WORD19999X"), true, &err), QG_OK);
    assert_true(qg_scan_verdict(scan, &hit));
    assert_int_equal(hit.rule->line, N + 2);
    qg_scan_close(scan);
    qg_policy_unref(policy);
    free(text);
}

static void every_allocation_fails_once(void **state)
{
    (void)state;
    qg_fault_arm(0);
    void *probe = qg_malloc(1);
    if (probe) { /* a build without faults */
        qg_mfree(probe);
        qg_fault_arm(-1);
        print_message("every_allocation_fails_once: SKIPPED, needs a build with -Dfaults=true\n");
        skip();
    }
    int64_t live = qg_live_blocks();
    for (int64_t nth = 0;; nth++) {
        qg_policy *policy;
        qg_err err;
        qg_fault_arm(nth);
        qg_status rc = qg_policy_parse(&policy, qg_str(whole), "p", &err);
        bool fired = qg_fault_fired();
        qg_fault_arm(-1);
        if (rc == QG_OK)
            qg_policy_unref(policy);
        assert_int_equal(qg_live_blocks(), live);
        if (!fired) {
            assert_int_equal(rc, QG_OK);
            break;
        }
        assert_true(rc == QG_ERR_NOMEM || rc == QG_ERR_ARG);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(reads_every_key),
        cmocka_unit_test(overrides_change_what_they_name),
        cmocka_unit_test(tells_mistakes),
        cmocka_unit_test(aliases_are_bounded),
        cmocka_unit_test(many_rules),
        cmocka_unit_test(every_allocation_fails_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
