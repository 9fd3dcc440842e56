/* An engine that is not one: include/qguard.h for the tests of the server, so that overload,
 * deadlines, failures and slow verdicts happen exactly when a test asks for them.  Words in the
 * last message decide:
 *
 *   bomb        Unsafe, Violent               echo=WORD   the answer is "echo: WORD"
 *   sleep=MS    answer after MS ms            hang        never answers before the engine closes
 *   toolong, template, busy, noarg            qg_submit fails so
 *   submit=MS   qg_submit itself takes so long, as for a very long text
 *   nan         the job fails with QG_ERR_INTERNAL
 *   unfinished  the text is cut, as by max_tokens
 *
 * One token per byte; 256 is the end token.  One thread plays the scheduler. */
#define _GNU_SOURCE

#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct qg_job {
    qg_job *next;
    qg_done_fn *done;
    void *ud;
    int64_t due_us, deadline_us;
    bool hang, nan, unfinished, cancelled, ended;
    int refs, n_prompt;
    char role[16];
    char text[256];
    qg_engine *engine;
};

struct qg_engine {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    qg_job *jobs; /* newest first */
    int n_jobs, max_jobs;
    bool closing;
    int64_t progress_us;
    int32_t max_len;
};

typedef struct result_box {
    qg_result pub; /* first */
    char text[256];
    int32_t ids[257];
    char role[16];
} result_box;

int64_t qg_now_us(void)
{
    return qg_clock_us();
}

void qg_options_init(qg_options *opt)
{
    *opt = (qg_options){.size = sizeof *opt, .max_jobs = 1024, .max_model_len = 4096};
}

void qg_request_init(qg_request *req)
{
    *req = (qg_request){.size = sizeof *req};
}

void qg_free(void *p)
{
    qg_mfree(p);
}

static void job_unref(qg_job *job)
{
    if (__atomic_sub_fetch(&job->refs, 1, __ATOMIC_ACQ_REL) == 0)
        qg_mfree(job);
}

static qg_result *make_result(const qg_job *job)
{
    result_box *box = qg_calloc(1, sizeof *box);
    qg_result *r = &box->pub;
    size_t n = strlen(job->text);
    memcpy(box->text, job->text, n);
    memcpy(box->role, job->role, sizeof box->role);
    for (size_t i = 0; i < n; i++)
        box->ids[i] = (unsigned char)box->text[i];
    if (!job->unfinished)
        box->ids[n] = 256;
    *r = (qg_result){.role = box->role,
                     .well_formed = true,
                     .text = box->text,
                     .text_bytes = n,
                     .ids = box->ids,
                     .n_ids = job->unfinished ? n : n + 1,
                     .finished = !job->unfinished,
                     .n_prompt_tokens = job->n_prompt,
                     .refusal = -1,
                     .p_refusal = -1};
    return r;
}

void qg_result_free(qg_result *result)
{
    qg_mfree(result);
}

/* With the lock held, which is let go for the call. */
static void end_job(qg_engine *e, qg_job **at, qg_status rc)
{
    qg_job *job = *at;
    qg_err err = {""};
    qg_result *result = rc == QG_OK ? make_result(job) : NULL;
    *at = job->next;
    e->n_jobs--;
    e->progress_us = qg_now_us();
    __atomic_store_n(&job->ended, true, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&e->lock);
    if (rc != QG_OK)
        qg_fail(&err, rc, "the fake engine says %s", qg_status_name(rc));
    job->done(job->ud, rc, result, &err);
    pthread_mutex_lock(&e->lock);
    job_unref(job);
}

static qg_status verdict_now(const qg_engine *e, const qg_job *job, int64_t now)
{
    if (e->closing)
        return QG_ERR_CLOSED;
    if (job->hang)
        return QG_ERR_UNSUPPORTED; /* not now */
    if (job->cancelled)
        return QG_ERR_CANCELLED;
    if (now >= job->due_us)
        return job->nan ? QG_ERR_INTERNAL : QG_OK;
    if (job->deadline_us && now >= job->deadline_us)
        return QG_ERR_DEADLINE;
    return QG_ERR_UNSUPPORTED;
}

static bool end_one(qg_engine *e)
{
    int64_t now = qg_now_us();
    for (qg_job **at = &e->jobs; *at; at = &(*at)->next) {
        qg_status rc = verdict_now(e, *at, now);
        if (rc != QG_ERR_UNSUPPORTED) {
            end_job(e, at, rc);
            return true;
        }
    }
    return false;
}

static void *scheduler(void *arg)
{
    qg_engine *e = arg;
    pthread_mutex_lock(&e->lock);
    while (!e->closing || e->jobs) {
        if (end_one(e))
            continue;
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += 2000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        if (e->jobs)
            pthread_cond_timedwait(&e->wake, &e->lock, &until);
        else
            pthread_cond_wait(&e->wake, &e->lock);
    }
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

qg_status qg_engine_open(qg_engine **out, const qg_options *opt, qg_err *err)
{
    qg_engine *e = qg_calloc(1, sizeof *e);
    pthread_condattr_t attr;
    *out = NULL;
    if (opt->model && strstr(opt->model, "missing")) {
        qg_mfree(e);
        return qg_fail(err, QG_ERR_IO, "%s: no such model", opt->model);
    }
    e->max_jobs = opt->max_jobs;
    e->max_len = opt->max_model_len;
    e->progress_us = qg_now_us();
    pthread_mutex_init(&e->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&e->wake, &attr);
    pthread_create(&e->thread, NULL, scheduler, e);
    *out = e;
    return QG_OK;
}

void qg_engine_close(qg_engine *e)
{
    if (!e)
        return;
    pthread_mutex_lock(&e->lock);
    e->closing = true;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->thread, NULL);
    pthread_cond_destroy(&e->wake);
    pthread_mutex_destroy(&e->lock);
    qg_mfree(e);
}

void qg_engine_info(const qg_engine *e, qg_model_info *info)
{
    *info = (qg_model_info){.name = "fake-guard", .max_model_len = e->max_len, .dtype = "none"};
}

void qg_engine_stats(qg_engine *e, qg_stats *stats)
{
    pthread_mutex_lock(&e->lock);
    *stats = (qg_stats){.jobs_running = e->n_jobs, .last_progress_us = e->progress_us};
    pthread_mutex_unlock(&e->lock);
}

static const char *word(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    return at ? at + strlen(name) : NULL;
}

static qg_status refusal(const qg_engine *e, const char *text, qg_err *err)
{
    if (word(text, "toolong"))
        return qg_fail(err, QG_ERR_TOO_LONG,
                       "This model's maximum context length is %d tokens. However, you requested 0 "
                       "output tokens and your prompt contains at least 9999 input tokens.",
                       e->max_len);
    if (word(text, "template"))
        return qg_fail(err, QG_ERR_TEMPLATE, "the template raised: roles must alternate");
    if (word(text, "noarg"))
        return qg_fail(err, QG_ERR_ARG, "messages are not what they should be");
    if (word(text, "busy") || e->n_jobs >= e->max_jobs)
        return qg_fail(err, QG_ERR_BUSY, "the queue is full");
    return QG_OK;
}

static void write_text(qg_job *job, const char *text)
{
    const char *echo = word(text, "echo=");
    if (echo)
        snprintf(job->text, sizeof job->text, "echo: %.*s", (int)strcspn(echo, " "), echo);
    else
        snprintf(job->text, sizeof job->text, "Safety: %s%s",
                 word(text, "bomb") ? "Unsafe\nCategories: Violent" : "Safe\nCategories: None",
                 strcmp(job->role, "user") ? "\nRefusal: No" : "");
}

qg_status qg_submit(qg_engine *e, const qg_request *req, qg_done_fn *done, void *ud, qg_job **out,
                    qg_err *err)
{
    const qg_message *last = &req->messages[req->n_messages - 1];
    char *text = qg_memdup0(last->content.p, last->content.n);
    qg_job *job = qg_calloc(1, sizeof *job);
    const char *pause = word(text, "submit=");
    if (pause)
        usleep((useconds_t)strtol(pause, NULL, 10) * 1000);
    pthread_mutex_lock(&e->lock);
    qg_status rc = refusal(e, text, err);
    if (rc == QG_OK) {
        const char *ms = word(text, "sleep=");
        job->done = done;
        job->ud = ud;
        job->engine = e;
        job->refs = 2;
        job->due_us = qg_now_us() + (ms ? strtol(ms, NULL, 10) * 1000 : 0);
        job->deadline_us = req->deadline_us;
        job->hang = word(text, "hang");
        job->nan = word(text, "nan");
        job->unfinished = word(text, "unfinished");
        for (size_t i = 0; i < req->n_messages; i++)
            job->n_prompt += (int)req->messages[i].content.n;
        snprintf(job->role, sizeof job->role, "%s", last->role);
        write_text(job, text);
        job->next = e->jobs;
        e->jobs = job;
        e->n_jobs++;
        *out = job;
        pthread_cond_signal(&e->wake);
    } else {
        qg_mfree(job);
    }
    pthread_mutex_unlock(&e->lock);
    qg_mfree(text);
    return rc;
}

/* Jobs of an engine that is closed may still be let go. */
void qg_cancel(qg_job *job)
{
    if (__atomic_load_n(&job->ended, __ATOMIC_RELAXED))
        return;
    fprintf(stderr, "fake engine: cancelled\n");
    pthread_mutex_lock(&job->engine->lock);
    job->cancelled = true;
    pthread_cond_signal(&job->engine->wake);
    pthread_mutex_unlock(&job->engine->lock);
}

void qg_job_release(qg_job *job)
{
    if (__atomic_sub_fetch(&job->refs, 1, __ATOMIC_ACQ_REL) == 0)
        qg_mfree(job);
}

qg_status qg_detokenize(const qg_engine *engine, const int32_t *ids, size_t n_ids,
                        bool skip_special, char **text, size_t *n_bytes, qg_err *err)
{
    (void)engine;
    (void)skip_special;
    (void)err;
    *text = qg_malloc(n_ids + 1);
    *n_bytes = 0;
    for (size_t i = 0; i < n_ids; i++)
        if (ids[i] < 256)
            (*text)[(*n_bytes)++] = (char)ids[i];
    (*text)[*n_bytes] = 0;
    return QG_OK;
}
