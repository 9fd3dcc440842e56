/* The scheduler: one thread that owns KV, prefix cache and passes.  Jobs come in through the
 * mailbox under the lock; everything else here is this thread's alone. */
#include "engine/engine_int.h"

#include <time.h>

/* Interactive jobs are urgent at once, bulk jobs ten seconds later, both by arrival: bulk yields
 * but cannot starve.  An earlier deadline makes a job more urgent than its class. */
enum { INTERACTIVE_US = 1000000, BULK_US = 11000000 };

enum { MAX_RUNNING = 256 };

/* Bulk jobs run so many passes' rows at a time: enough to fill each pass, and their KV stays small
 * enough to be used again and again.  64 checks of the 0.6B shape took 1.4 GiB. */
enum { BULK_PASSES = 4 };

enum { REST_US = 20000 }; /* idle so long, the engine gets memory ready */

/* Of jobs that come together, the first wakes an idle engine while the others are on their way. */
enum { GATHER_US = 50 };

static void insert_by_urgency(qg_job **list, qg_job *job)
{
    while (*list && (*list)->urgency_us <= job->urgency_us)
        list = &(*list)->next;
    job->next = *list;
    *list = job;
}

qg_status qg_sched_post(qg_engine *engine, qg_job *job, qg_err *err)
{
    const qg_options *opt = &engine->opt;
    qg_status rc = QG_OK;

    int64_t urgent = job->submitted_us + (job->bulk ? BULK_US : INTERACTIVE_US);
    job->urgency_us = job->deadline_us && job->deadline_us < urgent ? job->deadline_us : urgent;
    pthread_mutex_lock(&engine->lock);
    if (engine->closing) {
        rc = qg_fail(err, QG_ERR_CLOSED, "the engine is closing");
    } else if (!job->admitted && engine->n_jobs >= opt->max_jobs) {
        rc = qg_fail(err, QG_ERR_BUSY, "%d jobs are waiting or running, the most allowed",
                     engine->n_jobs);
    } else if (!job->admitted && engine->n_jobs &&
               engine->n_tokens + job->n_prompt > opt->max_queued_tokens) {
        rc = qg_fail(err, QG_ERR_BUSY, "%lld tokens are waiting or running, at most %lld may",
                     (long long)engine->n_tokens, (long long)opt->max_queued_tokens);
    } else if (job->session && job->session->closed) {
        rc = qg_fail(err, QG_ERR_CANCELLED, "the session was closed");
    } else {
        if (job->session)
            job->session->job = job;
        atomic_fetch_add(&job->refs, 1);
        engine->n_jobs++;
        engine->n_tokens += job->n_prompt;
        engine->stats.jobs_waiting++;
        *engine->mailbox_end = job;
        engine->mailbox_end = &job->next;
        pthread_cond_signal(&engine->wake);
    }
    pthread_mutex_unlock(&engine->lock);
    return rc;
}

/* Free, or given up by the cache when asked. */
static int32_t blocks_free(const qg_engine *engine)
{
    return qg_kv_n_free(engine->kv) + qg_kv_n_spare(engine->kv);
}

void qg_sched_count(qg_engine *engine, const qg_job *job, int by)
{
    pthread_mutex_lock(&engine->lock);
    engine->n_jobs += by;
    engine->n_tokens += (int64_t)by * job->n_prompt;
    pthread_mutex_unlock(&engine->lock);
}

/* The job has left its list. */
static void end_job(qg_engine *engine, qg_job *job, bool was_running, qg_status rc,
                    qg_result *result, const qg_err *err)
{
    qg_kv_seq_free(&job->seq);
    if (job->session)
        qg_session_end(engine, job, rc);
    engine->kv_full = false;
    engine->n_running -= was_running;
    pthread_mutex_lock(&engine->lock);
    engine->n_jobs--;
    engine->n_tokens -= job->n_prompt;
    *(was_running ? &engine->stats.jobs_running : &engine->stats.jobs_waiting) -= 1;
    *(rc == QG_OK ? &engine->stats.jobs_done : &engine->stats.jobs_failed) += 1;
    if (rc == QG_OK)
        engine->stats.tokens_cached += job->n_cached;
    engine->stats.kv_blocks_free = blocks_free(engine);
    if (job->session) {
        job->session->job = NULL;
        job->session->busy = false;
    }
    pthread_mutex_unlock(&engine->lock);
    if (job->session)
        job->stream_done(job->ud, rc, job->stream_result, rc == QG_OK ? NULL : err);
    else
        job->done(job->ud, rc, result, rc == QG_OK ? NULL : err);
    qg_job_unref(job);
}

/* Ends every job of a list that must not go on: all of them when the engine closes. */
static void reap(qg_engine *engine, qg_job **list, bool running, bool closing)
{
    int64_t now = qg_now_us();
    while (*list) {
        qg_job *job = *list;
        qg_err err;
        qg_status rc = QG_OK;
        if (closing)
            rc = qg_fail(&err, QG_ERR_CLOSED, "the engine is closing");
        else if (atomic_load(&job->cancelled))
            rc = qg_fail(&err, QG_ERR_CANCELLED, "cancelled by the caller");
        else if (job->deadline_us && now >= job->deadline_us)
            rc = qg_fail(&err, QG_ERR_DEADLINE, "the deadline passed before the verdict");
        if (rc == QG_OK) {
            list = &job->next;
            continue;
        }
        *list = job->next;
        end_job(engine, job, running, rc, NULL, &err);
    }
}

qg_status qg_sched_grow(qg_engine *engine, qg_kv_seq *seq, int32_t n_slots)
{
    qg_status rc;
    while ((rc = qg_prefix_grow(engine->prefix, seq, n_slots)) == QG_ERR_BUSY)
        if (!qg_sessions_evict(engine))
            break;
    return rc;
}

/* Gives the job its KV memory for as long as it runs: what the cache has, and blocks for the rest.
 * A session's append takes blocks for its new tokens, which stay with the session. */
static qg_status reserve(qg_engine *engine, qg_job *job)
{
    if (job->session)
        return qg_session_reserve(engine, job);
    job->seq = (qg_kv_seq){.kv = engine->kv};
    if (engine->prefix && job->kind != QG_JOB_LOGITS)
        /* At least the last token is computed: its hidden state is what is asked for. */
        job->n_cached =
            qg_prefix_match(engine->prefix, job->ids.p, (int32_t)job->ids.n - 1, &job->seq);
    qg_status rc = qg_sched_grow(engine, &job->seq, job->max_slots);
    if (rc != QG_OK) {
        qg_kv_seq_free(&job->seq);
        job->n_cached = 0;
    }
    job->linear_done = job->n_cached;
    if (job->n_cached > job->n_prompt)
        job->n_cached = job->n_prompt;
    return rc;
}

/* Nothing runs, nothing more can be evicted, and still there is no room: other sessions' appends
 * wait with what they have, or it is too much for the pool. */
static void refuse(qg_engine *engine, qg_job *job, qg_status rc)
{
    qg_err err;
    if (rc != QG_ERR_BUSY)
        rc = qg_fail(&err, rc, "out of memory");
    else if (!qg_session_is_alone(engine, job->session))
        rc = qg_fail(&err, rc, "other appends on their way hold all KV memory; try again");
    else
        rc = qg_fail(&err, QG_ERR_TOO_LONG, "%d tokens do not fit the KV memory", job->max_slots);
    end_job(engine, job, false, rc, NULL, &err);
}

/* Rows that bulk jobs may still bring in before those that run are through. */
static int64_t bulk_room(const qg_engine *engine)
{
    int64_t room = (int64_t)BULK_PASSES * engine->step.cap;
    for (const qg_job *job = engine->running; job; job = job->next)
        if (job->bulk)
            room -= qg_job_pending(job);
    return room;
}

static void begin(qg_engine *engine, qg_job *job)
{
    if (job->session)
        qg_session_begin(engine, job);
    insert_by_urgency(&engine->running, job);
    engine->n_running++;
    pthread_mutex_lock(&engine->lock);
    engine->stats.jobs_waiting--;
    engine->stats.jobs_running++;
    pthread_mutex_unlock(&engine->lock);
}

/* Moves waiting jobs to running while there is room.  The first that does not fit waits, and
 * those behind it too, so that large jobs are not passed for ever. */
static void admit(qg_engine *engine)
{
    int64_t room = bulk_room(engine);
    for (qg_job **at = &engine->waiting;
         *at && engine->n_running < MAX_RUNNING && !engine->kv_full;) {
        qg_job *job = *at;
        if (job->bulk && room <= 0) {
            at = &job->next;
            continue;
        }
        qg_status rc = reserve(engine, job);
        /* Not tried again before a job gives its blocks back: each try would empty the cache. */
        engine->kv_full = rc == QG_ERR_BUSY && engine->n_running;
        if (engine->kv_full)
            return;
        *at = job->next;
        if (rc != QG_OK) {
            refuse(engine, job, rc);
            continue;
        }
        room -= job->bulk ? qg_job_pending(job) : 0;
        begin(engine, job);
    }
}

/* Lets every job whose rows are all in decide what comes next. */
static void decide(qg_engine *engine)
{
    for (qg_job **at = &engine->running; *at;) {
        qg_job *job = *at;
        qg_result *result;
        qg_status rc;
        qg_err err;
        bool ran = job->step_rows || job->kind == QG_JOB_SESSION; /* an append may bring no row */
        if (!ran || qg_job_pending(job) ||
            qg_job_decide(engine, job, &result, &rc, &err) == QG_NEXT_MORE) {
            at = &job->next;
            continue;
        }
        *at = job->next;
        end_job(engine, job, true, rc, result, &err);
    }
}

/* A pass that fails takes its jobs with it: none of them may get a verdict from it. */
static void fail_step(qg_engine *engine, qg_status rc)
{
    qg_err err;
    rc = qg_fail(&err, QG_ERR_INTERNAL, "%s",
                 rc == QG_ERR_INTERNAL ? "the model gave a number that is not finite"
                                       : "the model refused the pass");
    for (qg_job **at = &engine->running; *at;) {
        qg_job *job = *at;
        if (!job->step_rows) {
            at = &job->next;
            continue;
        }
        *at = job->next;
        end_job(engine, job, true, rc, NULL, &err);
    }
}

static void count_crowd(qg_engine *engine)
{
    int32_t n = 0;
    for (const qg_job *job = engine->running; job; job = job->next)
        n += job->step_rows > 0;
    engine->crowd = n > engine->crowd * 3 / 4 ? n : engine->crowd * 3 / 4;
}

static void run_step(qg_engine *engine)
{
    qg_step_fill(engine);
    count_crowd(engine);
    qg_status rc = qg_step_run(engine);
    if (rc == QG_OK) { /* counted first: who hears of a result finds its cost in the counters */
        pthread_mutex_lock(&engine->lock);
        engine->stats.tokens_computed += engine->step.n_rows;
        engine->stats.last_progress_us = qg_now_us();
        pthread_mutex_unlock(&engine->lock);
        qg_step_deliver(engine);
        decide(engine);
    } else if (rc != QG_ERR_CANCELLED) { /* cancelled: the next reap ends the jobs */
        fail_step(engine, rc);
    }
    pthread_mutex_lock(&engine->lock);
    engine->stats.last_progress_us = qg_now_us();
    engine->stats.kv_blocks_free = blocks_free(engine);
    pthread_mutex_unlock(&engine->lock);
}

/* Waits to be woken, at most until `until` (0: for ever); false when that has come.  Under the
 * lock.
 */
static bool wait_until(qg_engine *engine, int64_t until)
{
    const struct timespec at = {until / 1000000, until % 1000000 * 1000};
    if (until)
        return pthread_cond_timedwait(&engine->wake, &engine->lock, &at) == 0;
    pthread_cond_wait(&engine->wake, &engine->lock);
    return true;
}

/* Gets a block of memory ready that jobs will use; false when there is no more to do.  A fraction
 * of a millisecond, or a few where the host has yet to find the memory, that else a pass would
 * wait. Under the lock, which is let go meanwhile. */
static bool warm(qg_engine *engine)
{
    pthread_mutex_unlock(&engine->lock);
    bool more = qg_kv_warm(engine->kv, engine->kv_warm);
    pthread_mutex_lock(&engine->lock);
    return more;
}

/* Sleeps until there is something to do: at the latest when a session has been idle for too long.
 * Under the lock. */
static void sleep_idle(qg_engine *engine)
{
    bool rested = false, ready = false;
    while (!engine->mailbox && !engine->closing && !engine->closed && !engine->waiting &&
           !engine->running) {
        int64_t now = qg_now_us(), until = engine->next_expiry_us;
        engine->stats.last_progress_us = now;
        engine->stats.kv_blocks_free = blocks_free(engine);
        if (until && now >= until)
            return;
        if (ready)
            wait_until(engine, until);
        else if (rested)
            ready = !warm(engine);
        else
            rested = !wait_until(engine, now + REST_US);
    }
}

/* Idle until one of a crowd came: lets the others arrive as long as they do, so that they
 * share a pass instead of waiting a whole one for the first.  32 appends from one thread take 0.3
 * ms to arrive, their pass 50.  A lone caller's jobs wait for nobody.  Under the lock, which is let
 * go meanwhile. */
static void gather(qg_engine *engine)
{
    const struct timespec nap = {0, GATHER_US * 1000};
    for (int32_t seen = 0;
         engine->n_jobs > seen && engine->n_jobs < engine->crowd && !engine->closing;) {
        seen = engine->n_jobs;
        pthread_mutex_unlock(&engine->lock);
        nanosleep(&nap, NULL);
        pthread_mutex_lock(&engine->lock);
    }
}

/* Empties the mailbox into the waiting list; sleeps while there is nothing at all to do.  *closed
 * gets the sessions that were closed.  Returns whether the engine is closing. */
static bool collect(qg_engine *engine, qg_session **closed)
{
    pthread_mutex_lock(&engine->lock);
    sleep_idle(engine);
    if (!engine->waiting && !engine->running)
        gather(engine);
    *closed = engine->closed;
    engine->closed = NULL;
    qg_job *job = engine->mailbox;
    engine->mailbox = NULL;
    engine->mailbox_end = &engine->mailbox;
    bool closing = engine->closing;
    pthread_mutex_unlock(&engine->lock);
    while (job) {
        qg_job *next = job->next;
        insert_by_urgency(&engine->waiting, job);
        job = next;
    }
    return closing;
}

void *qg_sched_main(void *arg)
{
    qg_engine *engine = arg;
    for (;;) {
        qg_session *closed;
        bool closing = collect(engine, &closed);
        reap(engine, &engine->running, true, closing);
        reap(engine, &engine->waiting, false, closing);
        qg_sessions_bury(engine, closed);
        if (closing)
            break;
        qg_sessions_expire(engine, qg_now_us());
        admit(engine);
        if (engine->running)
            run_step(engine);
    }
    qg_sessions_flush(engine);
    return NULL;
}
