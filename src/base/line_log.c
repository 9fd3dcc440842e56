#define _GNU_SOURCE
#include "base/line_log.h"

#include "base/limits.h"
#include "base/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    GATHER_MS = 5,    /* lines that come together are written together */
    LOOK_MS = 100,    /* how often a writer that cannot write looks whether it should end */
    NOTE_BYTES = 160, /* kept free for the line about lost lines */
    PIECE = PIPE_BUF, /* a pipe that is ready for output takes so much at once */
};

typedef struct text {
    size_t n;
    char p[QG_LINE_LOG_BYTES];
} text;

struct qg_line_log {
    int fd;
    const char *prefix;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake, end;
    text *in, *out; /* in: under lock; out: the thread's */
    uint64_t lost;  /* under lock, and so are the rest */
    bool sleeps, closing, ended, left;
};

static struct timespec after(int ms)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    int64_t ns = at.tv_nsec + (int64_t)ms * 1000000;
    return (struct timespec){.tv_sec = at.tv_sec + ns / 1000000000, .tv_nsec = ns % 1000000000};
}

static bool must_end(qg_line_log *log)
{
    pthread_mutex_lock(&log->lock);
    bool left = log->left;
    pthread_mutex_unlock(&log->lock);
    return left;
}

/* False when nobody will ever take it, or the log is left behind. */
static bool write_some(qg_line_log *log, const char *p, size_t *n)
{
    struct pollfd fd = {.fd = log->fd, .events = POLLOUT};
    int ready = poll(&fd, 1, LOOK_MS);
    if (ready <= 0)
        return !must_end(log);
    ssize_t wrote = write(log->fd, p, *n < PIECE ? *n : PIECE);
    if (wrote < 0)
        return errno == EINTR || errno == EAGAIN;
    *n -= (size_t)wrote;
    return true;
}

static void write_out(qg_line_log *log)
{
    text *t = log->out;
    for (size_t left = t->n; left;)
        if (!write_some(log, t->p + t->n - left, &left))
            break;
    t->n = 0;
}

/* Waits for lines and takes them all; false at the end.  Under the lock. */
static bool take(qg_line_log *log)
{
    while (!log->in->n && !log->lost && !log->closing) {
        log->sleeps = true;
        pthread_cond_wait(&log->wake, &log->lock);
        log->sleeps = false;
    }
    if (!log->closing) {
        struct timespec at = after(GATHER_MS);
        pthread_cond_timedwait(&log->wake, &log->lock, &at);
    }
    text *full = log->in;
    log->in = log->out;
    log->out = full;
    if (log->lost)
        full->n += (size_t)snprintf(full->p + full->n, NOTE_BYTES,
                                    "%s%" PRIu64 " lines of this log are missing here: its reader "
                                    "is too slow\n",
                                    log->prefix, log->lost);
    log->lost = 0;
    return full->n > 0;
}

static void *run(void *arg)
{
    qg_line_log *log = arg;
    pthread_mutex_lock(&log->lock);
    while (take(log)) {
        pthread_mutex_unlock(&log->lock);
        write_out(log);
        pthread_mutex_lock(&log->lock);
    }
    log->ended = true;
    pthread_cond_signal(&log->end);
    pthread_mutex_unlock(&log->lock);
    return NULL;
}

static void dispose(qg_line_log *log)
{
    qg_mfree(log->in);
    qg_mfree(log->out);
    qg_mfree(log);
}

/* Signals, and SIGPIPE above all, are not for this thread. */
static bool start(qg_line_log *log)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool ok = pthread_create(&log->thread, NULL, run, log) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return ok;
}

qg_status qg_line_log_open(qg_line_log **out, int fd, const char *prefix, qg_err *err)
{
    pthread_condattr_t clock;
    qg_line_log *log = qg_calloc(1, sizeof *log);
    *out = NULL;
    if (!log)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory for the log");
    log->fd = fd;
    log->prefix = prefix;
    log->in = qg_calloc(1, sizeof *log->in);
    log->out = qg_calloc(1, sizeof *log->out);
    pthread_mutex_init(&log->lock, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&log->wake, &clock);
    pthread_cond_init(&log->end, &clock);
    pthread_condattr_destroy(&clock);
    if (!log->in || !log->out || !start(log)) {
        dispose(log);
        return qg_fail(err, QG_ERR_NOMEM, "out of memory for the log");
    }
    *out = log;
    return QG_OK;
}

void qg_line_log_add(qg_line_log *log, const char *line)
{
    size_t n_prefix = strlen(log->prefix), n = strlen(line);
    pthread_mutex_lock(&log->lock);
    text *t = log->in;
    /* Once a line is lost those behind it are, too, so that the number stands where they miss. */
    if (log->lost || n_prefix + n + 1 > sizeof t->p - NOTE_BYTES - t->n) {
        log->lost++;
    } else {
        memcpy(t->p + t->n, log->prefix, n_prefix);
        memcpy(t->p + t->n + n_prefix, line, n);
        t->n += n_prefix + n + 1;
        t->p[t->n - 1] = '\n';
    }
    bool wake = log->sleeps;
    log->sleeps = false;
    pthread_mutex_unlock(&log->lock);
    if (wake)
        pthread_cond_signal(&log->wake);
}

void qg_line_log_close(qg_line_log *log, int ms)
{
    if (!log)
        return;
    struct timespec at = after(ms), later = after(ms + 2 * LOOK_MS);
    int rc = 0;
    pthread_mutex_lock(&log->lock);
    log->closing = true;
    pthread_cond_signal(&log->wake);
    while (!log->ended && rc == 0)
        rc = pthread_cond_timedwait(&log->end, &log->lock, &at);
    log->left = true;
    for (rc = 0; !log->ended && rc == 0;)
        rc = pthread_cond_timedwait(&log->end, &log->lock, &later);
    bool ended = log->ended;
    pthread_mutex_unlock(&log->lock);
    if (!ended) {
        pthread_detach(log->thread);
        return;
    }
    pthread_join(log->thread, NULL);
    dispose(log);
}
