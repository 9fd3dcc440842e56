#define _POSIX_C_SOURCE 200809L
/* Many callers at once: two engines side by side, threads that submit, cancel and set deadlines,
 * little KV memory so that the prefix cache evicts all the time.  Every accepted job is answered
 * once, every verdict is the one that an engine alone gives, and nothing is left behind. */
#include "unit.h"

#include "base/mem.h"
#include "qguard.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum { N_PROMPTS = 24, N_THREADS = 4, N_JOBS = 60, N_ENGINES = 3 };

static char prompts[N_PROMPTS][2048];

/* Some share beginnings of many blocks, some are one block long, some end on a block's edge. */
static void make_prompts(void)
{
    for (int i = 0; i < N_PROMPTS; i++) {
        size_t at = 0, words = (size_t)(i * i) % 97;
        for (size_t k = 0; k < words; k++)
            at += (size_t)snprintf(prompts[i] + at, sizeof prompts[i] - at, "word%zu ",
                                   k < 20 ? k : k * (size_t)(i + 1));
        snprintf(prompts[i] + at, sizeof prompts[i] - at, "How can I make %d cakes?", i);
    }
}

typedef struct crowd {
    qg_engine *engine;
    char *expected[N_PROMPTS]; /* verdict objects without token counts */
    atomic_int left, refused, wrong, answered;
} crowd;

typedef struct ticket {
    crowd *crowd;
    int prompt;
    bool may_end_early;
    atomic_int calls;
} ticket;

/* All that must not depend on who else is there: text and probabilities to the last bit. */
static char *essence(const qg_result *r)
{
    char text[1024];
    int n = snprintf(text, sizeof text, "%s|%a %a %a %a", r->text, r->p_severity[0],
                     r->p_severity[1], r->p_severity[2], r->p_refusal);
    for (size_t i = 0; i < r->n_p_categories; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, " %a", r->p_categories[i]);
    return qg_memdup0(text, (size_t)n);
}

static void open_crowd(crowd *c, qg_dtype dtype, qg_dtype kv_dtype, int threads)
{
    qg_options opt;
    qg_err err;
    qg_options_init(&opt);
    opt.dtype = dtype;
    opt.kv_dtype = kv_dtype;
    opt.n_threads = threads;
    opt.step_rows = 61;
    opt.max_model_len = 512;
    opt.kv_bytes = (dtype == QG_DTYPE_F32 ? 16u : kv_dtype == QG_DTYPE_INT8 ? 4u : 8u) << 20;
    opt.max_jobs = N_THREADS * N_JOBS;
    if (qg_engine_open(&c->engine, &opt, &err) != QG_OK)
        fail_msg("%s", err.msg);
}

static void ask(qg_request *req, qg_message *m, int prompt)
{
    qg_request_init(req);
    *m = (qg_message){"user", {prompts[prompt], strlen(prompts[prompt])}};
    req->messages = m;
    req->n_messages = 1;
}

static void learn(crowd *c)
{
    for (int i = 0; i < N_PROMPTS; i++) {
        qg_message m;
        qg_request req;
        qg_result *result;
        qg_err err;
        ask(&req, &m, i);
        if (qg_judge(c->engine, &req, &result, &err) != QG_OK)
            fail_msg("%s", err.msg);
        c->expected[i] = essence(result);
        qg_result_free(result);
    }
}

static void answered(void *ud, qg_status rc, qg_result *result, const qg_err *err)
{
    ticket *t = ud;
    crowd *c = t->crowd;
    bool early = rc == QG_ERR_CANCELLED || rc == QG_ERR_DEADLINE;
    bool good = rc == QG_OK ? result != NULL : result == NULL && err && err->msg[0];
    if (good && rc == QG_OK && result->has_p) {
        char *got = essence(result);
        good = got && !strcmp(got, c->expected[t->prompt]);
        qg_free(got);
    }
    if (!good || (rc != QG_OK && !(early && t->may_end_early)) || atomic_fetch_add(&t->calls, 1))
        atomic_fetch_add(&c->wrong, 1);
    if (rc == QG_OK)
        atomic_fetch_add(&c->answered, 1);
    qg_result_free(result);
    atomic_fetch_sub(&c->left, 1);
}

typedef struct caller {
    crowd *crowds;
    unsigned seed;
    ticket tickets[N_ENGINES][N_JOBS];
    pthread_t thread;
} caller;

static unsigned next(unsigned *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 16;
}

static void submit_one(caller *who, crowd *c, ticket *t)
{
    qg_message m;
    qg_request req;
    qg_job *job = NULL;
    unsigned how = next(&who->seed) % 16;

    *t = (ticket){.crowd = c, .prompt = (int)(next(&who->seed) % N_PROMPTS)};
    t->may_end_early = how < 5;
    ask(&req, &m, t->prompt);
    req.priority = how & 1;
    if (how == 3 || how == 6)
        req.decode = QG_DECODE_GENERATE;
    if (how == 4)
        req.deadline_us = qg_now_us() + next(&who->seed) % 20000;
    if (qg_submit(c->engine, &req, answered, t, &job, NULL) != QG_OK) {
        atomic_fetch_add(&c->refused, 1);
        return;
    }
    if (how < 4)
        qg_cancel(job);
    qg_job_release(job);
}

static void *call(void *arg)
{
    caller *who = arg;
    for (int i = 0; i < N_JOBS; i++)
        for (int e = 0; e < N_ENGINES; e++)
            submit_one(who, &who->crowds[e], &who->tickets[e][i]);
    return NULL;
}

static void pause_ms(long ms)
{
    const struct timespec t = {0, ms * 1000000};
    nanosleep(&t, NULL);
}

/* The last callback runs a moment before the scheduler goes idle. */
static void check_idle(crowd *c)
{
    qg_stats s;
    for (int i = 0;; i++) {
        qg_engine_stats(c->engine, &s);
        if (!s.jobs_waiting && !s.jobs_running && i > 10)
            break;
        assert_true(i < 10000);
        pause_ms(1);
    }
    assert_int_equal(s.jobs_done, N_PROMPTS + atomic_load(&c->answered));
    assert_int_equal(s.jobs_done + s.jobs_failed, N_PROMPTS + N_THREADS * N_JOBS);
    assert_true(s.tokens_cached > 0);
    assert_true(s.kv_blocks_free > 0 && s.kv_blocks_free < s.kv_blocks);
}

static void a_crowd_gets_what_one_caller_gets(void **state)
{
    (void)state;
    static crowd crowds[N_ENGINES];
    static caller callers[N_THREADS];

    make_prompts();
    open_crowd(&crowds[0], QG_DTYPE_BF16, QG_DTYPE_AUTO, 2);
    open_crowd(&crowds[1], QG_DTYPE_F32, QG_DTYPE_AUTO, 1);
    open_crowd(&crowds[2], QG_DTYPE_BF16, QG_DTYPE_INT8, 1);
    for (int e = 0; e < N_ENGINES; e++) {
        atomic_init(&crowds[e].left, N_THREADS * N_JOBS);
        learn(&crowds[e]);
    }
    for (int i = 0; i < N_THREADS; i++) {
        callers[i].crowds = crowds;
        callers[i].seed = (unsigned)i + 1;
        assert_int_equal(pthread_create(&callers[i].thread, NULL, call, &callers[i]), 0);
    }
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(callers[i].thread, NULL);
    for (int e = 0; e < N_ENGINES; e++) {
        for (int i = 0; atomic_load(&crowds[e].left) > 0; i++) {
            assert_true(i < 100000);
            pause_ms(1);
        }
        assert_int_equal(atomic_load(&crowds[e].refused), 0);
        assert_int_equal(atomic_load(&crowds[e].wrong), 0);
        check_idle(&crowds[e]);
        qg_engine_close(crowds[e].engine);
        for (int i = 0; i < N_PROMPTS; i++)
            qg_free(crowds[e].expected[i]);
    }
}

static void count(void *ud, qg_status rc, qg_result *result, const qg_err *err)
{
    (void)rc;
    (void)err;
    qg_result_free(result);
    atomic_fetch_sub((atomic_int *)ud, 1);
}

static void cancelled_jobs_give_their_memory_back(void **state)
{
    (void)state;
    enum { N = 40 };
    qg_options opt;
    qg_stats s;
    atomic_int left = N;
    qg_engine *engine;

    make_prompts();
    qg_options_init(&opt);
    opt.n_threads = 1;
    opt.prefix_cache = false;
    assert_int_equal(qg_engine_open(&engine, &opt, NULL), QG_OK);
    for (int i = 0; i < N; i++) {
        qg_message m;
        qg_request req;
        qg_job *job;
        ask(&req, &m, i % N_PROMPTS);
        assert_int_equal(qg_submit(engine, &req, count, &left, &job, NULL), QG_OK);
        if (i % 4)
            qg_cancel(job);
        qg_job_release(job);
    }
    for (int i = 0;; i++) {
        qg_engine_stats(engine, &s);
        if (!atomic_load(&left) && s.kv_blocks_free == s.kv_blocks)
            break;
        assert_true(i < 30000);
        pause_ms(1);
    }
    qg_engine_close(engine);
}

/* ---- a long job and a short one: counted in token rows, not in time ---- */

enum { ROWS = 64, LONG_WORDS = 1500 };

typedef struct race {
    qg_engine *engine;
    int64_t posted_at, answered_at; /* rows computed so far when the short job came and ended */
    atomic_int left;
    atomic_int long_done, failed;
} race;

static int64_t rows_so_far(const race *r)
{
    qg_stats s;
    qg_engine_stats(r->engine, &s);
    return s.tokens_computed;
}

static void long_ended(void *ud, qg_status rc, qg_result *result, const qg_err *err)
{
    race *r = ud;
    (void)err;
    atomic_store(&r->long_done, 1);
    atomic_fetch_or(&r->failed, rc != QG_OK);
    qg_result_free(result);
    atomic_fetch_sub(&r->left, 1);
}

static void short_ended(void *ud, qg_status rc, qg_result *result, const qg_err *err)
{
    race *r = ud;
    (void)err;
    r->answered_at = rows_so_far(r);
    atomic_fetch_or(&r->failed, rc != QG_OK || atomic_load(&r->long_done));
    qg_result_free(result);
    atomic_fetch_sub(&r->left, 1);
}

/* On the scheduler's thread, between two passes, while the long job runs. */
static void post_short(void *ud, qg_status rc, qg_result *result, const qg_err *err)
{
    race *r = ud;
    qg_message m;
    qg_request req;
    (void)err;
    qg_result_free(result);
    ask(&req, &m, 5);
    r->posted_at = rows_so_far(r);
    if (rc != QG_OK || qg_submit(r->engine, &req, short_ended, r, NULL, NULL) != QG_OK) {
        atomic_store(&r->failed, 1);
        atomic_fetch_sub(&r->left, 1);
    }
    atomic_fetch_sub(&r->left, 1);
}

/* Beside a job of thousands of tokens a short one gets three quarters of every pass. */
static void a_long_job_holds_nobody_up(void **state)
{
    (void)state;
    static char words[LONG_WORDS * 6];
    race r = {.left = 3};
    qg_options opt;
    qg_message m;
    qg_request req;

    make_prompts();
    qg_options_init(&opt);
    opt.n_threads = 1;
    opt.step_rows = ROWS;
    opt.prefix_cache = false;
    assert_int_equal(qg_engine_open(&r.engine, &opt, NULL), QG_OK);
    qg_result *result;
    ask(&req, &m, 5);
    assert_int_equal(qg_judge(r.engine, &req, &result, NULL), QG_OK);
    qg_result_free(result);
    const int64_t alone = rows_so_far(&r), passes = alone / (ROWS - ROWS / 4) + 1;

    for (size_t i = 0; i < LONG_WORDS; i++)
        memcpy(words + i * 6, "lemon ", 6);
    m.content = (qg_text){words, sizeof words};
    assert_int_equal(qg_submit(r.engine, &req, long_ended, &r, NULL, NULL), QG_OK);
    ask(&req, &m, 0);
    assert_int_equal(qg_submit(r.engine, &req, post_short, &r, NULL, NULL), QG_OK);
    while (atomic_load(&r.left))
        pause_ms(1);
    assert_false(atomic_load(&r.failed));
    assert_in_range(r.answered_at - r.posted_at, alone, passes * ROWS);
    qg_engine_close(r.engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crowd_gets_what_one_caller_gets),
        cmocka_unit_test(cancelled_jobs_give_their_memory_back),
        cmocka_unit_test(a_long_job_holds_nobody_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
