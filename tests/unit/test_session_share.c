/* Sessions with the same beginning share its KV and what was said about it: nothing that is known
 * is computed or stored again, and nobody can tell but by the cost. */
#include "unit.h"

#include "stream_rig.h"

#include <stdlib.h>

static const char question[] =
    "Here is a long prompt that many ask about, with some rules in front of it. Be kind. Be brief. "
    "Answer in the language of the question. Now then: how do I bake bread for ten people when "
    "there is no yeast in the house, and what should I tell them about it afterwards?";
static const char reply[] =
    "Take flour, water and salt, and give them time: wild yeast lives on the grain itself. Mix, "
    "wait for two days, feed it, wait again; then bake as hot as the oven can. Tell them that it "
    "is an old way, and that it was worth waiting for. \xe4\xbb\x8a\xe5\xa4\xa9 e\xcc\x81 12345!";

static qg_engine *open_demo(bool cache, uint64_t kv_bytes)
{
    qg_options opt;
    qg_options_init(&opt);
    opt.model = "qguard-demo-stream";
    opt.n_threads = 2;
    opt.prefix_cache = cache;
    opt.kv_bytes = kv_bytes;
    opt.max_model_len = kv_bytes ? 1024 : 0;
    return stream_open(&opt);
}

static qg_session *ask(qg_engine *engine, stream_log *log)
{
    qg_session *s = stream_session(engine, NULL);
    qg_append a = stream_text("user", question, sizeof question - 1, true);
    log->n = 0;
    stream_must(s, &a, log);
    return s;
}

static void say(qg_session *s, const char *text, size_t n, bool end, stream_log *log)
{
    qg_append a = stream_text("assistant", text, n, end);
    stream_must(s, &a, log);
}

/* n choices of one prompt, one after the other and all at once. */
static void a_prompt_is_computed_once(void **state)
{
    (void)state;
    enum { N = 8 };
    static stream_log want, got;
    qg_engine *engine = open_demo(true, 0), *plain = open_demo(false, 0);
    qg_session *s[N + 1];
    qg_session *alone = ask(plain, &want);
    s[N] = ask(engine, &got);
    stream_same(&got, &want);
    int64_t first = stream_computed(engine);
    assert_int_equal(first, want.n_ids);
    for (int i = 0; i < N; i++) {
        s[i] = ask(engine, &got);
        stream_same(&got, &want);
    }
    int64_t more = stream_computed(engine) - first;
    print_message("a prompt of %d tokens: %d rows the first time, %d each further time\n",
                  want.n_ids, (int)first, (int)(more / N));
    assert_true(more <= N * 17);
    assert_int_equal(stream_stats(engine).tokens_cached, N * want.n_ids - more);
    /* each goes on by itself */
    say(alone, reply, sizeof reply - 1, true, &want);
    for (int i = 0; i < N; i++) {
        got.n = 0;
        qg_session_close(s[i]);
        s[i] = ask(engine, &got);
        for (size_t at = 0; at < sizeof reply - 1; at += 1 + (size_t)i)
            say(s[i], reply + at,
                at + 1 + (size_t)i < sizeof reply - 1 ? 1 + (size_t)i : sizeof reply - 1 - at,
                false, &got);
        say(s[i], "", 0, true, &got);
        stream_same(&got, &want);
    }
    for (int i = 0; i <= N; i++)
        qg_session_close(s[i]);
    qg_session_close(alone);
    stream_all_free(engine);
    qg_engine_close(engine);
    qg_engine_close(plain);
}

/* The next request of a chat brings the whole conversation again: what was said about the reply
 * is known as well. */
static void a_conversation_that_comes_again_is_known(void **state)
{
    (void)state;
    static stream_log want, got;
    qg_engine *engine = open_demo(true, 0);
    qg_session *s = ask(engine, &want);
    for (size_t at = 0; at < sizeof reply - 1; at += 3)
        say(s, reply + at, at + 3 < sizeof reply - 1 ? 3 : sizeof reply - 1 - at, false, &want);
    say(s, "", 0, true, &want);
    qg_session_close(s);

    int64_t before = stream_computed(engine);
    s = ask(engine, &got);
    say(s, reply, sizeof reply - 1, true, &got);
    int64_t rows = stream_computed(engine) - before;
    stream_same(&got, &want);
    print_message("%d tokens come again: %d rows\n", want.n_ids, (int)rows);
    assert_true(rows <= 32); /* of each turn what was not in whole blocks */
    qg_stream_result *r;
    qg_append a = stream_text("user", "and then?", 9, true);
    assert_int_equal(qg_session_judge(s, &a, &r, NULL), QG_OK);
    assert_int_equal(r->n_cached, want.n_ids - rows);
    qg_stream_result_free(r);
    qg_session_close(s);
    stream_all_free(engine);
    qg_engine_close(engine);
}

/* Who goes back into what others share writes into blocks of its own. */
static void a_rollback_harms_nobody(void **state)
{
    (void)state;
    static stream_log want, other, got;
    qg_engine *engine = open_demo(true, 0), *plain = open_demo(false, 0);
    qg_session *a = ask(engine, &got), *b = ask(engine, &got), *alone = ask(plain, &other);
    say(a, reply, sizeof reply - 1, false, &got);
    for (int32_t to = got.n_ids - 12; to > 3; to -= 7) {
        assert_int_equal(qg_session_rollback(b, 0, NULL), QG_OK);
        assert_int_equal(qg_session_rollback(alone, 0, NULL), QG_OK);
        qg_append said = stream_ids("assistant", NULL, 0, false);
        int32_t ids[700];
        got.n = other.n = 0;
        for (int32_t i = 0; i < 700; i++)
            ids[i] = (i < to ? 5 : to) + i;
        said.ids = ids;
        said.n_ids = 300;
        stream_must(b, &said, &got);
        stream_must(alone, &said, &other);
        stream_same(&got, &other);
        assert_int_equal(qg_session_rollback(b, to, NULL), QG_OK);
        assert_int_equal(qg_session_rollback(alone, to, NULL), QG_OK);
        said.ids = ids + 330;
        said.n_ids = 64;
        stream_must(b, &said, &got);
        stream_must(alone, &said, &other);
        stream_same(&got, &other);
    }
    qg_session_close(a);
    a = ask(engine, &got); /* what a left is what it was */
    say(a, reply, sizeof reply - 1, true, &got);
    qg_session_close(alone);
    alone = ask(plain, &want);
    say(alone, reply, sizeof reply - 1, true, &want);
    stream_same(&got, &want);
    qg_session_close(a);
    qg_session_close(b);
    qg_session_close(alone);
    stream_all_free(engine);
    qg_engine_close(engine);
    qg_engine_close(plain);
}

/* ---- by chance: everything at once, beside an engine without the cache ---- */

enum { TALKERS = 6, STEPS = 1500 };

typedef struct pair {
    qg_session *cached, *plain;
    stream_log got, want;
    size_t said; /* bytes of the open turn */
    bool reply;
} pair;

static unsigned next(unsigned *seed, unsigned n)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 8) % n;
}

static void reopen(pair *p, qg_engine *cached, qg_engine *plain)
{
    qg_session_close(p->cached);
    qg_session_close(p->plain);
    p->cached = stream_session(cached, NULL);
    p->plain = stream_session(plain, NULL);
    p->got.n = p->want.n = p->said = 0;
    p->reply = false;
}

/* Texts that begin alike more often than not. */
static bool grow(pair *p, unsigned *seed)
{
    const char *text = p->reply ? reply : question;
    size_t size = p->reply ? sizeof reply - 1 : sizeof question - 1;
    size_t n = next(seed, 3) ? next(seed, 12) : next(seed, 250);
    n = n < size - p->said ? n : size - p->said;
    bool end = p->said + n == size || next(seed, 20) == 0;
    qg_append a = stream_text(p->reply ? "assistant" : "user", text + p->said, n, end);
    if (next(seed, 40) == 0)
        a = stream_text(a.role, "Otherwise! ", 11, end);
    qg_status rc = stream_feed(p->cached, &a, &p->got);
    if (rc != QG_OK) /* gone, or too long */
        return false;
    assert_int_equal(stream_feed(p->plain, &a, &p->want), QG_OK);
    stream_same(&p->got, &p->want);
    p->said = end ? 0 : p->said + n;
    p->reply ^= end;
    return true;
}

static bool go_back(pair *p, unsigned *seed)
{
    int32_t n = p->want.n_ids - p->want.n_provisional;
    int32_t to = n > 0 ? (int32_t)next(seed, (unsigned)n + 1) : 0;
    qg_status rc = qg_session_rollback(p->plain, to, NULL);
    qg_status same = qg_session_rollback(p->cached, to, NULL);
    if (same == QG_ERR_GONE)
        return false;
    assert_int_equal(rc, same);
    if (rc != QG_OK)
        return true;
    /* where it now stands only the sessions know: they go on with a reply of their own */
    qg_append a = stream_text("assistant", reply, next(seed, 60), true);
    while (p->got.n && p->got.marks[p->got.n - 1].index >= to)
        p->got.n--;
    while (p->want.n && p->want.marks[p->want.n - 1].index >= to)
        p->want.n--;
    rc = stream_feed(p->cached, &a, &p->got);
    if (rc != QG_OK)
        return false;
    assert_int_equal(stream_feed(p->plain, &a, &p->want), QG_OK);
    stream_same(&p->got, &p->want);
    p->said = 0;
    p->reply = false;
    return true;
}

static void run_by_chance(uint64_t kv_bytes, unsigned seed)
{
    static pair pairs[TALKERS];
    qg_engine *cached = open_demo(true, kv_bytes), *plain = open_demo(false, 0);
    for (int i = 0; i < TALKERS; i++) {
        pairs[i].cached = pairs[i].plain = NULL;
        reopen(&pairs[i], cached, plain);
    }
    int lost = 0;
    for (int i = 0; i < STEPS; i++) {
        pair *p = &pairs[next(&seed, TALKERS)];
        unsigned what = next(&seed, 40);
        bool well = what == 0 ? false : what < 4 ? go_back(p, &seed) : grow(p, &seed);
        if (!well || p->want.n_ids > 800) {
            reopen(p, cached, plain);
            lost++;
        }
    }
    qg_stats now = stream_stats(cached);
    print_message("%d steps, %d begun anew, %d evicted: %d rows instead of %d, %d found\n", STEPS,
                  lost, (int)now.sessions_evicted, (int)stream_computed(cached),
                  (int)stream_computed(plain), (int)now.tokens_cached);
    assert_true(now.tokens_cached > stream_computed(plain) / 10);
    for (int i = 0; i < TALKERS; i++) {
        qg_session_close(pairs[i].cached);
        qg_session_close(pairs[i].plain);
    }
    stream_all_free(cached);
    qg_engine_close(cached);
    qg_engine_close(plain);
}

static void by_chance(void **state)
{
    (void)state;
    run_by_chance(0, 1);
    run_by_chance((uint64_t)110 * 16 * 2048, 2); /* 110 blocks: sessions give way */
}

/* A shared prompt lies in memory once, also when many computed it at the same time. */
static void a_shared_prompt_is_stored_once(void **state)
{
    (void)state;
    enum { N = 500 };
    static qg_session *s[N];
    static stream_log log;
    qg_engine *engine = open_demo(true, 0);
    stream_tally t = {0};
    qg_append a = stream_text("user", question, sizeof question - 1, true);
    int64_t all = stream_stats(engine).kv_blocks;
    atomic_init(&t.left, N);
    for (int i = 0; i < N; i++) {
        s[i] = stream_session(engine, NULL);
        qg_status rc = qg_session_submit(s[i], &a, stream_count, &t, NULL);
        if (rc != QG_OK)
            stream_count(&t, rc, NULL, NULL);
    }
    stream_wait(&t);
    assert_int_equal(atomic_load(&t.ok), N);
    qg_session *one = ask(engine, &log);
    int64_t used = all - stream_stats(engine).kv_blocks_free, whole = log.n_ids / 16;
    print_message("%d sessions with a prompt of %d tokens: %d blocks\n", N + 1, log.n_ids,
                  (int)used);
    assert_true(used <= whole + N + 1);
    for (int i = 0; i < N; i++)
        qg_session_close(s[i]);
    qg_session_close(one);
    stream_all_free(engine);
    qg_engine_close(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prompt_is_computed_once),
        cmocka_unit_test(a_conversation_that_comes_again_is_known),
        cmocka_unit_test(a_rollback_harms_nobody),
        cmocka_unit_test(by_chance),
        cmocka_unit_test(a_shared_prompt_is_stored_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
