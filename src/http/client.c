/* The client's thread: epoll around curl's socket_action, so that a turn costs what has happened
 * and not how many calls are open; and the mailbox that other threads speak through. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "base/mem.h"
#include "http/client_priv.h"

#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { SWEEP_US = 100000, EVENTS = 256 };

/* ---- mailbox --------------------------------------------------------------------------------- */

void qg_client_post(qg_client *c, qg_client_note *note)
{
    qg_client_note *top = atomic_load(&c->inbox);
    do
        note->next = top;
    while (!atomic_compare_exchange_weak(&c->inbox, &top, note));
    /* Whoever finds the box empty wakes the thread; the others come along. */
    if (!top) {
        uint64_t one = 1;
        while (write(c->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
            ;
    }
}

/* Runs what was posted, in its order.  False when there was nothing. */
static bool run_notes(qg_client *c)
{
    qg_client_note *note = atomic_exchange(&c->inbox, NULL), *order = NULL;
    if (!note)
        return false;
    while (note) {
        qg_client_note *next = note->next;
        note->next = order;
        order = note;
        note = next;
    }
    while (order) {
        qg_client_note *next = order->next;
        order->run(order);
        order = next;
    }
    return true;
}

/* ---- curl's wishes --------------------------------------------------------------------------- */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *ud, void *known)
{
    qg_client *c = ud;
    struct epoll_event e = {.events = 0, .data.fd = fd};
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(c->epoll, EPOLL_CTL_DEL, fd, NULL);
        curl_multi_assign(c->multi, fd, NULL);
        return 0;
    }
    if (what & CURL_POLL_IN)
        e.events |= EPOLLIN;
    if (what & CURL_POLL_OUT)
        e.events |= EPOLLOUT;
    epoll_ctl(c->epoll, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &e);
    if (!known)
        curl_multi_assign(c->multi, fd, c);
    return 0;
}

static int on_timer(CURLM *multi, long ms, void *ud)
{
    qg_client *c = ud;
    (void)multi;
    c->timer_us = ms < 0 ? 0 : qg_clock_us() + (int64_t)ms * 1000;
    return 0;
}

/* ---- the loop -------------------------------------------------------------------------------- */

void qg_client_sweep_at(qg_client *c, int64_t us)
{
    int64_t at = us < qg_clock_us() + SWEEP_US ? us : qg_clock_us() + SWEEP_US;
    if (!c->sweep_us || at < c->sweep_us)
        c->sweep_us = at;
}

static void sweep(qg_client *c, int64_t now)
{
    c->sweep_us = 0;
    for (qg_client_call *call = c->calls, *next; call; call = next) {
        next = call->next;
        qg_client_call_sweep(call, now);
    }
}

static void timers(qg_client *c)
{
    int64_t now = qg_clock_us();
    int running;
    if (c->timer_us && c->timer_us <= now) {
        c->timer_us = 0;
        curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    }
    if (c->sweep_us && c->sweep_us <= now)
        sweep(c, now);
    if (c->tick_us && c->tick_us <= now) {
        c->tick_us = now + c->tick_step_us;
        c->tick(c->tick_ud);
    }
}

static void collect(qg_client *c)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(c->multi, &left))) {
        qg_client_call *call = NULL;
        CURLcode code = message->data.result;
        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&call);
        qg_client_call_over(call, code);
    }
}

static int until_next(const qg_client *c)
{
    int64_t next = INT64_MAX, now = qg_clock_us();
    const int64_t times[] = {c->timer_us, c->sweep_us, c->tick_us};
    for (size_t i = 0; i < QG_COUNT(times); i++)
        if (times[i] && times[i] < next)
            next = times[i];
    if (next == INT64_MAX)
        return -1;
    return next <= now ? 0 : (int)((next - now + 999) / 1000);
}

static void turn(qg_client *c)
{
    struct epoll_event events[EVENTS];
    int running, n = epoll_wait(c->epoll, events, EVENTS, until_next(c));
    for (int i = 0; i < n; i++) {
        uint64_t count;
        int mask = 0, fd = events[i].data.fd;
        if (fd == c->wake_fd) {
            while (read(c->wake_fd, &count, sizeof count) < 0 && errno == EINTR)
                ;
            continue;
        }
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLRDHUP))
            mask |= CURL_CSELECT_IN;
        if (events[i].events & EPOLLOUT)
            mask |= CURL_CSELECT_OUT;
        if (events[i].events & EPOLLERR)
            mask |= CURL_CSELECT_ERR;
        curl_multi_socket_action(c->multi, fd, mask, &running);
    }
    collect(c); /* before a new call is given a connection that should not be used again */
    run_notes(c);
    timers(c);
    collect(c);
}

static void *work(void *arg)
{
    qg_client *c = arg;
    while (!atomic_load(&c->closing))
        turn(c);
    do
        while (c->calls)
            qg_client_call_end(c->calls, QG_CLIENT_ABORTED, "the client is closing");
    while (run_notes(c) || c->calls);
    return NULL;
}

/* ---- open, close ------------------------------------------------------------------------------
 */

static void dispose(qg_client *c)
{
    if (c->multi)
        curl_multi_cleanup(c->multi);
    if (c->epoll >= 0)
        close(c->epoll);
    if (c->wake_fd >= 0)
        close(c->wake_fd);
    qg_mfree(c->ca_file);
    qg_mfree(c->agent);
    qg_mfree(c);
    curl_global_cleanup();
}

static bool copy(char **out, const char *s)
{
    *out = s ? qg_memdup0(s, strlen(s)) : NULL;
    return !s || *out;
}

/* One call on a connection at a time: with HTTP/2 this curl stops reading the whole connection
 * while one of its streams is paused. */
static bool open_multi(qg_client *c)
{
    struct epoll_event e = {.events = EPOLLIN, .data.fd = c->wake_fd};
    c->multi = curl_multi_init();
    return c->multi && !epoll_ctl(c->epoll, EPOLL_CTL_ADD, c->wake_fd, &e) &&
           !curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_socket) &&
           !curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c) &&
           !curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_timer) &&
           !curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c) &&
           !curl_multi_setopt(c->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
}

/* Signals are for the caller's threads. */
static int start_thread(qg_client *c)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&c->thread, NULL, work, c);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

qg_status qg_client_open(qg_client **out, const qg_client_options *opt, qg_err *err)
{
    static const qg_client_options defaults = {0};
    *out = NULL;
    if (curl_global_init(CURL_GLOBAL_DEFAULT))
        return qg_fail(err, QG_ERR_NOMEM, "libcurl cannot start");
    qg_client *c = qg_calloc(1, sizeof *c);
    if (!c) {
        curl_global_cleanup();
        return qg_fail(err, QG_ERR_NOMEM, "out of memory for an HTTP client");
    }
    opt = opt ? opt : &defaults;
    c->proxy_env = opt->proxy_env;
    c->tick = opt->tick;
    c->tick_ud = opt->tick_ud;
    c->tick_step_us = (int64_t)opt->tick_ms * 1000;
    c->tick_us = opt->tick ? qg_clock_us() + c->tick_step_us : 0;
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (c->epoll < 0 || c->wake_fd < 0) {
        dispose(c);
        return qg_fail(err, QG_ERR_IO, "the system gives no descriptors for an HTTP client");
    }
    if (!copy(&c->ca_file, opt->ca_file) || !copy(&c->agent, opt->agent) || !open_multi(c) ||
        start_thread(c)) {
        dispose(c);
        return qg_fail(err, QG_ERR_NOMEM, "out of memory for an HTTP client");
    }
    *out = c;
    return QG_OK;
}

static void nothing(qg_client_note *note)
{
    (void)note;
}

void qg_client_close(qg_client *c)
{
    qg_client_note wake = {.run = nothing};
    if (!c)
        return;
    atomic_store(&c->closing, true);
    qg_client_post(c, &wake);
    pthread_join(c->thread, NULL);
    dispose(c);
}
