/* An engine that is not one: include/qguard.h for the tests of the server, so that overload,
 * deadlines, failures and slow verdicts happen exactly when a test asks for them.  Words in the
 * last message decide:
 *
 *   bomb        Unsafe, Violent               echo=WORD   the answer is "echo: WORD"
 *   unsafe=C    Unsafe, category number C     maybe=C     the same, Controversial (C = 9: None)
 *   after=W     Unsafe behind a message with W in it, else Safe
 *   prob=S,C,U  these probabilities           garbled     generated text that is no verdict
 *   sleep=MS    answer after MS ms            hang        never answers before the engine closes
 *   toolong, template, busy, noarg            qg_submit fails so
 *   submit=MS   qg_submit itself takes so long, as for a very long text
 *   nan         the job fails with QG_ERR_INTERNAL
 *   unfinished  the text is cut, as by max_tokens
 *   freeze      once this one has its answer, nothing else ends
 *   wreck       once this one has its answer, all others fail with QG_ERR_INTERNAL; "repair" ends
 * it
 *
 * With a context of fewer tokens than the default 4096, longer prompts are refused.
 *
 * One token per byte; 256 is the end token.  Sampled text is "sampled SEED"; the log probability of
 * a token is -0.25, of the k-th one beside it (its id plus k) -0.25 - k.  One thread plays the
 * scheduler. */
#define _GNU_SOURCE

#include "fake_engine.h"
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
    bool hang, nan, unfinished, garbled, generate, cancelled, ended, freeze, wreck;
    int refs, n_prompt, category, n_top, stop_id;
    double p[3];
    void (*later)(void *ud, qg_status rc); /* an append of a session: instead of done */
    char role[16];
    char text[256];
    qg_engine *engine;
};

struct qg_engine {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    qg_job *jobs; /* newest first */
    int n_jobs, n_done, max_jobs;
    fake_count *sessions;
    bool stream;
    bool closing, frozen, wrecked;
    int64_t progress_us;
    int32_t max_len;
};

typedef struct result_box {
    qg_result pub; /* first */
    char text[256];
    int32_t ids[257];
    char role[16];
    qg_logprob logprobs[257 * 21];
} result_box;

static const char *const category_names[] = {
    "Violent",
    "Non-violent Illegal Acts",
    "Sexual Content or Sexual Acts",
    "PII",
    "Suicide & Self-Harm",
    "Unethical Acts",
    "Politically Sensitive Topics",
    "Copyright Violation",
    "Jailbreak",
    "None",
};
enum { CATEGORIES = 10, NONE = 9, DEFAULT_LEN = 4096 };
static const char *const severity_names[] = {"Safe", "Controversial", "Unsafe"};

int64_t qg_now_us(void)
{
    return qg_clock_us();
}

void qg_options_init(qg_options *opt)
{
    *opt = (qg_options){
        .size = sizeof *opt, .max_jobs = 1024, .max_model_len = DEFAULT_LEN, .max_sessions = 8192};
}

void qg_request_init(qg_request *req)
{
    *req = (qg_request){.size = sizeof *req};
}

void qg_sampling_init(qg_sampling *how)
{
    *how =
        (qg_sampling){.size = sizeof *how, .top_p = 1, .repetition_penalty = 1, .top_logprobs = -1};
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

static int severity_of(const qg_job *job)
{
    int best = 0;
    for (int i = 1; i < 3; i++)
        best = job->p[i] > job->p[best] ? i : best;
    return best;
}

static void set_verdict(qg_result *r, const qg_job *job)
{
    bool reply = strcmp(job->role, "user") != 0;
    r->severity = (qg_severity)severity_of(job);
    r->has_p = !job->generate;
    memcpy(r->p_severity, job->p, sizeof r->p_severity);
    for (int i = 0; i < CATEGORIES; i++) {
        double hit = 1 - job->p[0];
        if (reply && i == 8)
            continue;
        r->p_category_names[r->n_p_categories] = category_names[i];
        r->p_categories[r->n_p_categories++] = i == NONE            ? job->p[0]
                                               : i == job->category ? 0.9 * hit
                                                                    : 0.1 * hit / 8;
    }
    if (r->severity != QG_SAFE && job->category != NONE)
        r->categories[r->n_categories++] = category_names[job->category];
    r->refusal = reply ? 0 : -1;
    r->p_refusal = reply ? 0.125 : -1;
    r->well_formed = !(job->garbled && job->generate);
}

static void set_logprobs(result_box *box, const qg_job *job)
{
    for (size_t i = 0; i < box->pub.n_ids; i++)
        for (int k = 0; k <= job->n_top; k++)
            box->logprobs[i * (size_t)(1 + job->n_top) + (size_t)k] =
                (qg_logprob){box->ids[i] + (k ? k - 1 : 0), -0.25F - (float)(k ? k - 1 : 0)};
    box->pub.logprobs = box->logprobs;
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
        box->ids[n] = job->stop_id ? job->stop_id : 256;
    *r = (qg_result){.role = box->role,
                     .source = "model",
                     .model = "fake-guard",
                     .well_formed = true,
                     .text = box->text,
                     .text_bytes = n,
                     .ids = box->ids,
                     .n_ids = job->unfinished ? n : n + 1,
                     .finished = !job->unfinished,
                     .n_prompt_tokens = job->n_prompt};
    set_verdict(r, job);
    if (job->n_top >= 0)
        set_logprobs(box, job);
    return r;
}

qg_status qg_result_make(const qg_engine *engine, const char *role, qg_severity severity,
                         const char *category, qg_result **out, qg_err *err)
{
    qg_job job = {.category = NONE, .n_top = -1};
    (void)engine, (void)err;
    snprintf(job.role, sizeof job.role, "%s", role);
    for (int i = 0; category && i < NONE; i++)
        if (!strcmp(category, category_names[i]))
            job.category = i;
    job.p[severity] = 1;
    snprintf(job.text, sizeof job.text, "Safety: %s\nCategories: %s%s", severity_names[severity],
             category_names[job.category], strcmp(role, "user") ? "\nRefusal: No" : "");
    *out = make_result(&job);
    (*out)->source = "rule";
    return QG_OK;
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
    qg_result *result = rc == QG_OK && !job->later ? make_result(job) : NULL;
    *at = job->next;
    e->n_jobs--;
    e->n_done += rc == QG_OK;
    e->frozen |= job->freeze;
    e->wrecked |= job->wreck;
    e->progress_us = qg_now_us();
    __atomic_store_n(&job->ended, true, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&e->lock);
    if (rc != QG_OK)
        qg_fail(&err, rc, "the fake engine says %s", qg_status_name(rc));
    if (job->later)
        job->later(job->ud, rc);
    else
        job->done(job->ud, rc, result, &err);
    pthread_mutex_lock(&e->lock);
    job_unref(job);
}

static qg_status verdict_now(const qg_engine *e, const qg_job *job, int64_t now)
{
    if (e->closing)
        return QG_ERR_CLOSED;
    if (job->cancelled && (job->later || !job->hang))
        return QG_ERR_CANCELLED;
    if (job->hang || e->frozen)
        return QG_ERR_UNSUPPORTED; /* not now */
    if (now >= job->due_us)
        return job->nan || e->wrecked ? QG_ERR_INTERNAL : QG_OK;
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
    e->sessions = qg_calloc(1, sizeof *e->sessions);
    e->sessions->refs = 1;
    e->sessions->left = opt->max_sessions;
    e->stream = opt->model && strstr(opt->model, "stream");
    e->progress_us = qg_now_us();
    pthread_mutex_init(&e->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&e->wake, &attr);
    pthread_create(&e->thread, NULL, scheduler, e);
    *out = e;
    return QG_OK;
}

void fake_count_free(fake_count *count)
{
    __atomic_add_fetch(&count->left, 1, __ATOMIC_ACQ_REL);
    if (__atomic_sub_fetch(&count->refs, 1, __ATOMIC_ACQ_REL) == 0)
        qg_mfree(count);
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
    fake_count_free(e->sessions);
    qg_mfree(e);
}

void qg_engine_info(const qg_engine *e, qg_model_info *info)
{
    *info = (qg_model_info){.name = e->stream ? "fake-stream" : "fake-guard",
                            .max_model_len = e->max_len,
                            .dtype = "none",
                            .stream = e->stream};
}

void qg_engine_stats(qg_engine *e, qg_stats *stats)
{
    pthread_mutex_lock(&e->lock);
    *stats = (qg_stats){
        .jobs_running = e->n_jobs, .jobs_done = e->n_done, .last_progress_us = e->progress_us};
    pthread_mutex_unlock(&e->lock);
}

static const char *word(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    return at ? at + strlen(name) : NULL;
}

static qg_status refusal(const qg_engine *e, const char *text, int n_prompt, qg_err *err)
{
    if (e->stream)
        return qg_fail(err, QG_ERR_UNSUPPORTED, "a Stream model judges sessions, not requests");
    if (word(text, "toolong"))
        return qg_fail(err, QG_ERR_TOO_LONG,
                       "This model's maximum context length is %d tokens. However, you requested 0 "
                       "output tokens and your prompt contains at least 9999 input tokens.",
                       e->max_len);
    if (n_prompt > e->max_len && e->max_len < DEFAULT_LEN)
        return qg_fail(err, QG_ERR_TOO_LONG,
                       "This model's maximum context length is %d tokens. However, you requested 0 "
                       "output tokens and your prompt contains at least %d input tokens.",
                       e->max_len, n_prompt);
    if (word(text, "template"))
        return qg_fail(err, QG_ERR_TEMPLATE, "the template raised: roles must alternate");
    if (word(text, "noarg"))
        return qg_fail(err, QG_ERR_ARG, "messages are not what they should be");
    if (word(text, "busy") || e->n_jobs >= e->max_jobs)
        return qg_fail(err, QG_ERR_BUSY, "the queue is full");
    return QG_OK;
}

static bool said_before(const qg_request *req, const char *text)
{
    for (size_t i = 0; text && !req->ids && i + 1 < req->n_messages; i++) {
        const qg_text *content = &req->messages[i].content;
        if (memmem(content->p, content->n, text, strcspn(text, " ")))
            return true;
    }
    return false;
}

static void decide(qg_job *job, const char *text, const qg_request *req)
{
    static const double safe[] = {0.96875, 0.02, 0.01125}, maybe[] = {0.25, 0.625, 0.125},
                        unsafe[] = {0.03125, 0.09375, 0.875};
    bool hit = word(text, "bomb") || said_before(req, word(text, "after="));
    const char *bad = word(text, "unsafe="), *odd = word(text, "maybe="), *p = word(text, "prob=");
    memcpy(job->p, bad || hit ? unsafe : odd ? maybe : safe, sizeof job->p);
    job->category = bad ? *bad - '0' : odd ? *odd - '0' : 0;
    for (int i = 0; p && i < 3; i++) {
        char *end;
        job->p[i] = strtod(p, &end);
        p = *end == ',' ? end + 1 : end;
    }
}

static void write_text(qg_job *job, const char *text, const qg_sampling *how)
{
    const char *echo = word(text, "echo=");
    int severity = severity_of(job);
    if (job->garbled && job->generate)
        snprintf(job->text, sizeof job->text, "Well, hm.");
    else if (how && how->temperature >= 1e-5)
        snprintf(job->text, sizeof job->text, "sampled %llu", (unsigned long long)how->seed);
    else if (echo)
        snprintf(job->text, sizeof job->text, "echo: %.*s", (int)strcspn(echo, " "), echo);
    else
        snprintf(job->text, sizeof job->text, "Safety: %s\nCategories: %s%s",
                 severity_names[severity], category_names[severity ? job->category : NONE],
                 strcmp(job->role, "user") ? "\nRefusal: No" : "");
}

/* As the engine: ends behind the token that completes a stop string, or at a stop token. */
static void cut_text(qg_job *job, const qg_request *req)
{
    const qg_sampling *how = req->sampling;
    size_t n = strlen(job->text);
    for (size_t at = 1; how && at <= n; at++) {
        for (size_t i = 0; i < how->n_stop_ids; i++)
            if ((unsigned char)job->text[at - 1] == how->stop_ids[i]) {
                job->text[at - 1] = 0;
                job->stop_id = how->stop_ids[i];
                return;
            }
        for (size_t i = 0; i < how->n_stops; i++)
            if (at >= how->stops[i].n &&
                !memcmp(job->text + at - how->stops[i].n, how->stops[i].p, how->stops[i].n)) {
                job->text[at] = 0;
                job->unfinished = true;
                return;
            }
    }
    if (req->max_tokens && (size_t)req->max_tokens <= n) {
        job->text[req->max_tokens] = 0;
        job->unfinished = true;
    }
}

/* The text that decides: the last message's, where the Gen template would show it, or the prompt's
 * ids as bytes. */
static char *text_of(const qg_request *req)
{
    if (!req->ids) {
        const qg_message *last = &req->messages[req->n_messages - 1];
        const char *other = req->n_messages == 1 ? "system" : "assistant";
        bool shown = !strcmp(last->role, "user") || !strcmp(last->role, other);
        return qg_memdup0(last->content.p, shown ? last->content.n : 0);
    }
    char *text = qg_calloc(req->n_ids + 1, 1);
    for (size_t i = 0; i < req->n_ids; i++)
        text[i] = (char)req->ids[i];
    return text;
}

static int prompt_tokens(const qg_request *req)
{
    size_t n = req->n_ids;
    for (size_t i = 0; !req->ids && i < req->n_messages; i++)
        n += req->messages[i].content.n;
    return (int)n;
}

qg_status qg_submit(qg_engine *e, const qg_request *req, qg_done_fn *done, void *ud, qg_job **out,
                    qg_err *err)
{
    char *text = text_of(req);
    qg_job *job = qg_calloc(1, sizeof *job);
    const char *pause = word(text, "submit=");
    if (pause)
        usleep((useconds_t)strtol(pause, NULL, 10) * 1000);
    pthread_mutex_lock(&e->lock);
    qg_status rc = refusal(e, text, prompt_tokens(req), err);
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
        job->freeze = word(text, "freeze");
        job->wreck = word(text, "wreck");
        if (word(text, "repair"))
            e->wrecked = false;
        job->garbled = word(text, "garbled");
        job->generate = req->decode == QG_DECODE_GENERATE;
        job->n_top = req->sampling ? req->sampling->top_logprobs : -1;
        job->n_prompt = prompt_tokens(req);
        snprintf(job->role, sizeof job->role, "%s",
                 req->ids ? "user" : req->messages[req->n_messages - 1].role);
        decide(job, text, req);
        write_text(job, text, req->sampling);
        if (job->generate)
            cut_text(job, req);
        job->next = e->jobs;
        e->jobs = job;
        e->n_jobs++;
        if (out)
            *out = job;
        else
            job->refs--;
        pthread_cond_signal(&e->wake);
    } else {
        qg_mfree(job);
    }
    pthread_mutex_unlock(&e->lock);
    qg_mfree(text);
    return rc;
}

qg_job *fake_engine_later(qg_engine *e, const fake_later *what)
{
    qg_job *job = qg_calloc(1, sizeof *job);
    job->later = what->run;
    job->ud = what->ud;
    job->engine = e;
    job->refs = 2;
    job->due_us = what->due_us;
    job->deadline_us = what->deadline_us;
    job->hang = what->hang;
    job->freeze = what->freeze;
    pthread_mutex_lock(&e->lock);
    if (!e->n_jobs)
        e->progress_us = qg_now_us(); /* it was idle until now */
    job->next = e->jobs;
    e->jobs = job;
    e->n_jobs++;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->lock);
    return job;
}

int32_t fake_engine_max_len(const qg_engine *e)
{
    return e->max_len;
}

fake_count *fake_engine_take(qg_engine *e)
{
    if (!e->stream || __atomic_sub_fetch(&e->sessions->left, 1, __ATOMIC_ACQ_REL) < 0) {
        __atomic_add_fetch(&e->sessions->left, 1, __ATOMIC_ACQ_REL);
        return NULL;
    }
    __atomic_add_fetch(&e->sessions->refs, 1, __ATOMIC_ACQ_REL);
    return e->sessions;
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

const char *qg_severity_name(qg_severity severity)
{
    return (unsigned)severity < 3 ? severity_names[severity] : "Unknown";
}

char *qg_result_json(const qg_engine *engine, const qg_result *r)
{
    char text[512];
    (void)engine;
    int n = snprintf(text, sizeof text, "{\"role\":\"%s\",\"severity\":\"%s\",\"categories\":[",
                     r->role, qg_severity_name(r->severity));
    for (size_t i = 0; i < r->n_categories; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "\"%s\"", r->categories[i]);
    n += snprintf(text + n, sizeof text - (size_t)n,
                  "],\"refusal\":%s,\"p\":null,\"tokens\":{\"input\":%d,\"cached\":%d},\"model\":"
                  "\"fake-guard\"}",
                  r->refusal < 0 ? "null" : "\"No\"", r->n_prompt_tokens, r->n_cached_tokens);
    return qg_memdup0(text, (size_t)n);
}
