/* A Stream session over a channel: lines come in, each is judged, its answer goes out, and only
 * then the next one is taken.  While a line is being judged or its answer waits for the client,
 * nothing is read: that is the back-pressure.  Protocols add how a line is read and how answers
 * look. */
#ifndef QG_SERVE_TALK_H
#define QG_SERVE_TALK_H

#include "http/chan.h"
#include "serve/stream_ask.h"
#include "serve/stream_op.h"

typedef struct qg_talk qg_talk;

typedef struct qg_talk_format {
    const char *type; /* of the answer; NULL = none */
    /* Reads a line into talk->ask. */
    qg_status (*read)(qg_talk *talk, qg_slice line, qg_err *err);
    /* Writes part step of a result, counting from 0; false when it was the last. */
    bool (*show)(qg_talk *talk, const qg_stream_result *result, size_t step);
    /* Writes an error; nothing follows but the end. */
    void (*fail)(qg_talk *talk, const qg_serve_error *error);
    /* Writes what stands at the end of a good answer; NULL = nothing. */
    void (*finish)(qg_talk *talk);
    /* Writes one line of JSON in the protocol's wrapping. */
    void (*put)(qg_talk *talk, const char *line, size_t n);
    bool plain_errors;           /* an error before the first answer goes out as an HTTP error */
    void (*free)(qg_talk *talk); /* the protocol's own; NULL = nothing */
} qg_talk_format;

struct qg_talk {
    qg_stream_op op; /* first */
    const qg_talk_format *format;
    qg_http_chan *chan;
    void *own; /* the protocol's */
    qg_buf in; /* lines that were not taken yet, from at on */
    size_t at;
    size_t scanned;           /* from at on: no line break there */
    qg_stream_ask ask;        /* the line that is being judged */
    size_t next;              /* of its appends */
    const char *role;         /* of the turn, NULL = none yet */
    qg_stream_result *result; /* being shown */
    qg_stream_result last;    /* the one before, without its tokens: shown for an empty piece */
    qg_stream_said said;      /* of the append that is shown */
    size_t step;
    int64_t n_lines;
    bool first;    /* no line was read yet */
    bool open;     /* the turn is not ended */
    bool busy;     /* an append is on its way */
    bool ended;    /* nothing more comes from the client */
    bool empty;    /* an empty piece waits for its answer */
    bool stopping; /* the server is */
    bool body;     /* a request's body, else a socket */
    bool failed, finished, gone;
};

/* On a body channel (in head()) or a socket (in full()); a failure is answered.  own is given to
 * format->free in every case. */
void qg_talk_body(qg_server *srv, qg_http_req *req, const qg_talk_format *format, void *own);
void qg_talk_socket(qg_server *srv, qg_http_req *req, const qg_talk_format *format, void *own);

/* Writes a line between two short strings, in one piece. */
void qg_talk_write(qg_talk *talk, const char *before, const char *line, size_t n,
                   const char *after);
/* Writes value (taken) as a line; what cannot be written ends the channel. */
void qg_talk_json(qg_talk *talk, json_t *value);

#endif
