/* The server and its loop: one thread sleeps in poll on the library's epoll, the mailbox's eventfd,
 * the sockets of waiting requests (has the client gone?) and the caller's own descriptor. */
#define _GNU_SOURCE

#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/prompt_thread.h"
#include "http/http_priv.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    IDLE_MS = 1000, /* longest sleep: the library listens again at its next turn only */
    TICK_MS = 100,  /* how finely deadlines are kept */
    /* the library's memory per connection: 32 KiB of headers and their table */
    POOL_BYTES = 40 * 1024,
    LAST_WORDS_MS = 300, /* after the drain, for what ends a body channel */
    GIVE_UP_MS = 1000,   /* to close connections after the drain */
};

void qg_http_limits_init(qg_http_limits *limits)
{
    *limits = (qg_http_limits){
        .uri_bytes = QG_MAX_URI_BYTES,
        .header_bytes = QG_MAX_HEADER_BYTES,
        .body_bytes = QG_MAX_BODY_BYTES,
        .body_bytes_total = QG_MAX_BODY_BYTES_TOTAL,
        .connections = QG_MAX_CONNECTIONS,
        .connections_addr = QG_MAX_CONNECTIONS_ADDR,
        .conn_requests = QG_MAX_CONN_REQUESTS,
        .header_ms = QG_HTTP_HEADER_MS,
        .body_ms = QG_HTTP_BODY_MS,
        .idle_ms = QG_HTTP_IDLE_MS,
        .write_ms = QG_HTTP_WRITE_MS,
        .talk_ms = QG_HTTP_TALK_MS,
        .drain_ms = QG_HTTP_DRAIN_MS,
        .linger_ms = QG_HTTP_LINGER_MS,
        .body_rate = QG_HTTP_BODY_RATE,
        .body_grace_ms = QG_HTTP_BODY_GRACE_MS,
    };
}

static qg_status start_daemon(qg_http *http, qg_err *err)
{
    const qg_http_limits *limits = &http->opt.limits;
    /* No thread of its own: qg_http_run is its loop. */
    http->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, qg_http_on_access, http,
        MHD_OPTION_LISTEN_SOCKET, http->listen_fd, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)POOL_BYTES, MHD_OPTION_CONNECTION_LIMIT,
        limits->connections, MHD_OPTION_PER_IP_CONNECTION_LIMIT, limits->connections_addr,
        MHD_OPTION_CONNECTION_TIMEOUT, 0u, MHD_OPTION_NOTIFY_COMPLETED, qg_http_on_end, http,
        MHD_OPTION_NOTIFY_CONNECTION, qg_http_conn_notify, http, MHD_OPTION_URI_LOG_CALLBACK,
        qg_http_on_uri, http, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
    const union MHD_DaemonInfo *info =
        http->daemon ? MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
    if (!info)
        return qg_fail(err, QG_ERR_IO, "the HTTP library did not start: %s", strerror(errno));
    http->mhd_fd = info->epoll_fd;
    return QG_OK;
}

qg_status qg_http_open(qg_http **out, const qg_http_options *opt, qg_err *err)
{
    qg_status rc;
    qg_http *http = qg_calloc(1, sizeof *http);
    *out = NULL;
    if (!http)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory for the HTTP server");
    http->opt = *opt;
    http->listen_fd = -1;
    http->gone_epoll = epoll_create1(EPOLL_CLOEXEC);
    http->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (http->gone_epoll < 0 || http->wake_fd < 0)
        rc = qg_fail(err, QG_ERR_IO, "no descriptors for the HTTP server: %s", strerror(errno));
    else
        rc = qg_http_listen(http, err);
    if (rc == QG_OK)
        rc = start_daemon(http, err);
    if (rc != QG_OK) {
        qg_http_close(http);
        return rc;
    }
    *out = http;
    return QG_OK;
}

uint16_t qg_http_port(const qg_http *http)
{
    return http->port;
}

void qg_http_stop(qg_http *http)
{
    if (!http->stops)
        http->stop_us = qg_clock_us();
    http->stops++;
}

bool qg_http_stopping(const qg_http *http)
{
    return http->stops > 0;
}

/* Channels whose sockets are ready; and clients of waiting requests that hung up: a closed or
 * half-closed socket, as other servers of this protocol see it. */
static void collect_gone(qg_http *http)
{
    struct epoll_event events[64];
    int n = epoll_wait(http->gone_epoll, events, QG_COUNT(events), 0);
    for (int i = 0; i < n; i++) {
        qg_http_req *req = events[i].data.ptr;
        if (req->chan)
            qg_http_chan_event(req->chan, events[i].events);
        else
            qg_http_drop(req);
    }
}

/* Connections that the system has already accepted for us are still served. */
static void stop_listening(qg_http *http)
{
    MHD_socket fd;
    if (http->quiet)
        return;
    (void)MHD_run(http->daemon);
    fd = MHD_quiesce_daemon(http->daemon);
    if (fd >= 0)
        close(fd);
    qg_http_unlisten(http);
    http->listen_fd = -1;
    http->quiet = true;
}

static void give_up(qg_http *http, bool channels)
{
    for (qg_http_conn *conn = http->conns; conn; conn = conn->next) {
        if (!channels && conn->req && conn->req->chan)
            continue;
        if (conn->req)
            qg_http_drop(conn->req);
        qg_http_conn_kill(conn);
    }
}

/* One step of the end; false when nothing is left to wait for. */
static bool drain(qg_http *http, int64_t now_us)
{
    int64_t ms = (now_us - http->stop_us) / 1000;
    stop_listening(http);
    if (http->n_conns == 0)
        return false;
    http->last_words = ms >= http->opt.limits.drain_ms;
    if (http->stops > 1 || http->last_words)
        give_up(http, http->stops > 1 || ms >= http->opt.limits.drain_ms + LAST_WORDS_MS);
    return ms < (int64_t)http->opt.limits.drain_ms + GIVE_UP_MS;
}

static int sleep_ms(qg_http *http)
{
    MHD_UNSIGNED_LONG_LONG ms = TICK_MS;
    if (MHD_get_timeout(http->daemon, &ms) != MHD_YES || ms > TICK_MS)
        return http->n_conns || http->stops ? TICK_MS : IDLE_MS;
    return (int)ms;
}

static qg_status turn(qg_http *http, qg_err *err)
{
    uint64_t wakes;
    struct pollfd fds[] = {
        {.fd = http->mhd_fd, .events = POLLIN},
        {.fd = http->wake_fd, .events = POLLIN},
        {.fd = http->gone_epoll, .events = POLLIN},
        {.fd = http->opt.watch_fd, .events = POLLIN},
    };
    int ms = sleep_ms(http);
    qg_http_busy(http, 0);
    int n = poll(fds, QG_COUNT(fds), ms);
    qg_http_busy(http, 1);
    if (n < 0 && errno != EINTR)
        return qg_fail(err, QG_ERR_IO, "poll: %s", strerror(errno));
    if (fds[1].revents)
        (void)!read(http->wake_fd, &wakes, sizeof wakes);
    qg_http_collect(http);
    qg_http_chan_collect(http);
    if (fds[2].revents)
        collect_gone(http);
    if (fds[3].revents)
        http->opt.watch(http->opt.ud);
    if (MHD_run(http->daemon) != MHD_YES)
        return qg_fail(err, QG_ERR_IO, "the HTTP library cannot go on: %s", strerror(errno));
    return QG_OK;
}

qg_status qg_http_run(qg_http *http, qg_err *err)
{
    int64_t next_us = 0;
    qg_thread_prompt();
    for (;;) {
        QG_TRY(turn(http, err));
        int64_t now_us = qg_clock_us();
        if (now_us >= next_us) {
            qg_http_conn_tick(http, now_us);
            if (http->opt.tick)
                http->opt.tick(http->opt.ud);
            next_us = now_us + TICK_MS * 1000;
        }
        if (http->stops && !drain(http, now_us))
            return QG_OK;
    }
}

void qg_http_close(qg_http *http)
{
    if (!http)
        return;
    if (http->daemon) {
        give_up(http, true);
        (void)MHD_run(http->daemon); /* suspended connections must not meet MHD_stop_daemon */
        qg_http_collect(http);
        qg_http_chan_collect(http);
        (void)MHD_run(http->daemon);
        MHD_stop_daemon(http->daemon);
    } else if (http->listen_fd >= 0) {
        close(http->listen_fd);
    }
    qg_http_unlisten(http);
    qg_http_collect(http);
    qg_http_chan_collect(http);
    if (http->wake_fd >= 0)
        close(http->wake_fd);
    if (http->gone_epoll >= 0)
        close(http->gone_epoll);
    qg_mfree(http);
}
