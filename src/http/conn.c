/* The list of connections and its clocks.  The library's timeout is an idle one, so a byte per
 * second holds a connection for ever; here every phase has a deadline that no byte moves. */
#define _GNU_SOURCE

#include "http/http_priv.h"

#include "base/clock.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>

enum {
    STOP_IDLE_MS = 500, /* while stopping: a request already on its way may still come in */
};

static void write_peer(const struct sockaddr *at, char *out, size_t n)
{
    const void *ip = NULL;
    if (at && at->sa_family == AF_INET)
        ip = &((const struct sockaddr_in *)(const void *)at)->sin_addr;
    else if (at && at->sa_family == AF_INET6)
        ip = &((const struct sockaddr_in6 *)(const void *)at)->sin6_addr;
    if (!ip || !inet_ntop(at->sa_family, ip, out, (socklen_t)n))
        snprintf(out, n, "-");
}

static qg_http_conn *conn_open(qg_http *http, struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info;
    int one = 1;
    qg_http_conn *conn = qg_calloc(1, sizeof *conn);
    if (!conn)
        return NULL;
    info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    conn->fd = info ? info->connect_fd : -1;
    info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    write_peer(info ? info->client_addr : NULL, conn->peer, sizeof conn->peer);
    (void)setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    conn->mhd = mhd;
    conn->next = http->conns;
    if (conn->next)
        conn->next->prev = conn;
    http->conns = conn;
    http->n_conns++;
    qg_http_conn_phase(conn, QG_HTTP_IDLE, http->opt.limits.header_ms);
    return conn;
}

static void conn_close(qg_http *http, qg_http_conn *conn)
{
    if (conn->prev)
        conn->prev->next = conn->next;
    else
        http->conns = conn->next;
    if (conn->next)
        conn->next->prev = conn->prev;
    http->n_conns--;
    qg_mfree(conn);
}

void qg_http_conn_notify(void *cls, struct MHD_Connection *mhd, void **context,
                         enum MHD_ConnectionNotificationCode code)
{
    qg_http *http = cls;
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        *context = conn_open(http, mhd);
    else if (*context)
        conn_close(http, *context);
}

void qg_http_conn_phase(qg_http_conn *conn, qg_http_phase phase, int32_t ms)
{
    if (conn->phase == QG_HTTP_DEAD)
        return;
    conn->phase = phase;
    conn->since_us = qg_clock_us();
    conn->until_us = ms ? conn->since_us + (int64_t)ms * 1000 : INT64_MAX;
}

/* The library sees the end of the connection at its next turn and cleans up. */
void qg_http_conn_kill(qg_http_conn *conn)
{
    conn->phase = QG_HTTP_DEAD;
    conn->until_us = INT64_MAX;
    (void)shutdown(conn->fd, SHUT_RDWR);
    if (conn->req && conn->req->chan)
        qg_http_chan_unhold(conn->req->chan);
}

static bool too_slow(const qg_http_limits *limits, const qg_http_conn *conn, int64_t now_us)
{
    int64_t ms = (now_us - conn->since_us) / 1000;
    return conn->phase == QG_HTTP_BODY && ms > limits->body_grace_ms &&
           conn->body_bytes < (uint64_t)ms * (uint64_t)limits->body_rate / 1000;
}

static void expire(qg_http_conn *conn)
{
    if (conn->phase == QG_HTTP_TALK) {
        qg_http_chan_tick(conn->req->chan, true);
        return;
    }
    if (conn->req && (conn->phase == QG_HTTP_HEAD || conn->phase == QG_HTTP_BODY)) {
        qg_http_fault(conn->req, MHD_HTTP_REQUEST_TIMEOUT, "The request did not arrive in time.");
        qg_http_send_now(conn->req);
    }
    qg_http_conn_kill(conn);
}

void qg_http_conn_tick(qg_http *http, int64_t now_us)
{
    const qg_http_limits *limits = &http->opt.limits;
    int64_t idle_end_us = http->stops ? http->stop_us + STOP_IDLE_MS * 1000 : INT64_MAX;
    for (qg_http_conn *conn = http->conns; conn; conn = conn->next) {
        bool idle = conn->phase == QG_HTTP_IDLE;
        if (now_us >= conn->until_us || too_slow(limits, conn, now_us) ||
            (idle && now_us >= idle_end_us))
            expire(conn);
        else if (conn->req && conn->req->chan)
            qg_http_chan_tick(conn->req->chan, false);
    }
}
