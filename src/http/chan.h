/* Channels: requests whose answer goes out while more comes in.
 *
 * Two kinds, one set of events.  A body channel (qg_http_chan_body) gets the request's body in the
 * pieces in which it arrives and answers with a body that begins before the request's has ended; a
 * socket channel (qg_http_chan_socket) is a WebSocket and gets whole text messages.
 *
 * Everything but qg_http_chan_wake belongs to the server's thread.  Nothing piles up: while the
 * owner has paused the channel nothing is read from the client, who then has to wait, and more()
 * is asked for output only when what was written before has gone out. */
#ifndef QG_HTTP_CHAN_H
#define QG_HTTP_CHAN_H

#include "http/http.h"

typedef struct qg_http_chan qg_http_chan;

/* Why nothing more will come from the client. */
typedef enum qg_http_chan_end {
    QG_HTTP_SAID_ALL, /* the body is over */
    QG_HTTP_TOO_IDLE, /* nothing came in time, or no answer to a ping */
    QG_HTTP_STOPPING, /* the server is going away: sockets at once; bodies, which have an end of
                         their own, when the time to drain is up, also after QG_HTTP_SAID_ALL */
} qg_http_chan_end;

typedef struct qg_http_chan_events {
    /* A piece of the body (n >= 1, cut anywhere) or a whole message (n >= 0, valid UTF-8). */
    void (*data)(void *ud, const char *p, size_t n);
    /* Once (but see QG_HTTP_STOPPING); what is under way may still be answered, then
     * qg_http_chan_finish. */
    void (*end)(void *ud, qg_http_chan_end why);
    /* Everything written has gone out: write more and return true, or false for nothing now. */
    bool (*more)(void *ud);
    /* After qg_http_chan_wake; comes even when the client has gone. */
    void (*woken)(void *ud);
    /* The client has gone, or has everything after qg_http_chan_finish; once, and none but woken
     * comes behind it.  The owner still has to give the channel back. */
    void (*gone)(void *ud);
} qg_http_chan_events;

/* In head(): the request's body comes as data().  Or in full(), when it is all there: then neither
 * data() nor end() comes, the channel should be paused (the client owes nothing), and a client that
 * closes its side has gone.  Whatever was refused until here is answered as usual.  NULL when out
 * of memory.  events live for ever. */
qg_http_chan *qg_http_chan_body(qg_http_req *req, const qg_http_chan_events *events, void *ud);

/* In full(), of a GET: takes over as a WebSocket.  max_bytes: of a message; a longer one ends the
 * channel with close code 1009.  NULL with *fault (a sentence) when the handshake is not one (426
 * when only the version is wrong: *status), or out of memory (503). */
qg_http_chan *qg_http_chan_socket(qg_http_req *req, size_t max_bytes,
                                  const qg_http_chan_events *events, void *ud, int *status,
                                  const char **fault);

/* Body channels: status, type and headers of the answer (its body stays out), before the first
 * write.  Content type NULL = none. */
void qg_http_chan_start(qg_http_chan *chan, const qg_http_answer *answer);
bool qg_http_chan_started(const qg_http_chan *chan);
/* Body channels, instead of starting: the whole answer, an error; then gone() will come. */
void qg_http_chan_refuse(qg_http_chan *chan, qg_http_answer *answer);

/* Queues bytes of the answer, or one text message.  False when out of memory, and the channel is
 * then broken off. */
bool qg_http_chan_write(qg_http_chan *chan, const char *p, size_t n);
/* Bytes written that the client has not taken yet. */
size_t qg_http_chan_pending(const qg_http_chan *chan);
/* While paused nothing is read; what the library holds of the body already still comes (up to
 * QG_HTTP_CHAN_AHEAD).  Channels begin unpaused. */
void qg_http_chan_pause(qg_http_chan *chan, bool paused);
enum { QG_HTTP_CHAN_AHEAD = 64 * 1024 };
/* Breaks the connection off, so that the client sees an answer that did not end. */
void qg_http_chan_break(qg_http_chan *chan);
/* No more will be written: what is queued goes out, then the connection is closed.  code: the
 * close code of a socket (1000 = well done). */
void qg_http_chan_finish(qg_http_chan *chan, int code);

/* Any thread: woken() will be called on the server's; calls in between make one. */
void qg_http_chan_wake(qg_http_chan *chan);
/* Gives the channel back, after gone(); no wake may come any more, but one that came before may
 * still wait to be told: it is dropped. */
void qg_http_chan_free(qg_http_chan *chan);
/* The channel's request, for its id and headers (headers only in the call that made it). */
qg_http_req *qg_http_chan_req(const qg_http_chan *chan);

#endif
