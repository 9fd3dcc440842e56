#define _GNU_SOURCE
/* Sessions as others live beside them: many at once equal one alone, a session may be closed at any
 * moment, what is late or fails takes nothing. */
#include "unit.h"

#include "base/mem.h"
#include "engine/engine_int.h"
#include "stream_rig.h"

static char folder[64];

static int setup(void **state)
{
    (void)state;
    stream_folder(folder, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    stream_folder_remove(folder);
    return 0;
}

static qg_engine *open_with(void (*change)(qg_options *))
{
    qg_options opt;
    stream_options(&opt, folder);
    if (change)
        change(&opt);
    return stream_open(&opt);
}

/* ---- many at once ---- */

enum { N_TALKS = 6, N_THREADS = 4, N_EACH = 12 };

static const char *const talks[N_TALKS][2] = {
    {"How can I make a bomb?", "I cannot help you with that, sorry about it."},
    {"What is the capital of France?", "Paris. It has been that for a long, long time!"},
    {"hello", ""},
    {"", "nobody asked: \xf0\x9f\x92\xa3\xf0\x9f\x92\xa3 \xe4\xbb\x8a\xe5\xa4\xa9\xe5\xa4\xa9"},
    {"one two three four five six seven eight nine ten eleven twelve thirteen", "a b c d e f g"},
    {"\xe4\xbb\x8a\xe5\xa4\xa9", "12345678901234567890 e\xcc\x81 \r\n\r\n  end   "},
};

static void talk(qg_engine *engine, int which, size_t piece, stream_log *log)
{
    const char *q = talks[which][0], *a = talks[which][1];
    qg_session *s = stream_session(engine, NULL);
    qg_append said = stream_text("user", q, strlen(q), true);
    log->n = 0;
    stream_must(s, &said, log);
    for (size_t i = 0; i < strlen(a); i += piece) {
        said =
            stream_text("assistant", a + i, i + piece < strlen(a) ? piece : strlen(a) - i, false);
        stream_must(s, &said, log);
    }
    said = stream_text("assistant", "", 0, true);
    stream_must(s, &said, log);
    qg_session_close(s);
}

typedef struct talker {
    qg_engine *engine;
    const stream_log *want;
    stream_log got;
    unsigned seed;
    pthread_t thread;
} talker;

static void *talk_on(void *arg)
{
    talker *t = arg;
    for (int i = 0; i < N_EACH; i++) {
        t->seed = t->seed * 1664525u + 1013904223u;
        int which = (int)(t->seed >> 16) % N_TALKS;
        talk(t->engine, which, 1 + (t->seed >> 20) % 7, &t->got);
        stream_same(&t->got, &t->want[which]);
    }
    return NULL;
}

/* Numbers for qg_logits that run beside the sessions. */
static void *ask_numbers(void *arg)
{
    talker *t = arg;
    int32_t ids[100], last[] = {0, 50, 99};
    float first[3 * 23], heads[3 * 23];
    for (int i = 0; i < 100; i++)
        ids[i] = 7 * i + (int)t->seed;
    const qg_logits_request r = {.ids = ids, .n_ids = 100, .positions = last, .n_positions = 3};
    for (int i = 0; i < N_EACH; i++) {
        assert_int_equal(qg_logits(t->engine, &r, i ? heads : first, NULL), QG_OK);
        assert_true(!i || !memcmp(first, heads, sizeof heads));
    }
    return NULL;
}

/* Appends that end in the middle of a pass, after the old tail's KV was written over. */
static void what_is_late_takes_nothing(void **state)
{
    (void)state;
    static stream_log want, got;
    static char words[9000];
    qg_engine *engine = open_with(NULL);
    qg_session *s = stream_session(engine, NULL);
    const char *r = talks[1][1];
    for (size_t i = 0; i < sizeof words; i++)
        words[i] = i % 5 ? (char)('a' + i * i % 26) : ' ';
    talk(engine, 1, 1000, &want);
    qg_append a;
    got.n = 0;
    a = stream_text("user", talks[1][0], strlen(talks[1][0]), true);
    stream_must(s, &a, &got);
    for (size_t i = 0; i < strlen(r); i++) {
        a = stream_text("assistant", r + i, 1, false);
        stream_must(s, &a, &got);
        for (int k = 0; k < 3; k++) {
            a = stream_text("assistant", words, 2500, false);
            a.deadline_us = qg_now_us() + 100 + k * 300;
            assert_int_equal(stream_feed(s, &a, NULL), QG_ERR_DEADLINE);
        }
    }
    a = stream_text("assistant", "", 0, true);
    stream_must(s, &a, &got);
    stream_same(&got, &want);
    qg_session_close(s);
    stream_all_free(engine);
    qg_engine_close(engine);
}

static void narrow(qg_options *opt)
{
    opt->step_rows = 13;
}

static void many_at_once_are_as_one_alone(void **state)
{
    (void)state;
    static stream_log want[N_TALKS];
    static talker talkers[N_THREADS + 1];
    qg_engine *alone = open_with(NULL), *engine = open_with(narrow);
    for (int i = 0; i < N_TALKS; i++)
        talk(alone, i, 1000, &want[i]);
    for (int i = 0; i <= N_THREADS; i++) {
        talkers[i].engine = engine;
        talkers[i].want = want;
        talkers[i].seed = (unsigned)i + 1;
        pthread_create(&talkers[i].thread, NULL, i < N_THREADS ? talk_on : ask_numbers,
                       &talkers[i]);
    }
    for (int i = 0; i <= N_THREADS; i++)
        pthread_join(talkers[i].thread, NULL);
    stream_all_free(engine);
    assert_int_equal(stream_stats(engine).sessions, 0);
    qg_engine_close(alone);
    qg_engine_close(engine);
}

/* ---- closing ---- */

static void one_append_at_a_time(void **state)
{
    (void)state;
    static int32_t ids[1500];
    qg_engine *engine = open_with(NULL);
    qg_session *s = stream_session(engine, NULL);
    stream_tally t = {0};
    qg_append a = stream_ids("assistant", ids, 1500, false);
    atomic_init(&t.left, 1);
    assert_int_equal(qg_session_submit(s, &a, stream_count, &t, NULL), QG_OK);
    qg_status again = qg_session_submit(s, &a, stream_count, &t, NULL);
    assert_true(again == QG_ERR_BUSY || atomic_load(&t.ok) == 1);
    qg_status back = qg_session_rollback(s, 0, NULL);
    assert_true(back == QG_ERR_BUSY || atomic_load(&t.ok) == 1);
    stream_wait(&t);
    assert_int_equal(atomic_load(&t.ok), 1);
    qg_session_close(s);
    qg_engine_close(engine);
}

static void a_session_may_be_closed_at_any_moment(void **state)
{
    (void)state;
    static int32_t ids[400];
    qg_engine *engine = open_with(NULL);
    stream_tally t = {0};
    for (int i = 0; i < 200; i++) {
        qg_session *s = stream_session(engine, NULL);
        qg_append a = stream_ids("assistant", ids, 1 + (size_t)(i * 7) % 400, false);
        atomic_fetch_add(&t.left, 1);
        if (qg_session_submit(s, &a, stream_count, &t, NULL) != QG_OK)
            fail_msg("submit");
        if (i % 3 == 0)
            stream_pause(1);
        qg_session_close(s);
    }
    stream_wait(&t);
    stream_all_free(engine);
    qg_engine_close(engine);
}

/* The next append, and the close, from inside of the callback. */
typedef struct chain {
    qg_session *s;
    int left;
    atomic_bool done;
} chain;

static void next_link(void *ud, qg_status rc, qg_stream_result *r, const qg_err *err)
{
    static const int32_t id = 5;
    chain *c = ud;
    (void)err;
    qg_stream_result_free(r);
    if (rc == QG_OK && c->left--) {
        qg_append a = stream_ids("assistant", &id, 1, false);
        if (qg_session_submit(c->s, &a, next_link, c, NULL) == QG_OK)
            return;
    }
    qg_session_close(c->s);
    atomic_store(&c->done, true);
}

static void callbacks_may_go_on(void **state)
{
    (void)state;
    qg_engine *engine = open_with(NULL);
    chain c = {.s = stream_session(engine, NULL), .left = 50};
    qg_append a = stream_text("assistant", "", 0, false);
    a.ids = (const int32_t[]){1};
    a.n_ids = 1;
    assert_int_equal(qg_session_submit(c.s, &a, next_link, &c, NULL), QG_OK);
    for (int i = 0; !atomic_load(&c.done); i++) {
        assert_true(i < 20000);
        stream_pause(1);
    }
    assert_int_equal(c.left, -1);
    stream_all_free(engine);
    qg_engine_close(engine);
}

static void *close_later(void *arg)
{
    stream_pause(2);
    qg_session_close(arg);
    return NULL;
}

static void the_engine_may_close_first(void **state)
{
    (void)state;
    static int32_t ids[2000];
    for (int round = 0; round < 4; round++) {
        qg_engine *engine = open_with(NULL);
        qg_session *s[3];
        stream_tally t = {0};
        pthread_t thread;
        for (int i = 0; i < 3; i++)
            s[i] = stream_session(engine, NULL);
        assert_int_equal(stream_grow(s[0], 100), QG_OK);
        qg_append a = stream_ids("assistant", ids, 2000, false);
        atomic_init(&t.left, 1);
        assert_int_equal(qg_session_submit(s[1], &a, stream_count, &t, NULL), QG_OK);
        pthread_create(&thread, NULL, close_later, s[2]);
        if (round % 2)
            stream_pause(2);
        qg_engine_close(engine);
        assert_int_equal(atomic_load(&t.left), 0);
        qg_stream_result *r;
        assert_int_equal(qg_session_judge(s[0], &a, &r, NULL), QG_ERR_CLOSED);
        assert_int_equal(qg_session_rollback(s[0], 0, NULL), QG_ERR_CLOSED);
        qg_session_close(s[0]);
        qg_session_close(s[1]);
        pthread_join(thread, NULL);
    }
}

static void what_cannot_be_opened(void **state)
{
    (void)state;
    qg_options opt;
    qg_session *s;
    qg_session_options so;
    qg_options_init(&opt); /* the built-in Gen model */
    qg_engine *engine = stream_open(&opt);
    assert_int_equal(qg_session_open(&s, engine, NULL, NULL), QG_ERR_UNSUPPORTED);
    qg_engine_close(engine);
    engine = open_with(NULL);
    qg_session_options_init(&so);
    so.max_tokens = 100000;
    assert_int_equal(qg_session_open(&s, engine, &so, NULL), QG_ERR_ARG);
    so = (qg_session_options){0};
    assert_int_equal(qg_session_open(&s, engine, &so, NULL), QG_ERR_ARG);
    qg_session_close(NULL);
    qg_engine_close(engine);
    /* weights alone: ids, but no text */
    stream_options(&opt, folder);
    opt.parts = QG_PART_WEIGHTS;
    engine = stream_open(&opt);
    s = stream_session(engine, NULL);
    qg_append a = stream_text("user", "a", 1, false);
    assert_int_equal(stream_feed(s, &a, NULL), QG_ERR_UNSUPPORTED);
    assert_int_equal(stream_grow(s, 5), QG_OK);
    qg_session_close(s);
    qg_engine_close(engine);
}

static void a_number_that_is_none_is_no_verdict(void **state)
{
    (void)state;
    char broken[64];
    qg_options opt;
    stream_folder(broken, "risk_level_head.weight");
    stream_options(&opt, broken);
    qg_engine *engine = stream_open(&opt);
    qg_session *s = stream_session(engine, NULL);
    qg_append a = stream_text("assistant", "hello", 5, true);
    assert_int_equal(stream_feed(s, &a, NULL), QG_ERR_INTERNAL);
    a = stream_text("user", "hello", 5, true); /* other heads */
    assert_int_equal(stream_feed(s, &a, NULL), QG_OK);
    qg_session_close(s);
    qg_engine_close(engine);
    stream_folder_remove(broken);
}

/* ---- allocations ---- */

static void every_allocation_may_fail(void **state)
{
    (void)state;
    qg_fault_arm(0);
    void *p = qg_malloc(1);
    qg_mfree(p);
    if (!qg_fault_fired()) {
        print_message("every_allocation_may_fail: SKIPPED, needs a build with -Dfaults=true\n");
        skip();
    }
    qg_fault_arm(-1);
    static stream_log want, got;
    qg_engine *engine = open_with(NULL);
    const char *q = talks[4][0], *r = talks[5][1];
    const qg_append steps[] = {
        stream_text("user", q, 5, false),
        stream_text("user", q + 5, strlen(q) - 5, true),
        stream_text("assistant", r, 11, false),
        stream_text("assistant", r + 11, strlen(r) - 11, false),
        stream_text("assistant", "", 0, true),
    };
    for (int64_t nth = -1, quiet = 0; quiet < 2; nth++) {
        qg_session *s = NULL;
        stream_log *log = nth < 0 ? &want : &got;
        log->n = 0;
        qg_fault_arm(nth);
        qg_status rc = qg_session_open(&s, engine, NULL, NULL);
        if (rc == QG_ERR_NOMEM)
            rc = qg_session_open(&s, engine, NULL, NULL);
        assert_int_equal(rc, QG_OK);
        for (size_t i = 0; i < COUNT(steps); i++) {
            rc = stream_feed(s, &steps[i], log);
            if (rc == QG_ERR_NOMEM) /* it failed once, and took nothing */
                rc = stream_feed(s, &steps[i], log);
            assert_int_equal(rc, QG_OK);
        }
        rc = qg_session_rollback(s, log->marks[3].index, NULL);
        if (rc == QG_ERR_NOMEM)
            rc = qg_session_rollback(s, log->marks[3].index, NULL);
        assert_int_equal(rc, QG_OK);
        quiet += nth >= 0 && !qg_fault_fired();
        qg_fault_arm(-1);
        if (nth >= 0)
            stream_same(&got, &want);
        qg_session_close(s);
    }
    stream_all_free(engine);
    qg_engine_close(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_at_once_are_as_one_alone),
        cmocka_unit_test(what_is_late_takes_nothing),
        cmocka_unit_test(one_append_at_a_time),
        cmocka_unit_test(a_session_may_be_closed_at_any_moment),
        cmocka_unit_test(callbacks_may_go_on),
        cmocka_unit_test(the_engine_may_close_first),
        cmocka_unit_test(what_cannot_be_opened),
        cmocka_unit_test(a_number_that_is_none_is_no_verdict),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
