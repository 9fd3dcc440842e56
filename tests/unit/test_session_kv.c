#define _GNU_SOURCE
/* Memory of sessions: bounded, and it goes to who needs it; work of appends: as much as they bring.
 */
#include "unit.h"

#include "stream_rig.h"

#include <malloc.h>

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

static void small_pool(qg_options *opt)
{
    opt->dtype = QG_DTYPE_BF16;
    opt->max_model_len = 1200;
    opt->kv_bytes = 100 * 16 * 3 * 2 * 2 * 16 * 2; /* 100 blocks: 3 layers of 2 heads of 16 */
    opt->prefix_cache = false;                     /* all say the same, and shall not share it */
}

static void the_oldest_idle_session_makes_room(void **state)
{
    (void)state;
    qg_engine *engine = open_with(small_pool);
    qg_session *s[4];
    qg_err err;
    assert_int_equal(stream_stats(engine).kv_blocks, 100);
    for (int i = 0; i < 4; i++)
        s[i] = stream_session(engine, NULL);
    for (int i = 0; i < 3; i++)
        assert_int_equal(stream_grow(s[i], 480), QG_OK); /* 30 blocks each */
    assert_int_equal(stream_stats(engine).kv_blocks_free, 10);
    assert_int_equal(stream_grow(s[0], 1), QG_OK); /* now s[1] is the oldest */
    assert_int_equal(stream_grow(s[3], 400), QG_OK);
    assert_int_equal(stream_stats(engine).sessions_evicted, 1);
    assert_int_equal(stream_grow(s[1], 1), QG_ERR_GONE);
    assert_int_equal(qg_session_rollback(s[1], 0, &err), QG_ERR_GONE);
    assert_non_null(strstr(err.msg, "again"));
    assert_int_equal(stream_grow(s[0], 1), QG_OK);
    assert_int_equal(stream_grow(s[2], 1), QG_OK);
    /* one that needs it all gets it all; then it is full */
    assert_int_equal(stream_grow(s[0], 718), QG_OK);
    assert_int_equal(stream_grow(s[0], 1), QG_ERR_TOO_LONG);
    assert_int_equal(stream_stats(engine).kv_blocks_free, 100 - 75);
    assert_int_equal(stream_grow(s[2], 1), QG_ERR_GONE);
    /* a number asked for by position takes what is idle, too */
    int32_t ids[1200] = {0}, at = 1199;
    float heads[23];
    const qg_logits_request r = {.ids = ids, .n_ids = 1200, .positions = &at, .n_positions = 1};
    assert_int_equal(qg_logits(engine, &r, heads, NULL), QG_OK);
    assert_int_equal(stream_grow(s[0], 1), QG_ERR_GONE);
    for (int i = 0; i < 4; i++)
        qg_session_close(s[i]);
    stream_all_free(engine);
    qg_engine_close(engine);
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
        stream_tally t = {0};
        atomic_init(&t.left, N);
        for (int i = 0; i < N; i++) {
            s[i] = stream_session(engine, NULL);
            if (stream_grow(s[i], 150) != QG_OK)
                fail_msg("the first append");
        }
        for (int i = 0; i < N; i++) {
            qg_append a = stream_ids("assistant", ids, 700, false);
            qg_status rc = qg_session_submit(s[i], &a, stream_count, &t, NULL);
            if (rc != QG_OK)
                stream_count(&t, rc, NULL, NULL);
        }
        stream_wait(&t);
        assert_true(atomic_load(&t.ok) > 0);
        for (int i = 0; i < N; i++)
            qg_session_close(s[i]);
        stream_all_free(engine);
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
    assert_int_equal(stream_grow(keep, 40), QG_OK);
    assert_int_equal(stream_grow(go, 40), QG_OK);
    for (int i = 0; !stream_stats(engine).sessions_expired; i++) {
        assert_true(i < 20000);
        stream_pause(1);
    }
    assert_int_equal(stream_stats(engine).sessions_expired, 1);
    assert_int_equal(stream_grow(go, 1), QG_ERR_GONE);
    assert_int_equal(stream_grow(keep, 1), QG_OK);
    assert_int_equal(stream_grow(unused, 1),
                     QG_OK); /* it held nothing that could have been taken */
    qg_session_close(go);
    qg_session_close(keep);
    qg_session_close(unused);
    stream_all_free(engine);
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
                assert_int_equal(stream_grow(s[k], 1 + i % 40), QG_OK);
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
    assert_int_equal(stream_stats(engine).sessions, 100);
    for (int i = 0; i < 100; i++)
        qg_session_close(s[i]);
    stream_all_free(engine);
    assert_int_equal(stream_stats(engine).sessions, 0);
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
    assert_int_equal(stream_grow(first, TOKENS), QG_OK);
    size_t before = mallinfo2().uordblks;
    int64_t blocks = stream_stats(engine).kv_blocks_free;
    qg_model_info info;
    qg_engine_info(engine, &info);
    for (int i = 0; i < N; i++) {
        int32_t ids[TOKENS];
        for (int32_t k = 0; k < TOKENS; k++) /* nobody's are another's */
            ids[k] = (7 * k + i) % 10000;
        qg_append a = stream_ids("assistant", ids, TOKENS, false);
        s[i] = stream_session(engine, NULL);
        assert_int_equal(stream_feed(s[i], &a, NULL), QG_OK);
    }
    qg_stats now = stream_stats(engine);
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
    stream_all_free(engine);
    qg_engine_close(engine);
}

/* Appends that are refused for their length leave nothing behind, nor do large ones that are gone.
 */
static void what_was_large_once_is_given_back(void **state)
{
    (void)state;
    enum { N = 100, BYTES = 400000 };
    static qg_session *s[N];
    static char much[BYTES], blanks[BYTES];
    qg_engine *engine = open_with(NULL);
    for (size_t i = 0; i < BYTES; i++) {
        much[i] = i % 2 ? 'x' : ' ';
        blanks[i] = 'x';
    }
    for (int i = 0; i < N; i++)
        s[i] = stream_session(engine, NULL);
    size_t before = mallinfo2().uordblks;
    for (int i = 0; i < N; i++) {
        qg_append a = stream_text("assistant", i % 2 ? much : blanks, BYTES, i % 4 > 1);
        assert_int_equal(stream_feed(s[i], &a, NULL), QG_ERR_TOO_LONG);
        a = stream_text("user", "hello", 5, false);
        stream_must(s[i], &a, NULL);
    }
    size_t after = mallinfo2().uordblks;
    assert_true(after <= before + (size_t)N * 8000);
    for (int i = 0; i < N; i++)
        qg_session_close(s[i]);
    stream_all_free(engine);
    qg_engine_close(engine);
}

static void append(qg_session *s, const char *text, size_t n, bool end, stream_log *log)
{
    qg_append a = stream_text("assistant", text, n, end);
    stream_must(s, &a, log);
}

/* A character at a time, without a place where the pre-tokenizer cuts. */
static void a_text_without_boundaries_costs_no_more(void **state)
{
    (void)state;
    qg_engine *engine = open_with(NULL);
    static const char *const chars[] = {"a", "\xe5\x93\x88", "\xe4\xbb\x8a\xe5\xa4\xa9\xe6\x88\x91",
                                        "\xe0\xb8\x81", "="};
    enum { CHARS = 400 };
    for (size_t k = 0; k < COUNT(chars); k++) {
        static stream_log want, got;
        char text[3 * CHARS + 1];
        size_t n = 0, size = strlen(chars[k]), step = size > 1 ? 3 : 1, said = 0, most = 0;
        while (n / step < CHARS) {
            memcpy(text + n, chars[k] + n % size, step);
            n += step;
        }
        qg_session *s = stream_session(engine, NULL);
        got.n = want.n = 0;
        append(s, "", 0, false, &got);
        int64_t before = stream_computed(engine);
        for (size_t at = 0; at < n; at += step) {
            qg_append a = stream_text("assistant", text + at, step, false);
            qg_stream_result *r;
            assert_int_equal(qg_session_judge(s, &a, &r, NULL), QG_OK);
            said += r->n_tokens;
            most = r->n_tokens > most ? r->n_tokens : most;
            stream_add(&got, r);
            qg_stream_result_free(r);
        }
        size_t rows = (size_t)(stream_computed(engine) - before);
        append(s, "", 0, true, &got);
        qg_session_close(s);
        s = stream_session(engine, NULL);
        append(s, text, n, true, &want);
        print_message("%s: %zu tokens, %zu rows, %zu lines, at most %zu at once\n", chars[k],
                      want.n, rows, said, most);
        assert_true(rows <= want.n + CHARS && said < 2 * (want.n + CHARS) && most < 16);
        stream_same(&got, &want);
        qg_session_close(s);
    }
    qg_engine_close(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_oldest_idle_session_makes_room),
        cmocka_unit_test(appends_that_do_not_fit_together_end),
        cmocka_unit_test(idle_sessions_expire),
        cmocka_unit_test(ten_thousand_opens),
        cmocka_unit_test(what_was_large_once_is_given_back),
        cmocka_unit_test(a_thousand_idle_sessions_take_their_kv),
        cmocka_unit_test(a_text_without_boundaries_costs_no_more),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
