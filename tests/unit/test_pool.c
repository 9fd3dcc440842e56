#include "unit.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum { MAX_PARTS = 300 };

typedef struct tally {
    atomic_int times[MAX_PARTS];
    atomic_int wrong;
    int n_parts;
    int stamp;             /* plain data written before the run: workers must see it */
    int naps;              /* parts that sleep, so that others overtake */
    int result[MAX_PARTS]; /* plain data written by parts: the caller must see it */
} tally;

static void count_part(void *arg, int part, int n_parts)
{
    tally *t = arg;
    if (n_parts != t->n_parts || part < 0 || part >= n_parts)
        atomic_fetch_add(&t->wrong, 1);
    else
        atomic_fetch_add(&t->times[part], 1);
    if (part < t->naps)
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    t->result[part] = t->stamp + part;
}

static void run_and_check(qg_pool *pool, tally *t, int n_parts, int stamp, int naps)
{
    for (int i = 0; i < MAX_PARTS; i++)
        atomic_store(&t->times[i], 0);
    t->n_parts = n_parts;
    t->stamp = stamp;
    t->naps = naps;
    qg_pool_run(pool, count_part, t, n_parts);
    assert_int_equal(atomic_load(&t->wrong), 0);
    for (int i = 0; i < MAX_PARTS; i++)
        if (atomic_load(&t->times[i]) != (i < n_parts))
            fail_msg("part %d of %d ran %d times", i, n_parts, atomic_load(&t->times[i]));
    for (int i = 0; i < n_parts; i++)
        assert_int_equal(t->result[i], stamp + i);
}

static void each_part_runs_once(void **state)
{
    (void)state;
    static const int threads[] = {1, 2, 3, 8, 33}; /* 33: far more than processors */
    for (size_t i = 0; i < QG_COUNT(threads); i++) {
        qg_pool *pool;
        tally t = {0};
        assert_int_equal(qg_pool_open(&pool, threads[i], NULL), QG_OK);
        assert_int_equal(qg_pool_threads(pool), threads[i]);
        for (int run = 0; run < 2000; run++)
            run_and_check(pool, &t, run * 7 % (MAX_PARTS < 40 ? MAX_PARTS : 40), run, 0);
        run_and_check(pool, &t, MAX_PARTS, -1, 0);
        qg_pool_close(pool);
    }
}

/* Long and short jobs in turn: workers sleep, wake late and meet a later job than they woke for. */
static void late_workers_do_no_harm(void **state)
{
    (void)state;
    qg_pool *pool;
    tally t = {0};
    assert_int_equal(qg_pool_open(&pool, 6, NULL), QG_OK);
    for (int run = 0; run < 300; run++) {
        run_and_check(pool, &t, 2 + run % 5, run, run % 3);
        run_and_check(pool, &t, 2, run, 0);
        if (run % 10 == 0)
            nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    }
    qg_pool_close(pool);
}

static void *own_pool(void *arg)
{
    qg_pool *pool;
    tally *t = arg;
    if (qg_pool_open(&pool, 3, NULL) != QG_OK)
        return NULL;
    for (int run = 0; run < 500; run++)
        run_and_check(pool, t, 9, run, 0);
    qg_pool_close(pool);
    return t;
}

static void pools_are_independent(void **state)
{
    (void)state;
    pthread_t threads[3];
    tally tallies[3] = {0};
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, own_pool, &tallies[i]), 0);
    for (int i = 0; i < 3; i++) {
        void *done = NULL;
        pthread_join(threads[i], &done);
        assert_ptr_equal(done, &tallies[i]);
    }
}

/* Somebody else goes first now and then: nothing changes but the time it takes. */
static void others_go_first(void **state)
{
    (void)state;
    qg_pool *pool;
    tally t = {0};
    int busy = 0;
    assert_int_equal(qg_pool_open(&pool, 3, NULL), QG_OK);
    qg_pool_let_first(pool, &busy);
    for (int run = 0; run < 2000; run++) {
        __atomic_store_n(&busy, run / 100 % 2, __ATOMIC_RELAXED);
        run_and_check(pool, &t, 1 + run % 9, run, 0);
    }
    qg_pool_close(pool);
}

static void opening_and_closing(void **state)
{
    (void)state;
    qg_pool *pool;
    qg_err err;
    qg_pool_close(NULL);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(qg_pool_open(&pool, 1 + i % 5, &err), QG_OK);
        qg_pool_close(pool);
    }
    assert_int_equal(qg_pool_open(&pool, 0, &err), QG_ERR_ARG);
    assert_null(pool);
    assert_int_equal(qg_pool_open(&pool, 1000000, &err), QG_ERR_ARG);
    assert_non_null(strstr(err.msg, "1000000"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_part_runs_once),   cmocka_unit_test(late_workers_do_no_harm),
        cmocka_unit_test(pools_are_independent), cmocka_unit_test(others_go_first),
        cmocka_unit_test(opening_and_closing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
