/* One request and its answer, as the library's callbacks see them:
 *
 *   on_uri      the request line is in: the request is born
 *   on_access   once for the header block, once per piece of body, once when all is in, and once
 *               more after each resume
 *   on_end      over, in whatever way
 *
 * A request lives until its connection and its waiter have both let go of it. */
#define _GNU_SOURCE

#include "http/http_priv.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

static void req_release(qg_http_req *req)
{
    if (--req->refs)
        return;
    if (req->waiter)
        req->waiter->free(req->ud);
    req->http->body_bytes -= req->body.n;
    qg_http_answer_free(&req->answer);
    qg_buf_free(&req->path);
    qg_buf_free(&req->body);
    qg_mfree(req->uri);
    qg_mfree(req);
}

void *qg_http_on_uri(void *cls, const char *uri, struct MHD_Connection *mhd)
{
    qg_http *http = cls;
    const qg_http_limits *limits = &http->opt.limits;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    qg_http_conn *conn = info ? info->socket_context : NULL;
    qg_http_req *req = conn ? qg_calloc(1, sizeof *req) : NULL;
    if (!req)
        return NULL;
    req->http = http;
    req->conn = conn;
    req->refs = 1;
    req->method = "";
    req->start_us = qg_clock_us();
    req->long_uri = strlen(uri) > limits->uri_bytes;
    qg_buf_init(&req->path, limits->uri_bytes);
    qg_buf_init(&req->body, limits->body_bytes);
    req->uri = qg_memdup0(uri, req->long_uri ? 0 : strlen(uri));
    conn->req = req;
    conn->n_requests++;
    conn->body_bytes = 0;
    qg_http_conn_phase(conn, QG_HTTP_HEAD, limits->header_ms);
    return req;
}

static enum MHD_Result add_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                  size_t n_name, const char *value, size_t n_value)
{
    (void)kind;
    qg_http_framing_add(cls, qg_slice_of(name, n_name),
                        qg_slice_of(value ? value : "", value ? n_value : 0));
    return MHD_YES;
}

/* Refuses the header block: answered at once, and the connection is closed. */
static enum MHD_Result refuse(qg_http_req *req, int status, const char *sentence)
{
    qg_http_fault(req, status, sentence);
    return qg_http_send(req);
}

/* A client that sends its body without waiting reads the answer only if we go on reading. */
static enum MHD_Result refuse_body(qg_http_req *req, bool body_comes, int status,
                                   const char *sentence)
{
    if (!body_comes)
        return refuse(req, status, sentence);
    qg_http_fault(req, status, sentence);
    qg_http_send_now(req);
    return MHD_YES;
}

static enum MHD_Result on_head(qg_http_req *req, const char *method, const char *version)
{
    const qg_http_limits *limits = &req->http->opt.limits;
    qg_http_framing f = {0};
    req->headed = true;
    req->method = method;
    req->old = strcmp(version, MHD_HTTP_VERSION_1_0) == 0;
    MHD_get_connection_values_n(req->conn->mhd, MHD_HEADER_KIND, add_header, &f);
    const char *fault = qg_http_framing_fault(&f, version);
    if (fault)
        return refuse(req, MHD_HTTP_BAD_REQUEST, fault);
    if (req->long_uri)
        return refuse(req, MHD_HTTP_URI_TOO_LONG, "The request target is too long.");
    if (f.bytes > limits->header_bytes)
        return refuse(req, MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE, "The headers are too large.");
    if (f.odd_expect)
        return refuse(req, MHD_HTTP_EXPECTATION_FAILED, "Only Expect: 100-continue is known.");
    if (!req->uri || qg_http_uri_path(req->uri, &req->path) != QG_OK)
        return refuse(req, MHD_HTTP_BAD_REQUEST, "The request target cannot be read.");
    if (f.length > limits->body_bytes)
        return refuse_body(req, !f.expect, MHD_HTTP_CONTENT_TOO_LARGE,
                           "The request body is too large.");
    qg_http_conn_phase(req->conn, QG_HTTP_BODY, limits->body_ms);
    req->http->opt.head(req->http->opt.ud, req);
    if (req->answered && f.expect) { /* the client waits for a word before it sends its body */
        req->answer.close = true;
        return qg_http_send(req);
    }
    if (req->chan)
        qg_http_chan_begin(req->chan);
    return MHD_YES;
}

static enum MHD_Result on_piece(qg_http_req *req, const char *data, size_t n)
{
    const qg_http_limits *limits = &req->http->opt.limits;
    qg_http_conn *conn = req->conn;
    conn->body_bytes += n;
    if (req->chan && conn->phase != QG_HTTP_LINGER) {
        qg_http_chan_piece(req->chan, data, n);
        return MHD_YES;
    }
    if (conn->phase != QG_HTTP_BODY)
        return MHD_YES; /* lingering: thrown away */
    if (conn->body_bytes > limits->body_bytes)
        return refuse_body(req, true, MHD_HTTP_CONTENT_TOO_LARGE, "The request body is too large.");
    if (req->answered)
        return MHD_YES; /* refused by head(): the body is read only to keep the connection */
    if (req->http->body_bytes + n > limits->body_bytes_total || qg_buf_add(&req->body, data, n))
        return refuse_body(req, true, MHD_HTTP_SERVICE_UNAVAILABLE,
                           "Too many large requests are under way; try again later.");
    req->http->body_bytes += n;
    return MHD_YES;
}

static void watch(qg_http_req *req)
{
    struct epoll_event want = {.events = EPOLLRDHUP, .data.ptr = req};
    req->watched = epoll_ctl(req->http->gone_epoll, EPOLL_CTL_ADD, req->conn->fd, &want) == 0;
}

static void unwatch(qg_http_req *req)
{
    if (req->watched)
        (void)epoll_ctl(req->http->gone_epoll, EPOLL_CTL_DEL, req->conn->fd, NULL);
    req->watched = false;
}

static enum MHD_Result on_full(qg_http_req *req)
{
    qg_http_conn *conn = req->conn;
    req->whole = true;
    if (req->chan && conn->phase != QG_HTTP_LINGER) {
        qg_http_chan_whole(req->chan);
        return MHD_YES;
    }
    if (conn->phase != QG_HTTP_BODY)
        return MHD_NO; /* answered past the library: nothing more to say */
    qg_http_conn_phase(conn, QG_HTTP_WORK, 0);
    if (!req->answered)
        req->http->opt.full(req->http->opt.ud, req);
    if (req->answered)
        return qg_http_send(req);
    if (req->chan) {
        qg_http_chan_begin(req->chan);
        return MHD_YES;
    }
    if (!req->waiting)
        return refuse(req, MHD_HTTP_INTERNAL_SERVER_ERROR, "The request was not answered.");
    watch(req);
    MHD_suspend_connection(conn->mhd);
    return MHD_YES;
}

enum MHD_Result qg_http_on_access(void *cls, struct MHD_Connection *mhd, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *n_data, void **context)
{
    qg_http_req *req = *context;
    (void)cls;
    (void)mhd;
    (void)url;
    if (!req || req->conn->phase == QG_HTTP_DEAD)
        return MHD_NO;
    if (!req->headed)
        return on_head(req, method, version);
    if (*n_data) {
        size_t n = *n_data;
        *n_data = 0;
        return on_piece(req, data, n);
    }
    if (!req->whole)
        return on_full(req);
    return req->answered ? qg_http_send(req) : MHD_NO; /* resumed */
}

void qg_http_on_end(void *cls, struct MHD_Connection *mhd, void **context,
                    enum MHD_RequestTerminationCode code)
{
    qg_http_req *req = *context;
    qg_http *http = cls;
    (void)mhd;
    if (!req)
        return;
    qg_http_end end = {
        .work_us = req->work_us,
        .status = req->status,
        .us = qg_clock_us() - req->start_us,
        .whole = code == MHD_REQUEST_TERMINATED_COMPLETED_OK || req->finished,
        .n_body = req->conn->body_bytes,
    };
    http->opt.end(http->opt.ud, req, &end);
    if (req->chan)
        qg_http_chan_lost(req->chan);
    req->conn->req = NULL;
    qg_http_conn_phase(req->conn, QG_HTTP_IDLE, http->opt.limits.idle_ms);
    req->conn = NULL;
    *context = NULL;
    req_release(req);
}

void qg_http_wait(qg_http_req *req, const qg_http_waiter *waiter, void *ud)
{
    req->waiter = waiter;
    req->ud = ud;
    req->waiting = true;
    req->refs++;
}

void qg_http_drop(qg_http_req *req)
{
    if (!req->waiting)
        return;
    req->waiting = false;
    req->dropped = true;
    unwatch(req);
    req->waiter->gone(req->ud);
    MHD_resume_connection(req->conn->mhd); /* on_access then closes it */
}

/* Intrusive, so that posting cannot fail; who finds the mailbox empty wakes the server's thread
 * with one write to an eventfd: once for the verdicts of a whole pass. */
void qg_http_post(qg_http_req *req)
{
    static const uint64_t one = 1;
    qg_http *http = req->http;
    qg_http_req *first = atomic_load_explicit(&http->inbox, memory_order_relaxed);
    int fd = http->wake_fd;
    qg_http_busy(http, 1);
    do
        req->next = first;
    while (!atomic_compare_exchange_weak_explicit(&http->inbox, &first, req, memory_order_release,
                                                  memory_order_relaxed));
    if (first)
        return;
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR)
        continue;
}

static void finish(qg_http_req *req)
{
    if (req->waiting) {
        req->waiting = false;
        unwatch(req);
        req->waiter->ready(req->ud, req);
        if (!req->answered)
            qg_http_fault(req, MHD_HTTP_INTERNAL_SERVER_ERROR, "The request was not answered.");
        MHD_resume_connection(req->conn->mhd);
    }
    req_release(req);
}

void qg_http_collect(qg_http *http)
{
    qg_http_req *list = atomic_exchange_explicit(&http->inbox, NULL, memory_order_acquire);
    qg_http_req *oldest = NULL;
    while (list) { /* last in, first out: turn it round */
        qg_http_req *next = list->next;
        list->next = oldest;
        oldest = list;
        list = next;
    }
    while (oldest) {
        qg_http_req *next = oldest->next;
        finish(oldest);
        oldest = next;
    }
}

/* ---- what the handlers may ask --------------------------------------------------------------- */

const char *qg_http_method(const qg_http_req *req)
{
    return req->conn ? req->method : "";
}

qg_slice qg_http_path(const qg_http_req *req)
{
    return qg_buf_slice(&req->path);
}

qg_slice qg_http_query(const qg_http_req *req)
{
    const char *mark = req->uri ? strchr(req->uri, '?') : NULL;
    return qg_str(mark ? mark + 1 : "");
}

qg_slice qg_http_body(const qg_http_req *req)
{
    return qg_buf_slice(&req->body);
}

const char *qg_http_peer(const qg_http_req *req)
{
    return req->conn ? req->conn->peer : "-";
}

qg_slice qg_http_header(const qg_http_req *req, const char *name)
{
    const char *value = NULL;
    size_t n = 0;
    if (!req->conn || !req->headed ||
        MHD_lookup_connection_value_n(req->conn->mhd, MHD_HEADER_KIND, name, strlen(name), &value,
                                      &n) != MHD_YES)
        return qg_slice_of(NULL, 0);
    return qg_slice_of(value ? value : "", value ? n : 0);
}

void qg_http_set_id(qg_http_req *req, const char *id)
{
    snprintf(req->id, sizeof req->id, "%s", id);
}

const char *qg_http_id(const qg_http_req *req)
{
    return req->id;
}

void qg_http_set_trace(qg_http_req *req, const char *trace)
{
    snprintf(req->trace, sizeof req->trace, "%s", trace);
}

const char *qg_http_trace(const qg_http_req *req)
{
    return req->trace;
}

void qg_http_set_extra(qg_http_req *req, const char *name, const char *value)
{
    req->extra = name;
    snprintf(req->extra_value, sizeof req->extra_value, "%s", value);
}

void qg_http_set_work(qg_http_req *req, int64_t us)
{
    req->work_us = us;
}

void qg_http_set_tag(qg_http_req *req, int32_t tag)
{
    req->tag = tag;
}

int32_t qg_http_tag(const qg_http_req *req)
{
    return req->tag;
}
