/* Fork-join pool.
 *
 * A job is handed out through one 64-bit ticket: job number above, next part below.  A thread reads
 * the ticket, then the job's fields, then takes the part by compare-and-swap on the same ticket.
 * That succeeds only while part `next` of job `number` is untaken, so the job cannot have ended and
 * the fields read in between are its own: a worker that wakes late finds a ticket that does not
 * match and can do no harm, and nobody has to wait for it.
 *
 * Waiting spins a short while (a forward pass starts a job every few microseconds), then sleeps. */
#define _GNU_SOURCE
#include "base/pool.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/relax.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Pauses before sleeping: 10 to 40 microseconds, less than two context switches cost. */
enum { SPINS = 1000 };

/* A part takes microseconds to milliseconds.  With 4 ms between the system's ticks an offer is what
 * lets a thread go that was woken or interrupted; more often would only cost. */
enum { OFFER_US = 100 };

struct qg_pool {
    _Alignas(64) _Atomic uint64_t ticket; /* job number << 32 | next part */
    _Atomic(qg_pool_fn *) fn;
    _Atomic(void *) arg;
    _Atomic int n_parts;
    _Alignas(64) _Atomic uint32_t left; /* parts not finished; the caller sleeps on it */
    _Atomic uint32_t caller_sleeps;
    _Alignas(64) _Atomic uint32_t posted; /* counts jobs; workers sleep on it */
    _Atomic uint32_t sleepers;
    _Atomic bool closing;
    const int *busy;    /* whoever should go first has something to do; NULL = nobody */
    int64_t offered_us; /* by the caller's thread */
    int n_workers;
    pthread_t workers[];
};

static void futex_wait(_Atomic uint32_t *at, uint32_t seen)
{
    syscall(SYS_futex, at, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *at, int n)
{
    syscall(SYS_futex, at, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

/* offered_us: when this thread did so last. */
static void offer(const qg_pool *pool, int64_t *offered_us)
{
    if (!pool->busy || !__atomic_load_n(pool->busy, __ATOMIC_RELAXED) ||
        qg_clock_us() - *offered_us < OFFER_US)
        return;
    sched_yield();
    *offered_us = qg_clock_us();
}

/* Takes and runs parts until none is left to take. */
static void work(qg_pool *pool, int64_t *offered_us)
{
    uint64_t ticket = atomic_load_explicit(&pool->ticket, memory_order_acquire);
    for (;;) {
        qg_pool_fn *fn = atomic_load_explicit(&pool->fn, memory_order_acquire);
        void *arg = atomic_load_explicit(&pool->arg, memory_order_acquire);
        int n_parts = atomic_load_explicit(&pool->n_parts, memory_order_acquire);
        int part = (int)(uint32_t)ticket;
        if (part >= n_parts)
            return;
        if (!atomic_compare_exchange_weak_explicit(&pool->ticket, &ticket, ticket + 1,
                                                   memory_order_acq_rel, memory_order_acquire))
            continue;
        fn(arg, part, n_parts);
        /* seq_cst here and in wait_done: either the caller sees 0 or we see that it sleeps */
        if (atomic_fetch_sub(&pool->left, 1) == 1 && atomic_load(&pool->caller_sleeps))
            futex_wake(&pool->left, 1);
        offer(pool, offered_us);
        ticket = atomic_load_explicit(&pool->ticket, memory_order_acquire);
    }
}

static void *worker(void *p)
{
    qg_pool *pool = p;
    uint32_t seen = 0;
    int64_t offered_us = 0;
    for (;;) {
        uint32_t now = atomic_load(&pool->posted);
        for (int i = 0; now == seen && i < SPINS; i++) {
            qg_relax();
            now = atomic_load_explicit(&pool->posted, memory_order_acquire);
        }
        if (now == seen) {
            atomic_fetch_add(&pool->sleepers, 1);
            while ((now = atomic_load(&pool->posted)) == seen)
                futex_wait(&pool->posted, seen);
            atomic_fetch_sub(&pool->sleepers, 1);
        }
        if (atomic_load(&pool->closing))
            return NULL;
        seen = now;
        work(pool, &offered_us);
    }
}

static void post(qg_pool *pool, int n_wake)
{
    atomic_fetch_add(&pool->posted, 1);
    if (atomic_load(&pool->sleepers))
        futex_wake(&pool->posted, n_wake);
}

static void wait_done(qg_pool *pool)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&pool->left, memory_order_acquire) == 0)
            return;
        qg_relax();
    }
    atomic_store(&pool->caller_sleeps, 1);
    for (uint32_t left; (left = atomic_load(&pool->left)) != 0;)
        futex_wait(&pool->left, left);
    atomic_store(&pool->caller_sleeps, 0);
}

void qg_pool_run(qg_pool *pool, qg_pool_fn *fn, void *arg, int n_parts)
{
    if (pool->n_workers == 0 || n_parts <= 1) {
        for (int i = 0; i < n_parts; i++)
            fn(arg, i, n_parts);
        offer(pool, &pool->offered_us);
        return;
    }
    uint64_t job = (atomic_load_explicit(&pool->ticket, memory_order_relaxed) >> 32) + 1;
    /* A late worker may read these fields while they change.  So the ticket is closed first, and
     * whoever sees a new field (acquire) also sees the closed ticket: its swap is refused. */
    atomic_store_explicit(&pool->ticket, job << 32 | INT32_MAX, memory_order_release);
    atomic_store_explicit(&pool->fn, fn, memory_order_release);
    atomic_store_explicit(&pool->arg, arg, memory_order_release);
    atomic_store_explicit(&pool->n_parts, n_parts, memory_order_release);
    atomic_store_explicit(&pool->left, (uint32_t)n_parts, memory_order_release);
    atomic_store_explicit(&pool->ticket, (job + 1) << 32, memory_order_release);
    int others = n_parts - 1 < pool->n_workers ? n_parts - 1 : pool->n_workers;
    post(pool, others);
    work(pool, &pool->offered_us);
    wait_done(pool);
}

static qg_status start_workers(qg_pool *pool, int n, qg_err *err)
{
    sigset_t all, before;
    qg_status rc = QG_OK;

    /* Signals belong to the program's own threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (; pool->n_workers < n; pool->n_workers++)
        if (pthread_create(&pool->workers[pool->n_workers], NULL, worker, pool) != 0) {
            rc = qg_fail(err, QG_ERR_NOMEM, "cannot start worker thread %d", pool->n_workers + 1);
            break;
        }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

qg_status qg_pool_open(qg_pool **out, int n_threads, qg_err *err)
{
    *out = NULL;
    if (n_threads < 1 || n_threads > QG_MAX_THREADS)
        return qg_fail(err, QG_ERR_ARG, "%d threads: must be 1 to %d", n_threads, QG_MAX_THREADS);
    size_t bytes = sizeof(qg_pool) + (size_t)(n_threads - 1) * sizeof(pthread_t);
    qg_pool *pool = qg_aligned_alloc(64, bytes);
    if (!pool)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory for %d threads", n_threads);
    memset(pool, 0, bytes);
    qg_status rc = start_workers(pool, n_threads - 1, err);
    if (rc != QG_OK) {
        qg_pool_close(pool);
        return rc;
    }
    *out = pool;
    return QG_OK;
}

void qg_pool_close(qg_pool *pool)
{
    if (!pool)
        return;
    atomic_store(&pool->closing, true);
    post(pool, INT32_MAX);
    for (int i = 0; i < pool->n_workers; i++)
        pthread_join(pool->workers[i], NULL);
    qg_mfree(pool);
}

void qg_pool_let_first(qg_pool *pool, const int *busy)
{
    pool->busy = busy;
}

int qg_pool_threads(const qg_pool *pool)
{
    return pool->n_workers + 1;
}
