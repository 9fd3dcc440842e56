/* Channels: what bodies and WebSockets share.  After each event a channel is settled: what was
 * written goes out, the owner is asked for more, and what the socket is watched for, whether the
 * library may read on, and the deadline follow from where it stands.
 *
 * The library reads the body of a body channel; nothing else of it touches the socket between the
 * header block and the end, so the answer is written past it (docs/decisions/0011). */
#define _GNU_SOURCE

#include "http/chan_priv.h"

#include "base/limits.h"
#include "base/mem.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    TURN_BYTES = 64 * 1024, /* out in one turn: then the others have theirs */
    KEEP_BYTES = 16 * 1024, /* of the buffer, while nothing is in it */
};

qg_http_chan *qg_http_chan_new(qg_http_req *req, const qg_http_chan_events *on, void *ud)
{
    qg_http_chan *c = qg_calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->http = req->http;
    c->req = req;
    c->on = on;
    c->ud = ud;
    c->late = req->whole;
    qg_buf_init(&c->out, QG_MAX_CHAN_OUT_BYTES);
    atomic_init(&c->queued, false);
    req->chan = c;
    return c;
}

static void destroy(qg_http_chan *c)
{
    qg_http_socket_free(c);
    qg_buf_free(&c->out);
    qg_mfree(c);
}

/* Around every call of the owner, who may give the channel back in the middle of one. */
static void enter(qg_http_chan *c)
{
    c->depth++;
}

static bool leave(qg_http_chan *c)
{
    if (--c->depth || !c->freed)
        return true;
    if (!atomic_load_explicit(&c->queued, memory_order_acquire))
        destroy(c); /* else it is in the list of wake-ups: qg_http_chan_collect destroys it */
    return false;
}

void qg_http_chan_free(qg_http_chan *c)
{
    enter(c);
    c->freed = true;
    (void)leave(c);
}

qg_http_req *qg_http_chan_req(const qg_http_chan *c)
{
    return c->req;
}

/* ---- out ------------------------------------------------------------------------------------- */

size_t qg_http_chan_pending(const qg_http_chan *c)
{
    return c->out.n - c->at;
}

static int fd_of(const qg_http_chan *c)
{
    return c->req->conn->fd;
}

/* True when everything is out. */
static bool flush(qg_http_chan *c, size_t *left)
{
    while (c->at < c->out.n && *left) {
        size_t n = c->out.n - c->at < *left ? c->out.n - c->at : *left;
        ssize_t sent = send(fd_of(c), c->out.p + c->at, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0) {
            c->broken = c->broken || (errno != EAGAIN && errno != EWOULDBLOCK);
            return false;
        }
        c->at += (size_t)sent;
        *left -= (size_t)sent;
        c->active = true;
    }
    if (c->at < c->out.n)
        return false;
    c->at = c->out.n = 0;
    if (c->out.cap > KEEP_BYTES)
        qg_buf_free(&c->out);
    return true;
}

/* Moves what is left to the front, so that the ceiling means what waits. */
bool qg_http_chan_put(qg_http_chan *c, const char *p, size_t n)
{
    if (c->at) {
        memmove(c->out.p, c->out.p + c->at, c->out.n - c->at);
        c->out.n -= c->at;
        c->at = 0;
    }
    if (qg_buf_add(&c->out, p, n) == QG_OK)
        return true;
    c->broken = true;
    return false;
}

bool qg_http_chan_write(qg_http_chan *c, const char *p, size_t n)
{
    if (!c->req || c->finishing)
        return false;
    return c->socket ? qg_http_socket_write(c, p, n) : qg_http_body_write(c, p, n);
}

void qg_http_chan_pause(qg_http_chan *c, bool paused)
{
    c->paused = paused;
}

void qg_http_chan_break(qg_http_chan *c)
{
    c->broken = true;
}

void qg_http_chan_finish(qg_http_chan *c, int code)
{
    if (!c->req || c->finishing)
        return;
    if (c->socket)
        qg_http_socket_finish(c, code);
    else
        qg_http_body_finish(c);
    c->finishing = true;
}

/* ---- settling -------------------------------------------------------------------------------- */

static void hold(qg_http_chan *c, bool held)
{
    if (held == c->suspended)
        return;
    c->suspended = held;
    if (held)
        MHD_suspend_connection(c->req->conn->mhd);
    else
        MHD_resume_connection(c->req->conn->mhd);
}

static void watch(qg_http_chan *c, uint32_t events)
{
    struct epoll_event want = {.events = events, .data.ptr = c->req};
    int op = c->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (c->watched && c->watching == events)
        return;
    c->broken = c->broken || epoll_ctl(c->http->gone_epoll, op, fd_of(c), &want) != 0;
    c->watched = true;
    c->watching = events;
}

static void set_deadline(qg_http_chan *c)
{
    const qg_http_limits *limits = &c->http->opt.limits;
    qg_http_conn *conn = c->req->conn;
    qg_http_phase phase = qg_http_chan_pending(c) ? QG_HTTP_WRITE
                          : c->paused             ? QG_HTTP_WORK
                                                  : QG_HTTP_TALK;
    if (phase != conn->phase || c->active)
        qg_http_conn_phase(conn, phase,
                           phase == QG_HTTP_WRITE  ? limits->write_ms
                           : phase == QG_HTTP_TALK ? limits->talk_ms
                                                   : 0);
    c->active = false;
}

/* All is said: the client may still be sending, and would lose the end of the answer if the socket
 * were closed under it. */
static void close_chan(qg_http_chan *c)
{
    qg_http_conn *conn = c->req->conn;
    c->done = true;
    c->req->finished = true;
    if (c->socket ? qg_http_socket_over(c) : c->req->whole) {
        hold(c, false); /* on_access ends it */
        return;
    }
    (void)shutdown(conn->fd, SHUT_WR);
    qg_http_conn_phase(conn, QG_HTTP_LINGER, c->http->opt.limits.linger_ms);
    if (c->socket)
        watch(c, EPOLLIN | EPOLLRDHUP);
    else
        hold(c, false); /* on_piece throws the rest away */
}

static void push_out(qg_http_chan *c)
{
    size_t left = TURN_BYTES;
    bool empty;
    c->hungry = false;
    while ((empty = flush(c, &left)) && !c->finishing && !c->broken) {
        if (!left) {
            c->hungry = true; /* more() has not said no */
            return;
        }
        if (!c->on->more(c->ud))
            return;
    }
}

static uint32_t wanted(const qg_http_chan *c)
{
    uint32_t events = qg_http_chan_pending(c) || c->hungry ? EPOLLOUT : 0;
    if (c->socket)
        events |= EPOLLRDHUP | (qg_http_socket_reads(c) ? EPOLLIN : 0);
    else if (!c->req->whole || c->late)
        events |= EPOLLRDHUP;
    return events;
}

static void settle(qg_http_chan *c)
{
    if (!c->req || c->done || c->req->conn->phase == QG_HTTP_DEAD ||
        c->req->conn->phase == QG_HTTP_LINGER)
        return;
    push_out(c);
    if (!c->broken && !qg_http_chan_pending(c) && (c->finishing || qg_http_socket_closing(c))) {
        close_chan(c);
        return;
    }
    if (!c->broken) {
        hold(c, c->socket || c->req->whole || c->paused);
        watch(c, wanted(c));
        set_deadline(c);
    }
    if (c->broken)
        qg_http_conn_kill(c->req->conn);
}

/* ---- events ---------------------------------------------------------------------------------- */

void qg_http_chan_begin(qg_http_chan *c)
{
    enter(c);
    settle(c);
    (void)leave(c);
}

void qg_http_chan_piece(qg_http_chan *c, const char *p, size_t n)
{
    enter(c);
    c->on->data(c->ud, p, n);
    settle(c);
    (void)leave(c);
}

static void end(qg_http_chan *c, qg_http_chan_end why)
{
    if (c->ended || c->finishing)
        return;
    c->ended = true;
    c->on->end(c->ud, why);
}

void qg_http_chan_whole(qg_http_chan *c)
{
    enter(c);
    end(c, QG_HTTP_SAID_ALL);
    settle(c);
    (void)leave(c);
}

/* The client has closed its side in mid-body, which the library (0.9.75) does not tell before the
 * connection's end: nothing is left to read, or nothing will be read for now and whoever closes
 * does not wait for an answer, as everywhere in this room. */
static bool body_cut(const qg_http_chan *c)
{
    char byte;
    return c->suspended || recv(fd_of(c), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

void qg_http_chan_event(qg_http_chan *c, uint32_t events)
{
    qg_http_conn *conn = c->req->conn;
    if (events & (EPOLLHUP | EPOLLERR)) {
        qg_http_conn_kill(conn);
        return;
    }
    enter(c);
    if (c->socket)
        qg_http_socket_event(c, events);
    else if ((events & EPOLLRDHUP) && (c->late || (!c->req->whole && body_cut(c))))
        c->broken = true;
    settle(c);
    (void)leave(c);
}

void qg_http_chan_tick(qg_http_chan *c, bool late)
{
    bool stop = c->socket ? c->http->stops && !c->ended : c->http->last_words && !c->stopped;
    if (!stop && !late)
        return;
    enter(c);
    c->active = true; /* the clock starts anew: what ends now has its own time */
    if (stop) {
        c->stopped = true;
        c->ended = false; /* of a body that is over the answer may still be on its way */
        end(c, QG_HTTP_STOPPING);
    } else if (!c->socket || !qg_http_socket_ping(c))
        end(c, QG_HTTP_TOO_IDLE);
    settle(c);
    (void)leave(c);
}

void qg_http_chan_unhold(qg_http_chan *c)
{
    if (c->req)
        hold(c, false);
}

void qg_http_chan_lost(qg_http_chan *c)
{
    enter(c);
    if (c->watched)
        (void)epoll_ctl(c->http->gone_epoll, EPOLL_CTL_DEL, fd_of(c), NULL);
    c->watched = false;
    c->req->chan = NULL;
    c->req = NULL;
    c->on->gone(c->ud);
    (void)leave(c);
}

void qg_http_chan_wake(qg_http_chan *c)
{
    static const uint64_t one = 1;
    qg_http *http = c->http;
    if (atomic_exchange_explicit(&c->queued, true, memory_order_acq_rel))
        return;
    int fd = http->wake_fd;
    qg_http_busy(http, 1);
    qg_http_chan *first = atomic_load_explicit(&http->woken, memory_order_relaxed);
    do
        c->next = first;
    while (!atomic_compare_exchange_weak_explicit(&http->woken, &first, c, memory_order_release,
                                                  memory_order_relaxed));
    if (first)
        return; /* whoever found the list empty wakes the thread */
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR)
        continue;
}

void qg_http_chan_collect(qg_http *http)
{
    qg_http_chan *list = atomic_exchange_explicit(&http->woken, NULL, memory_order_acquire);
    while (list) {
        qg_http_chan *c = list;
        list = c->next;
        enter(c);
        atomic_store_explicit(&c->queued, false, memory_order_release);
        if (!c->freed) {
            c->on->woken(c->ud);
            settle(c);
        }
        (void)leave(c);
    }
}
