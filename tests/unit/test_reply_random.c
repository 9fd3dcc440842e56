/* Random replies in random pieces, with verdicts that come in any order and faults on the way.
 * Whatever happens:
 *   1  no byte of a text leaves before the rule allows it (counted here once more, from what the
 *      judge has said), and no text leaves that holds a forbidden word;
 *   2  what leaves is the upstream's own events, byte for byte, then at most one whose texts are
 *      beginnings of its own, then an end that the protocol knows;
 *   3  without a hit or a fault, everything leaves unchanged;
 *   4  in shadow mode, always. */
#include "unit.h"

#include "base/mem.h"
#include "gateway/reply_int.h"
#include "gateway_gen.h"
#include "gateway_rig.h"
#include "text/json.h"
#include "text/utf8.h"

enum { HOLD = 3, PENDING = 16 };

static const char *const policies[] = {
    "",
    "cut: sentence\n",
    "cut: reply\nmessage: Sorry.\n",
    "message: Sorry.\n",
    "rules:\n  - {contains: xyzzy, severity: Unsafe, category: Violent}\n",
    "on_error: open\n",
    "severities: {Unsafe: {action: flag}}\n",
};

typedef struct pending {
    uint32_t lane;
    rig_result result;
    bool gone, failed;
} pending;

typedef struct trial {
    gen g;
    qg_policy *policies[COUNT(policies)];
    size_t policy;
    qg_reply *reply;
    rig_judge judge;
    pending waits[PENDING];
    size_t n_waits;
    uint64_t allowed[RIG_LANES]; /* code points of the lane that may leave */
    uint64_t cps_out[RIG_LANES];
    qg_buf texts[RIG_LANES], released[RIG_LANES]; /* of lanes */
    qg_buf out;
    bool faults, judge_fails, shadow;
    size_t fed; /* bytes of the upstream before it broke off */
} trial;

static size_t count_cps(qg_slice s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xC0) != 0x80;
    return n;
}

/* ---- what the rule allows, from what the judge says ------------------------------------------ */

static void watch(void *ud, uint32_t lane, bool released, qg_slice text)
{
    trial *t = ud;
    if (lane >= RIG_LANES)
        return;
    qg_buf *b = released ? &t->released[lane] : &t->texts[lane];
    assert_int_equal(qg_buf_add(b, text.p, text.n), QG_OK);
    if (!released)
        return;
    t->cps_out[lane] += count_cps(text);
    if (!t->shadow && !(t->policy == 5 && t->judge_fails))
        assert_true(t->cps_out[lane] <= t->allowed[lane]);
    if (t->policy == 4 && !t->shadow)
        assert_null(strstr(b->p, "xyzzy"));
}

/* The judge has said this about a session that began at code point `from` of the lane. */
static void allow(trial *t, uint32_t lane, uint64_t from, const rig_session *s)
{
    size_t at = 0, n_tokens = 0, n_all;
    uint64_t begins[4096], n_cps = 0;
    bool previous = false, ahead = false; /* ahead: there is a token that is not final */
    uint64_t bound = 0;
    for (; at < s->n && n_tokens < COUNT(begins); n_tokens++) {
        size_t start = at, k = 0;
        begins[n_tokens] = from + n_cps;
        for (; k < RIG_TOKEN && at < s->n; k++, n_cps++)
            for (at++; at < s->n && ((unsigned char)s->text[at] & 0xC0) == 0x80;)
                at++;
        bool hit = memchr(s->text + start, '#', at - start) != NULL;
        if (hit && previous && n_tokens < s->n_final && t->policy != 6)
            break; /* blocked: nothing from the first of the two on, whatever comes */
        previous = hit;
        ahead |= n_tokens == s->n_final;
    }
    n_all = n_tokens < s->n_final ? n_tokens + 1 : s->n_final;
    if (s->ended && n_tokens >= s->n_final)
        bound = from + n_cps;
    else if (n_all + ahead > HOLD)
        bound = begins[n_all + ahead - HOLD];
    if (bound > t->allowed[lane])
        t->allowed[lane] = bound;
}

/* ---- one trial ------------------------------------------------------------------------------- */

static void deliver(trial *t)
{
    size_t i = gen_random(&t->g, (uint32_t)t->n_waits);
    pending p = t->waits[i];
    t->waits[i] = t->waits[--t->n_waits];
    qg_lane *l = t->reply->lanes[p.lane];
    if (p.gone) {
        qg_reply_judge_failed(t->reply, p.lane, QG_ERR_GONE, NULL);
    } else if (p.failed) {
        t->judge_fails = true;
        qg_reply_judge_failed(t->reply, p.lane, QG_ERR_BUSY, "busy");
    } else {
        allow(t, p.lane, l->segment, &t->judge.at[p.lane]);
        qg_reply_judged(t->reply, p.lane, &p.result.r);
    }
    rig_result_free(&p.result);
}

static void ask(trial *t)
{
    qg_reply_ask a;
    while (t->n_waits < PENDING && qg_reply_ask_next(t->reply, &a)) {
        assert_true(a.lane < RIG_LANES);
        pending p = {.lane = a.lane};
        p.gone = t->faults && !gen_random(&t->g, 30);
        p.failed = t->faults && !p.gone && !gen_random(&t->g, 60);
        assert_true(qg_utf8_valid(a.text));
        rig_judge_say(&t->judge, &a, &p.result);
        t->waits[t->n_waits++] = p;
    }
}

static void take(trial *t)
{
    qg_slice out = qg_reply_output(t->reply);
    size_t n = out.n ? 1 + gen_random(&t->g, (uint32_t)out.n) : 0;
    assert_int_equal(qg_buf_add(&t->out, out.p, n), QG_OK);
    qg_reply_took(t->reply, n);
}

static void run(trial *t)
{
    size_t n = t->g.text.n;
    if (t->faults && !gen_random(&t->g, 4))
        n = gen_random(&t->g, (uint32_t)n); /* the upstream breaks off */
    t->fed = n;
    for (size_t at = 0; at < n;) {
        size_t step = 1 + gen_random(&t->g, gen_random(&t->g, 3) ? 40 : 2000);
        if (step > n - at)
            step = n - at;
        qg_reply_feed(t->reply, qg_slice_of(t->g.text.p + at, step));
        at += step;
        ask(t);
        while (t->n_waits && gen_random(&t->g, 3))
            deliver(t);
        take(t);
    }
    qg_reply_end(t->reply);
    for (;;) {
        ask(t);
        if (!t->n_waits)
            break;
        deliver(t);
        take(t);
    }
    if (!qg_reply_state_of(t->reply).done) /* so that a debugger stops here */
        abort();
    while (qg_reply_output(t->reply).n)
        take(t);
}

/* ---- what left ------------------------------------------------------------------------------- */

/* Events of the output from `at` on, as JSON; NULL at the end.  "[DONE]" is a string. */
static json_t *next_event(const char **at)
{
    const char *data = strstr(*at, "data:");
    json_t *tree = NULL;
    qg_err err = {""};
    if (!data)
        return NULL;
    const char *end = strstr(data, "\n\n"), *crlf = strstr(data, "\r\n\r\n");
    if (crlf && (!end || crlf < end))
        end = crlf;
    assert_non_null(end);
    *at = end + 2;
    data += 5;
    if (*data == ' ')
        data++;
    if (strncmp(data, "[DONE]", 6) == 0)
        return json_string("[DONE]");
    if (qg_json_parse(qg_slice_of(data, (size_t)(end - data)), 0, &tree, &err) != QG_OK)
        print_error("%s: %.*s\n", err.msg, (int)(end - data), data);
    assert_non_null(tree);
    return tree;
}

static const char *type_of(const json_t *event)
{
    const char *type = json_string_value(json_object_get(event, "type"));
    return type ? type : "";
}

/* The whole output is a stream that its protocol knows, and ends as a filtered one. */
static void check_end_chat(const char *out)
{
    bool done = false, filtered = false;
    json_t *e;
    while ((e = next_event(&out))) {
        assert_false(done);
        done = json_is_string(e);
        json_t *choice = json_array_get(json_object_get(e, "choices"), 0);
        const char *why = json_string_value(json_object_get(choice, "finish_reason"));
        filtered |= why && strcmp(why, "content_filter") == 0;
        json_decref(e);
    }
    assert_true(done && filtered);
}

static void check_end_anthropic(const char *out)
{
    int open = -1;
    bool begun = false, refused = false, stopped = false;
    json_t *e;
    while ((e = next_event(&out))) {
        const char *type = type_of(e);
        int index = (int)json_integer_value(json_object_get(e, "index"));
        assert_false(stopped);
        begun |= !strcmp(type, "message_start");
        assert_true(begun);
        if (!strcmp(type, "content_block_start")) {
            assert_int_equal(open, -1);
            open = index;
        } else if (!strncmp(type, "content_block_", 14)) {
            assert_int_equal(open, index);
            open = strcmp(type, "content_block_stop") ? open : -1;
        } else if (!strcmp(type, "message_delta")) {
            assert_int_equal(open, -1);
            json_t *why = json_object_get(json_object_get(e, "delta"), "stop_reason");
            refused = !strcmp(json_string_value(why), "refusal");
        }
        stopped = !strcmp(type, "message_stop");
        json_decref(e);
    }
    assert_true(refused && stopped);
}

static void check_end_responses(const char *out)
{
    int open = 0;
    bool incomplete = false, begun = false;
    json_t *e;
    while ((e = next_event(&out))) {
        const char *type = type_of(e);
        assert_false(incomplete);
        begun |= !strcmp(type, "response.created");
        assert_true(begun);
        open += !strcmp(type, "response.output_item.added");
        open -= !strcmp(type, "response.output_item.done");
        incomplete = !strcmp(type, "response.incomplete");
        json_decref(e);
    }
    assert_true(incomplete && open == 0);
}

static void check_end(qg_proto proto, const char *out)
{
    if (proto == QG_PROTO_ANTHROPIC)
        check_end_anthropic(out);
    else if (proto == QG_PROTO_RESPONSES)
        check_end_responses(out);
    else
        check_end_chat(out);
}

/* b says what a says, but that some of its texts are only begun. */
static bool begins_as(const json_t *a, const json_t *b)
{
    if (json_is_string(a) && json_is_string(b)) {
        size_t n = json_string_length(b);
        return n <= json_string_length(a) && !memcmp(json_string_value(a), json_string_value(b), n);
    }
    if (json_is_string(a) && json_is_null(b))
        return true; /* a finish reason */
    if (json_typeof(a) != json_typeof(b))
        return false;
    if (json_is_array(a)) {
        if (json_array_size(a) != json_array_size(b))
            return false;
        for (size_t i = 0; i < json_array_size(a); i++)
            if (!begins_as(json_array_get(a, i), json_array_get(b, i)))
                return false;
        return true;
    }
    if (!json_is_object(a))
        return json_equal(a, b);
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)a, key, value)
        if (!json_object_get(b, key) || !begins_as(value, json_object_get(b, key)))
            return false;
    return json_object_size(a) == json_object_size(b);
}

/* The events of the upstream that left, then the rest of the output. */
static const char *check_events(trial *t, const char *out, qg_slice *next)
{
    size_t i = 0;
    for (; i < t->g.n; i++) {
        qg_slice e = gen_event(&t->g, i);
        if (strncmp(out, e.p, e.n) != 0)
            break;
        out += e.n;
    }
    *next = i < t->g.n ? gen_event(&t->g, i) : qg_slice_of("", 0);
    return i < t->g.n ? out : out + strlen(out);
}

static bool says_sorry(const json_t *text)
{
    size_t n = json_string_length(text);
    return !text || !n || (n >= 6 && !strcmp(json_string_value(text) + n - 6, "Sorry."));
}

/* An event of the gateway's own: no text but the policy's. */
static bool own(const json_t *e)
{
    const json_t *choice = json_array_get(json_object_get(e, "choices"), 0);
    const json_t *delta = json_object_get(e, "delta");
    return says_sorry(json_object_get(json_object_get(choice, "delta"), "content")) &&
           says_sorry(json_object_get(choice, "text")) &&
           (json_is_string(delta) ? says_sorry(delta)
                                  : says_sorry(json_object_get(delta, "text")) &&
                                        !json_object_get(delta, "thinking") &&
                                        !json_object_get(delta, "partial_json"));
}

/* The event behind the last whole one. */
static void check_part(const char *rest, qg_slice of)
{
    char *text = qg_memdup0(of.p, of.n);
    const char *at = text;
    json_t *a = next_event(&at), *b = next_event(&rest);
    assert_true((a && begins_as(a, b)) || own(b));
    json_decref(a);
    json_decref(b);
    qg_mfree(text);
}

/* Behind them, an event of the upstream's with shorter texts, or the gateway's own.  Its own are
 * not a beginning of the upstream's next one unless they say nothing. */
static void check_output(trial *t, qg_reply_state s)
{
    const char *out = qg_buf_slice(&t->out).p;
    bool annotated = t->policy == 6 && strstr(out, "content_filter_results");
    if (t->shadow || (s.outcome == QG_REPLY_PASSED && !annotated)) {
        if (t->shadow)
            assert_true(strncmp(out, t->g.text.p, strlen(out)) == 0);
        else
            assert_true(strlen(out) == t->fed && memcmp(out, t->g.text.p, t->fed) == 0);
        return;
    }
    if (annotated)
        return;
    qg_slice next;
    const char *rest = check_events(t, out, &next);
    assert_true(*rest);
    if (s.event_stream)
        check_part(rest, next);
    if (s.outcome == QG_REPLY_CUT)
        check_end(t->g.proto, out);
    else if (s.event_stream)
        assert_non_null(strstr(rest, "error"));
    else
        assert_true(rest == out && *out == '{' && s.http >= 500);
}

/* Lane by lane: what left is how the text began. */
static void check_texts(trial *t)
{
    for (int i = 0; i < RIG_LANES; i++) {
        qg_slice sent = qg_buf_slice(&t->texts[i]), left = qg_buf_slice(&t->released[i]);
        assert_true(left.n <= sent.n && memcmp(sent.p, left.p, left.n) == 0);
    }
}

/* The texts in the output are those that left (chat: nothing is said twice there). */
static size_t text_bytes(const json_t *value)
{
    size_t n = json_is_string(value) ? json_string_length(value) : 0;
    const char *key;
    json_t *item;
    size_t i;
    json_object_foreach ((json_t *)value, key, item)
        n += strcmp(key, "role") && strcmp(key, "id") ? text_bytes(item) : 0;
    json_array_foreach (value, i, item)
        n += text_bytes(item);
    return n;
}

static void check_sizes(trial *t, qg_reply_state s)
{
    const char *out = qg_buf_slice(&t->out).p;
    size_t n = 0;
    json_t *e;
    if (t->g.proto != QG_PROTO_CHAT || !s.event_stream || t->shadow)
        return;
    while ((e = next_event(&out))) {
        json_t *choice = json_array_get(json_object_get(e, "choices"), 0);
        n += text_bytes(json_object_get(choice, "delta"));
        json_decref(e);
    }
    uint64_t left = qg_reply_counts_of(t->reply).text_out;
    bool message = s.outcome == QG_REPLY_CUT && (t->policy == 2 || t->policy == 3);
    assert_true(message ? n == left + 6 || n == left + 8 : n == left);
}

static void one(trial *t, uint64_t number)
{
    qg_reply_options opt;
    qg_policy_view view;
    t->g.seed = number * 0x9E3779B97F4A7C15u + 1;
    t->g.proto = (qg_proto)(number % QG_N_PROTOS);
    t->g.hits = gen_random(&t->g, 3) ? 4 : 0;
    gen_reply(&t->g);
    t->policy = gen_random(&t->g, COUNT(policies));
    t->faults = !gen_random(&t->g, 4);
    t->shadow = !gen_random(&t->g, 10);
    t->judge_fails = false;
    qg_policy_view_of(t->policies[t->policy], qg_str(""), qg_str(""), &view);
    view.shadow = t->shadow;
    qg_reply_options_init(&opt);
    opt.proto = t->g.proto;
    opt.view = &view;
    opt.rules = qg_policy_rules(t->policies[t->policy]);
    opt.gated = !gen_random(&t->g, 8);
    assert_int_equal(qg_reply_open(&t->reply, &opt, NULL), QG_OK);
    qg_reply_watch(t->reply, watch, t);
    rig_judge_init(&t->judge);
    t->out.n = 0;
    assert_int_equal(qg_buf_adds(&t->out, ""), QG_OK);
    for (int i = 0; i < RIG_LANES; i++) {
        t->allowed[i] = t->cps_out[i] = 0;
        t->texts[i].n = t->released[i].n = 0;
    }
    if (opt.gated)
        qg_reply_admit(t->reply);
    run(t);
    qg_reply_state s = qg_reply_state_of(t->reply);
    check_texts(t);
    check_output(t, s);
    check_sizes(t, s);
    if (!t->faults)
        assert_true(s.outcome == QG_REPLY_PASSED || s.outcome == QG_REPLY_CUT);
    qg_reply_close(t->reply);
    rig_judge_free(&t->judge);
}

static void random_replies_keep_the_promises(void **state)
{
    (void)state;
    static trial t;
    const char *n = getenv("QGUARD_TRIALS");
    uint64_t trials = n ? strtoull(n, NULL, 10) : 8000, cut = 0;
    const char *only = getenv("QGUARD_TRIAL");
    qg_buf_init(&t.g.text, 1u << 26);
    qg_buf_init(&t.out, 1u << 26);
    for (int i = 0; i < RIG_LANES; i++) {
        qg_buf_init(&t.texts[i], 1u << 24);
        qg_buf_init(&t.released[i], 1u << 24);
    }
    for (size_t i = 0; i < COUNT(policies); i++) {
        char text[512];
        snprintf(text, sizeof text, "version: 1\nhold_back_tokens: %d\n%s", HOLD, policies[i]);
        assert_int_equal(qg_policy_parse(&t.policies[i], qg_str(text), "p", NULL), QG_OK);
    }
    for (uint64_t i = only ? strtoull(only, NULL, 10) : 0; i < trials; i++) {
        if (getenv("QGUARD_VERBOSE"))
            print_error("trial %llu\n", (unsigned long long)i);
        one(&t, i);
        cut += strstr(qg_buf_slice(&t.out).p, "\"filtered\":true") != NULL;
        if (only)
            break;
    }
    print_message("%llu replies, %llu cut\n", (unsigned long long)trials, (unsigned long long)cut);
    for (size_t i = 0; i < COUNT(policies); i++)
        qg_policy_unref(t.policies[i]);
    for (int i = 0; i < RIG_LANES; i++) {
        qg_buf_free(&t.texts[i]);
        qg_buf_free(&t.released[i]);
    }
    qg_buf_free(&t.g.text);
    qg_buf_free(&t.out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_replies_keep_the_promises)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
