#define _GNU_SOURCE
/* Sessions as others live beside them: many at once equal one alone, memory is bounded and goes to
 * who needs it, a session may be closed at any moment, every allocation may fail. */
#include "unit.h"

#include "base/mem.h"
#include "engine/engine_int.h"
#include "stream_rig.h"

#include <malloc.h>
#include <time.h>

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

static void pause_ms(long ms)
{
    const struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static qg_engine *open_with(void (*change)(qg_options *))
{
    qg_options opt;
    stream_options(&opt, folder);
    if (change)
        change(&opt);
    return stream_open(&opt);
}

static qg_stats stats_of(qg_engine *engine)
{
    qg_stats s;
    qg_engine_stats(engine, &s);
    return s;
}

/* Waits for the scheduler to have taken leave of closed sessions. */
static void all_blocks_come_back(qg_engine *engine)
{
    for (int i = 0; stats_of(engine).kv_blocks_free != stats_of(engine).kv_blocks; i++) {
        assert_true(i < 20000);
        pause_ms(1);
    }
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
    all_blocks_come_back(engine);
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
    all_blocks_come_back(engine);
    assert_int_equal(stats_of(engine).sessions, 0);
    qg_engine_close(alone);
    qg_engine_close(engine);
}

/* ---- memory ---- */

static void small_pool(qg_options *opt)
{
    opt->dtype = QG_DTYPE_BF16;
    opt->max_model_len = 1200;
    opt->kv_bytes = 100 * 16 * 3 * 2 * 2 * 16 * 2; /* 100 blocks: 3 layers of 2 heads of 16 */
}

static qg_status grow_to(qg_session *s, int32_t n)
{
    int32_t ids[2048];
    for (int32_t i = 0; i < n; i++)
        ids[i] = 11 * i % 10000;
    qg_append a = stream_ids("assistant", ids, (size_t)n, false);
    return stream_feed(s, &a, NULL);
}

static void the_oldest_idle_session_makes_room(void **state)
{
    (void)state;
    qg_engine *engine = open_with(small_pool);
    qg_session *s[4];
    qg_err err;
    assert_int_equal(stats_of(engine).kv_blocks, 100);
    for (int i = 0; i < 4; i++)
        s[i] = stream_session(engine, NULL);
    for (int i = 0; i < 3; i++)
        assert_int_equal(grow_to(s[i], 480), QG_OK); /* 30 blocks each */
    assert_int_equal(stats_of(engine).kv_blocks_free, 10);
    assert_int_equal(grow_to(s[0], 1), QG_OK); /* now s[1] is the oldest */
    assert_int_equal(grow_to(s[3], 400), QG_OK);
    assert_int_equal(stats_of(engine).sessions_evicted, 1);
    assert_int_equal(grow_to(s[1], 1), QG_ERR_GONE);
    assert_int_equal(qg_session_rollback(s[1], 0, &err), QG_ERR_GONE);
    assert_non_null(strstr(err.msg, "again"));
    assert_int_equal(grow_to(s[0], 1), QG_OK);
    assert_int_equal(grow_to(s[2], 1), QG_OK);
    /* one that needs it all gets it all; then it is full */
    assert_int_equal(grow_to(s[0], 718), QG_OK);
    assert_int_equal(grow_to(s[0], 1), QG_ERR_TOO_LONG);
    assert_int_equal(stats_of(engine).kv_blocks_free, 100 - 75);
    assert_int_equal(grow_to(s[2], 1), QG_ERR_GONE);
    /* a number asked for by position takes what is idle, too */
    int32_t ids[1200] = {0}, at = 1199;
    float heads[23];
    const qg_logits_request r = {.ids = ids, .n_ids = 1200, .positions = &at, .n_positions = 1};
    assert_int_equal(qg_logits(engine, &r, heads, NULL), QG_OK);
    assert_int_equal(grow_to(s[0], 1), QG_ERR_GONE);
    for (int i = 0; i < 4; i++)
        qg_session_close(s[i]);
    all_blocks_come_back(engine);
    qg_engine_close(engine);
}

typedef struct tally {
    atomic_int ok, busy, other, left;
} tally;

static void count(void *ud, qg_status rc, qg_stream_result *r, const qg_err *err)
{
    tally *t = ud;
    (void)err;
    atomic_fetch_add(rc == QG_OK ? &t->ok : rc == QG_ERR_BUSY ? &t->busy : &t->other, 1);
    atomic_fetch_sub(&t->left, 1);
    qg_stream_result_free(r);
}

static void wait_for(tally *t)
{
    for (int i = 0; atomic_load(&t->left); i++) {
        assert_true(i < 60000);
        pause_ms(1);
    }
}

/* Appends that together want more than there is: none waits for ever, all are answered. */
static void appends_that_do_not_fit_together_end(void **state)
{
    (void)state;
    enum { N = 8 };
    static int32_t ids[700];
    qg_engine *engine = open_with(small_pool);
    qg_session *s[N];
    for (int round = 0; round < 3; round++) {
        tally t = {0};
        atomic_init(&t.left, N);
        for (int i = 0; i < N; i++) {
            s[i] = stream_session(engine, NULL);
            if (grow_to(s[i], 150) != QG_OK)
                fail_msg("the first append");
        }
        for (int i = 0; i < N; i++) {
            qg_append a = stream_ids("assistant", ids, 700, false);
            qg_status rc = qg_session_submit(s[i], &a, count, &t, NULL);
            if (rc != QG_OK)
                count(&t, rc, NULL, NULL);
        }
        wait_for(&t);
        assert_true(atomic_load(&t.ok) > 0);
        for (int i = 0; i < N; i++)
            qg_session_close(s[i]);
        all_blocks_come_back(engine);
    }
    qg_engine_close(engine);
}

static void idle_sessions_expire(void **state)
{
    (void)state;
    qg_engine *engine = open_with(NULL);
    qg_session_options opt;
    qg_session_options_init(&opt);
    qg_session *keep = stream_session(engine, &opt);
    opt.idle_ms = 30;
    qg_session *go = stream_session(engine, &opt), *unused = stream_session(engine, &opt);
    assert_int_equal(grow_to(keep, 40), QG_OK);
    assert_int_equal(grow_to(go, 40), QG_OK);
    for (int i = 0; !stats_of(engine).sessions_expired; i++) {
        assert_true(i < 20000);
        pause_ms(1);
    }
    assert_int_equal(stats_of(engine).sessions_expired, 1);
    assert_int_equal(grow_to(go, 1), QG_ERR_GONE);
    assert_int_equal(grow_to(keep, 1), QG_OK);
    assert_int_equal(grow_to(unused, 1), QG_OK); /* it held nothing that could have been taken */
    qg_session_close(go);
    qg_session_close(keep);
    qg_session_close(unused);
    all_blocks_come_back(engine);
    qg_engine_close(engine);
}

static void few_sessions(qg_options *opt)
{
    opt->max_sessions = 100;
}

static void ten_thousand_opens(void **state)
{
    (void)state;
    static qg_session *s[100];
    qg_engine *engine = open_with(few_sessions);
    int refused = 0;
    for (int i = 0; i < 10000; i++) {
        int k = i % 150;
        if (k < 100) {
            qg_session_close(s[k]);
            s[k] = stream_session(engine, NULL);
            if (i % 16 == 0)
                assert_int_equal(grow_to(s[k], 1 + i % 40), QG_OK);
            continue;
        }
        if (!s[99])
            continue;
        qg_session *more = NULL;
        qg_err err;
        assert_int_equal(qg_session_open(&more, engine, NULL, &err), QG_ERR_BUSY);
        assert_null(more);
        refused++;
    }
    assert_true(refused > 1000);
    assert_int_equal(stats_of(engine).sessions, 100);
    for (int i = 0; i < 100; i++)
        qg_session_close(s[i]);
    all_blocks_come_back(engine);
    assert_int_equal(stats_of(engine).sessions, 0);
    qg_engine_close(engine);
}

static void large_pool(qg_options *opt)
{
    opt->kv_bytes = (uint64_t)400 << 20;
}

/* Nothing but its KV is kept of an idle session, to 5 %. */
static void a_thousand_idle_sessions_take_their_kv(void **state)
{
    (void)state;
    enum { N = 1000, TOKENS = 512 };
    static qg_session *s[N];
    qg_engine *engine = open_with(large_pool);
    qg_session *first = stream_session(engine, NULL);
    assert_int_equal(grow_to(first, TOKENS), QG_OK);
    size_t before = mallinfo2().uordblks;
    int64_t blocks = stats_of(engine).kv_blocks_free;
    qg_model_info info;
    qg_engine_info(engine, &info);
    for (int i = 0; i < N; i++) {
        s[i] = stream_session(engine, NULL);
        assert_int_equal(grow_to(s[i], TOKENS), QG_OK);
    }
    qg_stats now = stats_of(engine);
    assert_int_equal(now.sessions_evicted, 0);
    double kv =
        (double)(blocks - now.kv_blocks_free) * (double)info.kv_bytes / (double)now.kv_blocks;
    double exact =
        (double)N * TOKENS * 3 * 2 * 2 * 16 * 2; /* layers, K and V, heads, size, bytes */
    double heap = (double)mallinfo2().uordblks - (double)before;
    assert_true(kv + heap <= exact * 1.05);
    print_message("%.1f MB of KV, %.1f as computed, %.2f MB beside it\n", kv / 1e6, exact / 1e6,
                  heap / 1e6);
    for (int i = 0; i < N; i++)
        qg_session_close(s[i]);
    qg_session_close(first);
    all_blocks_come_back(engine);
    qg_engine_close(engine);
}

/* ---- closing ---- */

static void one_append_at_a_time(void **state)
{
    (void)state;
    static int32_t ids[1500];
    qg_engine *engine = open_with(NULL);
    qg_session *s = stream_session(engine, NULL);
    tally t = {0};
    qg_append a = stream_ids("assistant", ids, 1500, false);
    atomic_init(&t.left, 1);
    assert_int_equal(qg_session_submit(s, &a, count, &t, NULL), QG_OK);
    qg_status again = qg_session_submit(s, &a, count, &t, NULL);
    assert_true(again == QG_ERR_BUSY || atomic_load(&t.ok) == 1);
    qg_status back = qg_session_rollback(s, 0, NULL);
    assert_true(back == QG_ERR_BUSY || atomic_load(&t.ok) == 1);
    wait_for(&t);
    assert_int_equal(atomic_load(&t.ok), 1);
    qg_session_close(s);
    qg_engine_close(engine);
}

static void a_session_may_be_closed_at_any_moment(void **state)
{
    (void)state;
    static int32_t ids[400];
    qg_engine *engine = open_with(NULL);
    tally t = {0};
    for (int i = 0; i < 200; i++) {
        qg_session *s = stream_session(engine, NULL);
        qg_append a = stream_ids("assistant", ids, 1 + (size_t)(i * 7) % 400, false);
        atomic_fetch_add(&t.left, 1);
        if (qg_session_submit(s, &a, count, &t, NULL) != QG_OK)
            fail_msg("submit");
        if (i % 3 == 0)
            pause_ms(1);
        qg_session_close(s);
    }
    wait_for(&t);
    all_blocks_come_back(engine);
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
        pause_ms(1);
    }
    assert_int_equal(c.left, -1);
    all_blocks_come_back(engine);
    qg_engine_close(engine);
}

static void *close_later(void *arg)
{
    pause_ms(2);
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
        tally t = {0};
        pthread_t thread;
        for (int i = 0; i < 3; i++)
            s[i] = stream_session(engine, NULL);
        assert_int_equal(grow_to(s[0], 100), QG_OK);
        qg_append a = stream_ids("assistant", ids, 2000, false);
        atomic_init(&t.left, 1);
        assert_int_equal(qg_session_submit(s[1], &a, count, &t, NULL), QG_OK);
        pthread_create(&thread, NULL, close_later, s[2]);
        if (round % 2)
            pause_ms(2);
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
    assert_int_equal(grow_to(s, 5), QG_OK);
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
    if (!qg_fault_fired())
        skip();
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
    all_blocks_come_back(engine);
    qg_engine_close(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_at_once_are_as_one_alone),
        cmocka_unit_test(what_is_late_takes_nothing),
        cmocka_unit_test(the_oldest_idle_session_makes_room),
        cmocka_unit_test(appends_that_do_not_fit_together_end),
        cmocka_unit_test(idle_sessions_expire),
        cmocka_unit_test(ten_thousand_opens),
        cmocka_unit_test(a_thousand_idle_sessions_take_their_kv),
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
