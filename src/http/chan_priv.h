/* Inside of a channel, for the files that make it up. */
#ifndef QG_HTTP_CHAN_PRIV_H
#define QG_HTTP_CHAN_PRIV_H

#include "http/chan.h"
#include "http/http_priv.h"

typedef struct qg_http_socket qg_http_socket;

struct qg_http_chan {
    qg_http *http;
    qg_http_req *req; /* NULL once it is over */
    const qg_http_chan_events *on;
    void *ud;
    qg_http_socket *socket; /* NULL = body */
    qg_buf out;             /* what the client has to take, from at on */
    size_t at;
    unsigned depth;    /* calls of the owner under way */
    uint32_t watching; /* what epoll watches for, when watched */
    bool watched;
    bool started, plain; /* the answer's head was written; without chunks (HTTP/1.0) */
    bool paused, suspended;
    bool ended, finishing, done, freed;
    bool late;    /* made when the request's body was all in */
    bool stopped; /* has heard that the server is going away */
    bool broken;  /* to be closed without ceremony */
    bool active;  /* something moved: the deadline starts anew */
    bool hungry;  /* the owner has more, but its turn is over */
    atomic_bool queued;
    qg_http_chan *next; /* mailbox */
};

/* chan.c */
qg_http_chan *qg_http_chan_new(qg_http_req *req, const qg_http_chan_events *on, void *ud);
bool qg_http_chan_put(qg_http_chan *chan, const char *p, size_t n);

/* chan_body.c */
bool qg_http_body_write(qg_http_chan *chan, const char *p, size_t n);
void qg_http_body_finish(qg_http_chan *chan);

/* websocket.c; those without a socket do nothing and say no */
bool qg_http_socket_write(qg_http_chan *chan, const char *p, size_t n);
void qg_http_socket_finish(qg_http_chan *chan, int code);
void qg_http_socket_event(qg_http_chan *chan, uint32_t events);
bool qg_http_socket_ping(qg_http_chan *chan);          /* false: the last one was not answered */
bool qg_http_socket_reads(const qg_http_chan *chan);   /* more may be read now */
bool qg_http_socket_closing(const qg_http_chan *chan); /* our close frame is written */
bool qg_http_socket_over(const qg_http_chan *chan); /* … and the client's has come, or its end */
void qg_http_socket_free(qg_http_chan *chan);
/* The answer to a Sec-WebSocket-Key, 0-terminated; false when it is not 16 bytes in base64. */
enum { QG_HTTP_ACCEPT_BYTES = 29 };
bool qg_http_socket_accept(qg_slice key, char out[QG_HTTP_ACCEPT_BYTES]);

#endif
