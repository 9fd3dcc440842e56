/* Sessions of the fake engine: one token per byte, the last byte of an open turn is provisional,
 * and the letters of "bomb" are hits (Unsafe, Violent).  Of a user's turn there is one token, its
 * end. Words in the appended text decide what else happens, as in fake_engine.c:
 *
 *   sleep=MS  hang  nan  busy  gone       the append takes MS ms, for ever, fails so
 *   freeze                                it ends well, then nothing does
 *
 * QGUARD_FAKE_DELAY_US: every append takes up to so long.  QGUARD_FAKE_LOG: a file that gets a line
 * for each verdict before anybody hears of it:
 *
 *   NANOSECONDS SESSION ROLE FINAL-BYTES LAST HEX-OF-NEW-TEXT */
#define _GNU_SOURCE

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "fake_engine.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct qg_session {
    pthread_mutex_t lock;
    qg_engine *engine;
    fake_count *count;
    qg_job *job; /* the append under way */
    bool busy, closed, open;
    int refs;
    char role[16];
    qg_buf text;    /* of the turn */
    size_t n_final; /* of its bytes */
    size_t logged;
    unsigned serial;
    int32_t base; /* tokens before the turn */
    /* the append under way */
    bool end;
    qg_status fails;
    qg_stream_done_fn *done;
    void *ud;
};

typedef struct box {
    qg_stream_result pub; /* first */
    char role[16];
    qg_token tokens[];
} box;

void qg_session_options_init(qg_session_options *opt)
{
    *opt = (qg_session_options){.size = sizeof *opt};
}

void qg_append_init(qg_append *a)
{
    *a = (qg_append){.size = sizeof *a};
}

const char *qg_category_name(size_t i)
{
    static const char *const names[] = {"Violent", "PII"};
    return i < QG_COUNT(names) ? names[i] : NULL;
}

static atomic_uint serials;

/* Up to QGUARD_FAKE_DELAY_US, by chance. */
static int64_t delay(void)
{
    const char *most = getenv("QGUARD_FAKE_DELAY_US");
    return most ? random() % (strtol(most, NULL, 10) + 1) : 0;
}

qg_status qg_session_open(qg_session **out, qg_engine *engine, const qg_session_options *opt,
                          qg_err *err)
{
    (void)opt;
    *out = NULL;
    fake_count *count = fake_engine_take(engine);
    if (!count)
        return qg_fail(err, QG_ERR_BUSY, "too many sessions are open");
    qg_session *s = qg_calloc(1, sizeof *s);
    pthread_mutex_init(&s->lock, NULL);
    s->engine = engine;
    s->count = count;
    s->refs = 1;
    s->serial = atomic_fetch_add(&serials, 1);
    qg_buf_init(&s->text, 1u << 24);
    *out = s;
    return QG_OK;
}

/* With the lock held, which is let go. */
static void unref(qg_session *s)
{
    bool last = --s->refs == 0;
    pthread_mutex_unlock(&s->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&s->lock);
    qg_buf_free(&s->text);
    qg_mfree(s);
}

void qg_session_close(qg_session *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    qg_job *job = s->job;
    bool busy = s->busy;
    s->closed = true;
    s->job = NULL;
    pthread_mutex_unlock(&s->lock);
    fake_count_free(s->count);
    if (busy && job)
        qg_cancel(job);
    if (job)
        qg_job_release(job);
    pthread_mutex_lock(&s->lock);
    unref(s);
}

static bool hit(const qg_session *s, size_t at)
{
    static const char word[] = "bomb";
    for (size_t k = 0; k < 4 && k <= at; k++)
        if (at - k + 4 <= s->text.n && memcmp(s->text.p + at - k, word, 4) == 0)
            return true;
    return false;
}

static uint64_t count(const qg_session *s, size_t from, size_t to)
{
    uint64_t chars = 0;
    for (size_t i = from; i < to; i++)
        chars += ((unsigned char)s->text.p[i] & 0xC0) != 0x80;
    return chars;
}

/* chars: characters that begin at or before the byte. */
static void fill(const qg_session *s, size_t at, uint64_t chars, qg_token *t)
{
    bool bad = hit(s, at);
    *t = (qg_token){.index = s->base + (int32_t)at,
                    .id = (unsigned char)s->text.p[at],
                    .begin = chars - 1,
                    .end = chars,
                    .severity = bad ? QG_UNSAFE : QG_SAFE,
                    .category = bad ? "Violent" : NULL,
                    .p_severity = {bad ? 0.1 : 0.9, 0, bad ? 0.9 : 0.1},
                    .hit = bad,
                    .flagged = bad && at > 0 && hit(s, at - 1),
                    .final = s->end || at + 1 < s->text.n};
}

static qg_stream_result *result_of(qg_session *s)
{
    bool user = strcmp(s->role, "user") == 0;
    size_t from = user ? 0 : s->n_final, n = s->text.n - from;
    box *b = qg_calloc(1, sizeof *b + (n + 1) * sizeof(qg_token));
    memcpy(b->role, s->role, sizeof b->role);
    uint64_t chars = count(s, 0, from);
    for (size_t i = 0; i < n && !user; i++) {
        chars += count(s, from + i, from + i + 1);
        fill(s, from + i, chars, &b->tokens[i]);
    }
    if (user && s->end) {
        bool bad = s->text.n && memmem(s->text.p, s->text.n, "bomb", 4);
        b->tokens[0] = (qg_token){.index = s->base + (int32_t)s->text.n,
                                  .id = 256,
                                  .severity = bad ? QG_UNSAFE : QG_SAFE,
                                  .category = bad ? "Violent" : NULL,
                                  .p_severity = {bad ? 0.1 : 0.9, 0, bad ? 0.9 : 0.1},
                                  .hit = bad,
                                  .flagged = bad,
                                  .final = true};
    }
    b->pub.tokens = b->tokens;
    b->pub.n_tokens = user ? s->end : n;
    b->pub.n_ids = s->base + (int32_t)s->text.n + s->end;
    b->pub.n_provisional = !user && !s->end && s->text.n > 0;
    b->pub.first_flagged_index = -1;
    for (size_t i = 0; i < b->pub.n_tokens; i++)
        b->tokens[i].role = b->role;
    for (size_t i = 1; i < s->text.n && !user && !b->pub.flagged; i++)
        if (hit(s, i) && hit(s, i - 1)) {
            qg_token t;
            fill(s, i, count(s, 0, i + 1), &t);
            b->pub.flagged = true;
            b->pub.first_flagged_index = t.index;
            b->pub.flagged_begin = t.begin;
            b->pub.flagged_end = t.end;
        }
    if (user && s->end && b->tokens[0].hit) {
        b->pub.flagged = true;
        b->pub.first_flagged_index = b->tokens[0].index;
    }
    b->pub.severity = b->pub.flagged ? QG_UNSAFE : QG_SAFE;
    b->pub.category = b->pub.flagged ? "Violent" : NULL;
    return &b->pub;
}

void qg_stream_result_free(qg_stream_result *r)
{
    qg_mfree(r);
}

static void log_verdict(qg_session *s)
{
    const char *path = getenv("QGUARD_FAKE_LOG");
    struct timespec now;
    qg_buf line;
    if (!path)
        return;
    clock_gettime(CLOCK_MONOTONIC, &now);
    qg_buf_init(&line, 1u << 26);
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    qg_status rc =
        qg_buf_addf(&line, "%lld %u %s %zu %d ", (long long)now.tv_sec * 1000000000 + now.tv_nsec,
                    s->serial, s->role, s->n_final, s->end);
    for (; s->logged < s->text.n; s->logged++)
        rc |= qg_buf_addf(&line, "%02x", (unsigned char)s->text.p[s->logged]);
    if (fd < 0 || rc != QG_OK || qg_buf_adds(&line, "\n") != QG_OK ||
        write(fd, line.p, line.n) != (ssize_t)line.n)
        abort();
    close(fd);
    qg_buf_free(&line);
}

static void run(void *ud, qg_status rc)
{
    qg_session *s = ud;
    qg_err err = {""};
    qg_stream_result *result = NULL;
    pthread_mutex_lock(&s->lock);
    if (rc == QG_OK)
        rc = s->fails;
    if (rc == QG_OK && s->closed)
        rc = QG_ERR_CANCELLED;
    if (rc == QG_OK) {
        result = result_of(s);
        s->n_final = s->end ? s->text.n : s->text.n ? s->text.n - 1 : 0;
        s->open = !s->end;
        log_verdict(s);
    } else {
        qg_fail(&err, rc, "the fake session says %s", qg_status_name(rc));
    }
    s->busy = false;
    qg_stream_done_fn *done = s->done;
    void *done_ud = s->ud;
    pthread_mutex_unlock(&s->lock);
    done(done_ud, rc, result, &err);
    pthread_mutex_lock(&s->lock);
    unref(s);
}

static bool word(qg_text text, const char *name, long *value)
{
    const char *at = text.n ? memmem(text.p, text.n, name, strlen(name)) : NULL;
    char digits[16] = "";
    if (!at)
        return false;
    at += strlen(name);
    size_t n = (size_t)(text.p + text.n - at);
    memcpy(digits, at, n < sizeof digits - 1 ? n : sizeof digits - 1);
    *value = strtol(digits, NULL, 10);
    return true;
}

/* With the lock held. */
static qg_status take(qg_session *s, const qg_append *a, qg_err *err)
{
    if (s->busy)
        return qg_fail(err, QG_ERR_BUSY, "an append is on its way");
    if (!s->open && !a->role)
        return qg_fail(err, QG_ERR_ARG, "no turn is open");
    bool turn = a->role && (!s->open || strcmp(a->role, s->role) != 0);
    int32_t base = turn ? s->base + (int32_t)s->text.n + 1 : s->base;
    size_t had = turn ? 0 : s->text.n;
    if (base + (int64_t)had + (int64_t)a->content.n + (int64_t)a->n_ids >
        fake_engine_max_len(s->engine))
        return qg_fail(
            err, QG_ERR_TOO_LONG,
            "This model's maximum context length is %d tokens. However, the conversation "
            "would have more.",
            fake_engine_max_len(s->engine));
    if (turn) {
        snprintf(s->role, sizeof s->role, "%s", a->role);
        s->base = base;
        s->text.n = s->n_final = s->logged = 0;
    }
    s->open = true;
    s->end = a->end;
    QG_TRY(qg_buf_add(&s->text, a->content.p, a->content.n));
    for (size_t i = 0; i < a->n_ids; i++)
        QG_TRY(qg_buf_add(&s->text, &(char){(char)a->ids[i]}, 1));
    return QG_OK;
}

/* Places in the open turn, or its beginning: then no turn is open. */
qg_status qg_session_rollback(qg_session *s, int32_t position, qg_err *err)
{
    qg_status rc = QG_OK;
    pthread_mutex_lock(&s->lock);
    if (position < s->base || position > s->base + (int32_t)s->n_final) {
        rc = qg_fail(err, QG_ERR_ARG, "position %d is not final", position);
    } else {
        s->text.n = s->n_final = (size_t)(position - s->base);
        s->open = s->text.n > 0;
        s->end = false;
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

qg_status qg_session_turn(qg_session *s, const char **role, char **text, size_t *n, qg_err *err)
{
    static const char *const roles[] = {"user", "assistant", "system"};
    (void)err;
    pthread_mutex_lock(&s->lock);
    *role = NULL;
    for (size_t i = 0; i < QG_COUNT(roles) && s->open; i++)
        if (strcmp(s->role, roles[i]) == 0)
            *role = roles[i];
    *n = s->open ? s->text.n : 0;
    *text = qg_memdup0(s->text.p ? s->text.p : "", *n);
    pthread_mutex_unlock(&s->lock);
    return QG_OK;
}

qg_status qg_session_submit(qg_session *s, const qg_append *a, qg_stream_done_fn *done, void *ud,
                            qg_err *err)
{
    long n = 0;
    fake_later what = {.run = run, .ud = s, .deadline_us = a->deadline_us};
    if (word(a->content, "gone", &n))
        return qg_fail(err, QG_ERR_GONE, "the session's memory was given to others");
    if (word(a->content, "busy", &n))
        return qg_fail(err, QG_ERR_BUSY, "the queue is full");
    pthread_mutex_lock(&s->lock);
    qg_status rc = take(s, a, err);
    qg_job *old = s->job;
    if (rc == QG_OK) {
        s->job = NULL;
        s->busy = true;
        s->refs++;
        s->done = done;
        s->ud = ud;
        s->fails = word(a->content, "nan", &n) ? QG_ERR_INTERNAL : QG_OK;
        what.hang = word(a->content, "hang", &n);
        what.freeze = word(a->content, "freeze", &n);
        what.due_us = qg_clock_us() + (word(a->content, "sleep=", &n) ? n * 1000 : 0) + delay();
    } else {
        old = NULL;
    }
    pthread_mutex_unlock(&s->lock);
    if (old)
        qg_job_release(old);
    if (rc != QG_OK)
        return rc;
    /* The caller may not close before this returns, so the handle is in place by then. */
    qg_job *job = fake_engine_later(s->engine, &what);
    pthread_mutex_lock(&s->lock);
    s->job = job;
    pthread_mutex_unlock(&s->lock);
    return QG_OK;
}

char *qg_token_json(const qg_engine *engine, const qg_token *t)
{
    qg_buf out;
    (void)engine;
    qg_buf_init(&out, 4096);
    if (qg_buf_addf(&out,
                    "{\"role\":\"%s\",\"index\":%d,\"id\":%d,\"text\":\"\",\"severity\":\"%s\","
                    "\"category\":%s,\"p\":{},\"flagged\":%s,\"final\":%s}",
                    t->role, t->index, t->id, qg_severity_name(t->severity),
                    t->category ? "\"Violent\"" : "null", t->flagged ? "true" : "false",
                    t->final ? "true" : "false") != QG_OK)
        return NULL;
    return qg_buf_take(&out);
}
