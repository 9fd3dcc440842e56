/* An event stream (text/event-stream) read strictly, in pieces cut anywhere.
 *
 * An event's bytes are kept as they came, so that they can be passed on; only what no client reads
 * and nobody judges is taken away: the words of comments (the colon stays, it keeps connections
 * alive) and lines of unknown fields.  Lines end with LF, CRLF or CR; a byte order mark before the
 * first line is let by.  Each byte is looked at once, however the pieces are cut. */
#ifndef QG_GATEWAY_SSE_H
#define QG_GATEWAY_SSE_H

#include "base/buf.h"

typedef struct qg_sse {
    qg_buf raw;    /* the event at hand, as it will leave; its unfinished line is at its end */
    qg_buf joined; /* data of several lines */
    size_t line;   /* where that line begins */
    size_t data, data_end, n_data; /* of the first data line; how many there are */
    size_t name, name_end;         /* of the last event: line */
    bool cr;                       /* the last byte was CR: a LF may belong to it */
    bool started;                  /* something of the first line is there */
    bool whole;                    /* raw is an event that was given out */
} qg_sse;

typedef struct qg_sse_event {
    qg_slice raw;  /* with its blank line */
    qg_slice data; /* of all data lines, joined with LF; lies in raw when there is one line */
    qg_slice name; /* "" without an event: line */
    bool has_data; /* false: comments and blank lines alone */
} qg_sse_event;

/* Allocates nothing. */
void qg_sse_init(qg_sse *s);
/* Half-read events go, too. */
void qg_sse_free(qg_sse *s);

/* Takes bytes from the front of *in up to the end of the next event.  *got false: all of *in is
 * taken and there is none yet.  What *event points to lives until the next call.
 * QG_ERR_TOO_LONG: an event of more than QG_MAX_SSE_EVENT bytes; QG_ERR_FORMAT: an event name that
 * is none, or a 0 byte; QG_ERR_NOMEM.  After an error the reader is of no more use. */
qg_status qg_sse_next(qg_sse *s, qg_slice *in, qg_sse_event *event, bool *got, qg_err *err);
/* The stream has ended.  *got: an event whose blank line was a lone CR is complete now.  What is
 * left unfinished is no event and is dropped, as the standard says: *torn tells of it. */
qg_status qg_sse_end(qg_sse *s, qg_sse_event *event, bool *got, bool *torn, qg_err *err);

#endif
