/* An HTTP/1.1 server: libmicrohttpd wrapped once, with the limits it lacks.
 *
 * One thread, the caller of qg_http_run, owns every connection; all callbacks run on it and must be
 * short.  A request that has to wait for somebody else is left with qg_http_wait and finished from
 * any thread with qg_http_post: no thread ever waits for a request.
 *
 *   head(req)  the header block is in: may refuse with qg_http_reply (the body is then not kept)
 *   full(req)  the body is in: qg_http_reply now, or qg_http_wait and later
 *     post     … from any thread: somebody finished
 *   ready(ud)  on the server's thread again: qg_http_reply
 *
 * An answer that begins while the request still comes, or a WebSocket: http/chan.h.
 *
 * Nothing here knows JSON: the bodies of the errors that arise here are asked from fault(). */
#ifndef QG_HTTP_HTTP_H
#define QG_HTTP_HTTP_H

#include "base/slice.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct qg_http qg_http;
typedef struct qg_http_req qg_http_req;

/* Bytes, counts and milliseconds; see base/limits.h for what each one means and its default. */
typedef struct qg_http_limits {
    size_t uri_bytes, header_bytes, body_bytes, body_bytes_total;
    uint32_t connections, connections_addr, conn_requests;
    int32_t header_ms, body_ms, idle_ms, write_ms, talk_ms, drain_ms, linger_ms;
    int32_t body_rate; /* bytes per second, measured from body_grace_ms on */
    int32_t body_grace_ms;
} qg_http_limits;

/* Fills in the defaults. */
void qg_http_limits_init(qg_http_limits *limits);

/* ---- answers --------------------------------------------------------------------------------- */

/* A body made piece by piece, when the socket can take more. */
typedef struct qg_http_source {
    /* Writes at most room bytes (room >= 1): their number, 0 at the end, -1 to break off. */
    ssize_t (*pull)(struct qg_http_source *source, char *out, size_t room);
    void (*close)(struct qg_http_source *source);
} qg_http_source;

enum { QG_HTTP_ANSWER_HEADERS = 10, QG_HTTP_VALUE_BYTES = 128 };

typedef struct qg_http_answer {
    int status;
    const char *type; /* Content-Type; lives for ever; NULL = none */
    char *body;       /* [n], from qg_malloc; goes to the server with qg_http_reply */
    size_t n;
    qg_http_source *source; /* instead of body; goes to the server too */
    size_t n_headers;
    struct {
        const char *name; /* lives for ever */
        char value[QG_HTTP_VALUE_BYTES];
    } headers[QG_HTTP_ANSWER_HEADERS];
    bool close;      /* close the connection afterwards */
    char reason[80]; /* instead of the status's own words; "" = those.  It closes too */
} qg_http_answer;

/* An empty answer. */
void qg_http_answer_init(qg_http_answer *answer, int status);
/* Adds a header; one that does not fit is left out. */
void qg_http_answer_header(qg_http_answer *answer, const char *name, const char *value);
/* The words behind the status, cut to fit; only plain ASCII is kept.  Not with a source. */
void qg_http_answer_reason(qg_http_answer *answer, const char *words);
/* Frees what qg_http_reply was not given. */
void qg_http_answer_free(qg_http_answer *answer);

/* ---- requests -------------------------------------------------------------------------------- */

/* What is asked; slices live as long as the request.  path is decoded and without the query, ""
 * when it cannot be decoded. */
const char *qg_http_method(const qg_http_req *req);
qg_slice qg_http_path(const qg_http_req *req);
qg_slice qg_http_query(const qg_http_req *req); /* behind '?', as sent; "" when there is none */
qg_slice qg_http_body(const qg_http_req *req);
const char *qg_http_peer(const qg_http_req *req); /* the client's address */
/* First header of this name, whatever its case; p is NULL when there is none. */
qg_slice qg_http_header(const qg_http_req *req, const char *name);

/* The id that X-Request-Id of the answer will carry; "" until set (cut to fit). */
void qg_http_set_id(qg_http_req *req, const char *id);
const char *qg_http_id(const qg_http_req *req);

/* The trace the request belongs to, which no answer carries; "" until set (cut to fit). */
void qg_http_set_trace(qg_http_req *req, const char *trace);
const char *qg_http_trace(const qg_http_req *req);

/* One more header of the answer, whatever makes it; name lives for ever.  Before qg_http_reply. */
void qg_http_set_extra(qg_http_req *req, const char *name, const char *value);

/* A number of the caller's that stays with the request until end(); 0 until set. */
void qg_http_set_tag(qg_http_req *req, int32_t tag);
int32_t qg_http_tag(const qg_http_req *req);

/* How much of the request's time somebody else worked on it, for end(); 0 until set. */
void qg_http_set_work(qg_http_req *req, int64_t us);

/* Gives the answer, once per request; *answer is taken (and left empty). */
void qg_http_reply(qg_http_req *req, qg_http_answer *answer);

typedef struct qg_http_waiter {
    /* After qg_http_post, unless the client has gone: qg_http_reply now. */
    void (*ready)(void *ud, qg_http_req *req);
    /* The client has gone, or the server gives up on it; at most once, and never after ready.  The
     * post must still come. */
    void (*gone)(void *ud);
    /* Last call, after the post; ud may be freed.  The answer's source may live on. */
    void (*free)(void *ud);
} qg_http_waiter;

/* In full(): the answer comes later.  waiter lives for ever. */
void qg_http_wait(qg_http_req *req, const qg_http_waiter *waiter, void *ud);
/* Exactly once for each qg_http_wait, from any thread; it may come before qg_http_wait, as long as
 * full() has not returned.  req must not be touched afterwards. */
void qg_http_post(qg_http_req *req);

/* ---- server ---------------------------------------------------------------------------------- */

/* How a request ended, for the log. */
typedef struct qg_http_end {
    int status;      /* of the answer; 0 when there was none */
    int64_t us;      /* from the request line to the end of the answer */
    int64_t work_us; /* of it, as told with qg_http_set_work */
    bool whole;      /* the client took the whole answer */
    uint64_t n_body; /* bytes of the request's body */
} qg_http_end;

typedef struct qg_http_options {
    const char *host; /* name or address to listen on */
    uint16_t port;    /* 0 = any free one, see qg_http_port */
    const char
        *path; /* a Unix socket to listen on instead; lives as long as the server; NULL = no */
    qg_http_limits limits;
    void *ud; /* for the callbacks; none of them but dress and tick may be NULL */
    void (*head)(void *ud, qg_http_req *req);
    void (*full)(void *ud, qg_http_req *req);
    /* May add headers to each answer before it goes out; NULL = nothing to add. */
    void (*dress)(void *ud, qg_http_req *req, qg_http_answer *answer);
    /* Fills in body, type and headers for an error that arose here. */
    void (*fault)(void *ud, qg_http_req *req, const char *sentence, qg_http_answer *answer);
    void (*end)(void *ud, qg_http_req *req, const qg_http_end *end);
    void (*tick)(void *ud); /* now and then: at least once a second, at most ten times; NULL = no */
    int *busy; /* stored atomically: 1 from when there is something to do until it is done, 0 while
                  the thread sleeps; lives as long as the server; NULL = nobody wants to know */
    int watch_fd; /* -1, or: when it is readable, watch(ud) is called (for signals) */
    void (*watch)(void *ud);
} qg_http_options;

/* Listens.  QG_ERR_IO names host and port, or path.  A socket file that nobody listens on any more
 * is replaced; qg_http_close takes the file away.  *out is NULL on failure. */
qg_status qg_http_open(qg_http **out, const qg_http_options *opt, qg_err *err);
uint16_t qg_http_port(const qg_http *http);
/* Serves until qg_http_stop and the drain that follows.  QG_ERR_IO when the system refuses. */
qg_status qg_http_run(qg_http *http, qg_err *err);
/* Stops listening and lets running requests finish, up to drain_ms; a second call gives up on them
 * at once.  Server's thread (watch), or before qg_http_run. */
void qg_http_stop(qg_http *http);
bool qg_http_stopping(const qg_http *http);
/* Frees everything; NULL is fine.  All posts must have come: close the engine first. */
void qg_http_close(qg_http *http);

#endif
