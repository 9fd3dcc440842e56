/* What the files of this room share: the server, a connection, a request.  All of it belongs to the
 * server's thread, but for the mailbox. */
#ifndef QG_HTTP_HTTP_PRIV_H
#define QG_HTTP_HTTP_PRIV_H

#include "base/buf.h"
#include "http/chan.h"
#include "http/http.h"

#include <microhttpd.h>
#include <stdatomic.h>

/* Where a connection stands; each phase but WORK has an absolute deadline. */
typedef enum qg_http_phase {
    QG_HTTP_IDLE,   /* no byte of a request seen, or not yet a whole request line */
    QG_HTTP_HEAD,   /* header block */
    QG_HTTP_BODY,   /* body */
    QG_HTTP_WORK,   /* the answer is being made */
    QG_HTTP_WRITE,  /* the client takes the answer */
    QG_HTTP_TALK,   /* a channel: it is the client's turn to say something */
    QG_HTTP_LINGER, /* refused in mid-body; what still comes is thrown away */
    QG_HTTP_DEAD,   /* shut down by us; the library will notice */
} qg_http_phase;

typedef struct qg_http_conn {
    struct qg_http_conn *prev, *next;
    struct MHD_Connection *mhd;
    int fd;
    qg_http_phase phase;
    int64_t since_us, until_us; /* the phase began; its deadline */
    uint64_t body_bytes;        /* of the current body */
    uint32_t n_requests;
    qg_http_req *req; /* the current one, or NULL */
    char peer[46];    /* room for an IPv6 address */
} qg_http_conn;

struct qg_http_req {
    qg_http *http;
    qg_http_conn *conn; /* NULL once the exchange is over */
    qg_http_req *next;  /* mailbox */
    unsigned refs;      /* the connection's, and the waiter's */
    const char *method; /* the library's, while conn is set */
    char *uri;          /* as sent, owned */
    qg_buf path;        /* decoded */
    qg_buf body;
    char id[QG_HTTP_VALUE_BYTES];
    char trace[72];
    const char *extra; /* name of a header, or NULL */
    char extra_value[QG_HTTP_VALUE_BYTES];
    int32_t tag;
    int64_t work_us;
    qg_http_answer answer;
    const qg_http_waiter *waiter;
    void *ud;
    qg_http_chan *chan; /* NULL = none, or over */
    int64_t start_us;
    bool headed, whole; /* header block, body: in */
    bool long_uri;
    bool old;      /* HTTP/1.0 */
    bool finished; /* its channel had its end */
    bool answered; /* answer holds one that was not sent yet */
    bool sent;     /* … and was given to the library, or written by us */
    bool waiting;  /* qg_http_wait was called and ready or gone has not been */
    bool watched;  /* its socket is in gone_epoll */
    bool dropped;  /* the client has gone */
    int status;
};

struct qg_http {
    qg_http_options opt;
    struct MHD_Daemon *daemon;
    int listen_fd, mhd_fd, gone_epoll, wake_fd;
    uint16_t port;
    uint64_t socket_inode; /* of opt.path, once it is ours */
    qg_http_conn *conns;   /* newest first */
    size_t n_conns, body_bytes;
    int stops; /* how often qg_http_stop was called */
    int64_t stop_us;
    bool quiet;                    /* the listening socket is closed */
    bool last_words;               /* the time to drain is up: body channels end themselves */
    _Atomic(qg_http_req *) inbox;  /* any thread pushes, the server's thread takes all */
    _Atomic(qg_http_chan *) woken; /* the same */
};

/* Any thread: the server's has something to do, or nothing more. */
static inline void qg_http_busy(qg_http *http, int busy)
{
    if (http->opt.busy)
        __atomic_store_n(http->opt.busy, busy, __ATOMIC_RELAXED);
}

/* listen.c */
qg_status qg_http_listen(qg_http *http, qg_err *err);
/* Takes the socket's file away, if it is still the one that was made. */
void qg_http_unlisten(qg_http *http);

/* conn.c: connections and their clocks */
void qg_http_conn_notify(void *cls, struct MHD_Connection *mhd, void **context,
                         enum MHD_ConnectionNotificationCode code);
/* Begins a phase that may last ms; 0 = without end. */
void qg_http_conn_phase(qg_http_conn *conn, qg_http_phase phase, int32_t ms);
/* Ends connections that are past a deadline, too slow, or idle while the server stops. */
void qg_http_conn_tick(qg_http *http, int64_t now_us);
void qg_http_conn_kill(qg_http_conn *conn);

/* framing.c: NULL, or why this header block must not be trusted and the connection be closed */
typedef struct qg_http_framing {
    unsigned n_length, n_coding, n_host, n_headers;
    bool chunked, expect, odd_expect;
    uint64_t length;
    size_t bytes;
    const char *fault;
} qg_http_framing;
void qg_http_framing_add(qg_http_framing *f, qg_slice name, qg_slice value);
const char *qg_http_framing_fault(const qg_http_framing *f, const char *version);

/* uri.c: decoded path of a request target (absolute form too), without the query.  QG_ERR_FORMAT
 * for a broken or zero escape. */
qg_status qg_http_uri_path(const char *uri, qg_buf *path);

/* exchange.c: the library's callbacks for one request */
void *qg_http_on_uri(void *cls, const char *uri, struct MHD_Connection *mhd);
enum MHD_Result qg_http_on_access(void *cls, struct MHD_Connection *mhd, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *n_data, void **context);
void qg_http_on_end(void *cls, struct MHD_Connection *mhd, void **context,
                    enum MHD_RequestTerminationCode code);
/* The client of a waiting request has gone, or the server gives up on it. */
void qg_http_drop(qg_http_req *req);
/* Takes the mailbox and finishes what is in it. */
void qg_http_collect(qg_http *http);

/* answer.c */
enum MHD_Result qg_http_send(qg_http_req *req);
/* Answers past the library, in mid-body where it cannot, and lets the connection linger. */
void qg_http_send_now(qg_http_req *req);
/* Status line and headers of answer, but for those about its body's length, and no empty line. */
qg_status qg_http_head_text(qg_buf *text, const qg_http_req *req, const qg_http_answer *answer);
/* Makes the answer of an error that arose in this room. */
void qg_http_fault(qg_http_req *req, int status, const char *sentence);

/* chan.c: what happens to a channel */
void qg_http_chan_begin(qg_http_chan *chan);
void qg_http_chan_piece(qg_http_chan *chan, const char *p, size_t n);
void qg_http_chan_whole(qg_http_chan *chan);
void qg_http_chan_event(qg_http_chan *chan, uint32_t events); /* of epoll */
void qg_http_chan_tick(qg_http_chan *chan, bool late);
void qg_http_chan_unhold(qg_http_chan *chan); /* the library may go on with the connection */
void qg_http_chan_lost(qg_http_chan *chan);   /* the request is over */
void qg_http_chan_collect(qg_http *http);     /* takes the mailbox */

#endif
