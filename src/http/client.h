/* An HTTP client: libcurl wrapped once, with what its defaults leave open.
 *
 * One thread of the client's own runs all its calls; every event comes on that thread and must be
 * short.  Anybody may start, pause and abort a call from any thread.
 *
 *     qg_client_start(client, &request, &events, ud, &call, &err);
 *       head(ud, call, 200)      on the client's thread: the header block is in
 *       data(ud, p, n) …         as it comes
 *       done(ud, &end)           once, last, however it ended
 *     qg_client_release(call);   from any thread, at any time
 *
 * What holds for every call: http and https alone; the server's certificate is verified; no
 * redirect is followed unless asked, and then only where allow() says so; no cookies, no netrc, no
 * HTTP/0.9; proxies only when asked; an HTTP/2 connection carries one call at a time, so that a
 * call that is paused holds nobody else; memory of a call is bounded: the receive buffer, its
 * header block (QG_MAX_HEADER_BYTES) and its request. */
#ifndef QG_HTTP_CLIENT_H
#define QG_HTTP_CLIENT_H

#include "base/slice.h"
#include "base/status.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct qg_client qg_client;
typedef struct qg_client_call qg_client_call;

typedef struct qg_client_options {
    const char *ca_file; /* PEM, instead of the system's authorities; NULL = those */
    bool proxy_env;      /* obey http_proxy, https_proxy, no_proxy of the environment */
    const char *agent;   /* User-Agent, where the request gives none; NULL = none */
    /* Called on the client's thread about every tick_ms; NULL = nothing.  Never early, late by what
     * other events take. */
    void (*tick)(void *ud);
    void *tick_ud;
    int32_t tick_ms;
} qg_client_options;

/* Starts the thread.  opt NULL = defaults (all zero).  Strings are copied.  QG_ERR_NOMEM,
 * QG_ERR_IO. */
qg_status qg_client_open(qg_client **out, const qg_client_options *opt, qg_err *err);
/* Aborts what runs (its done() comes before this returns) and ends the thread; NULL is fine.  Not
 * from an event; nobody may start a call or post any more. */
void qg_client_close(qg_client *client);

/* ---- a call ---------------------------------------------------------------------------------- */

typedef struct qg_client_header {
    const char *name, *value;
} qg_client_header;

/* Zero-initialise; everything is copied (body: the bytes too).  Milliseconds of 0: no limit but,
 * for connecting, QG_CLIENT_CONNECT_MS. */
typedef struct qg_client_request {
    const char *method; /* NULL = GET, or POST when there is a body; HEAD has no answer's body */
    const char *url;    /* see qg_client_url_check */
    const qg_client_header *headers; /* [n_headers] control characters: QG_ERR_ARG */
    size_t n_headers;
    qg_slice body; /* p NULL = none */
    int32_t connect_ms;
    int32_t header_ms;   /* from the start to the end of the answer's header block */
    int32_t stall_ms;    /* behind it: without a byte while not paused */
    int32_t total_ms;    /* for everything, pauses too */
    size_t buffer_bytes; /* receive buffer, the longest data(); 0 = 16 KiB, 1 KiB at least */
    bool decode;         /* undo gzip, deflate, br, zstd of the answer, in bounded memory; asks for
                            "identity" unless the headers say otherwise */
    const char *ca_file; /* PEM, instead of the client's authorities; NULL = those */
    int redirects;       /* followed at most so many; of GET and HEAD alone */
    /* May this address be called?  Asked for each redirect, which must not leave https; on another
     * host Authorization and Cookie are left out.  NULL = the same scheme, host and port only. */
    bool (*allow)(void *ud, const char *url);
    void *allow_ud;
} qg_client_request;

typedef enum qg_client_cause {
    QG_CLIENT_WHOLE = 0, /* the whole answer came, whatever its status */
    QG_CLIENT_ABORTED,   /* by qg_client_abort, an event that returned false, or closing */
    QG_CLIENT_RESOLVE,   /* the host has no address */
    QG_CLIENT_CONNECT,   /* nobody there, or not in time */
    QG_CLIENT_TLS,       /* no trusted connection */
    QG_CLIENT_LATE,      /* header_ms or total_ms is over */
    QG_CLIENT_STALLED,   /* stall_ms is over */
    QG_CLIENT_BROKEN,    /* the connection ended before the answer did */
    QG_CLIENT_PROTOCOL,  /* what came is no HTTP, a broken coding, a header block too long */
    QG_CLIENT_REDIRECT,  /* one too many, or to where it must not go */
    QG_CLIENT_NOMEM,
} qg_client_cause;
/* One word for logs and labels: "whole", "aborted", … */
const char *qg_client_cause_name(qg_client_cause cause);

typedef struct qg_client_end {
    qg_client_cause cause;
    int status;       /* of the answer's header block; 0 = none came */
    uint64_t n_bytes; /* given to data() */
    qg_err err;       /* a sentence when the cause is not QG_CLIENT_WHOLE; holds no header values */
} qg_client_end;

/* ud of all of them is the call's.  live for ever. */
typedef struct qg_client_events {
    /* The header block of the final answer (1xx and followed redirects are not told).  False
     * aborts.  NULL = not wanted. */
    bool (*head)(void *ud, qg_client_call *call, int status);
    /* The next n >= 1 bytes of the body; none while paused, but for what qg_client_pause tells.
     * False aborts. */
    bool (*data)(void *ud, const char *p, size_t n);
    /* Last event, once. */
    void (*done)(void *ud, const qg_client_end *end);
} qg_client_events;

/* Starts a call, from any thread.  *call (may be NULL: then it runs unattended) is set before the
 * first event and must be given back with qg_client_release.  On failure no event comes.
 * QG_ERR_ARG: the URL or a header; QG_ERR_NOMEM. */
qg_status qg_client_start(qg_client *client, const qg_client_request *request,
                          const qg_client_events *events, void *ud, qg_client_call **call,
                          qg_err *err);
/* Any thread, until qg_client_release.  Paused: the client reads at most one buffer more, keeps it,
 * and the sender has to wait.  A data() that is running on the client's thread is not called back;
 * on that thread (also from inside data()) it holds at once. */
void qg_client_pause(qg_client_call *call, bool paused);
/* Any thread, until qg_client_release: the call ends early, done() tells QG_CLIENT_ABORTED (unless
 * it was just ending by itself).  data() may run once more meanwhile. */
void qg_client_abort(qg_client_call *call);
/* Gives the handle back; the call goes on.  NULL is fine. */
void qg_client_release(qg_client_call *call);

/* In events: first header of this name, whatever its case, of the final answer, p NULL when there
 * is none; and header i, false past the last. They live until the event returns. */
qg_slice qg_client_answer_header(const qg_client_call *call, const char *name);
bool qg_client_answer_header_at(const qg_client_call *call, size_t i, qg_slice *name,
                                qg_slice *value);
/* The address that answers (behind redirects), 0-terminated; in events. */
const char *qg_client_answer_url(const qg_client_call *call);

/* ---- the client's thread --------------------------------------------------------------------- */

/* Runs note->run(note) on the client's thread, from any thread; intrusive, so it cannot fail.  The
 * note may be freed, or posted again, by its own run. */
typedef struct qg_client_note {
    struct qg_client_note *next;
    void (*run)(struct qg_client_note *note);
} qg_client_note;
void qg_client_post(qg_client *client, qg_client_note *note);

/* ---- waiting --------------------------------------------------------------------------------- */

/* A whole answer, for callers that may wait. */
typedef struct qg_client_answer {
    qg_client_end end;
    char *body; /* [n], 0-terminated, freed with qg_mfree; NULL with a sink */
    size_t n;
    char *url; /* that answered, freed with qg_mfree */
    /* The headers that were asked for, in the same order, freed by qg_client_answer_free; NULL =
     * not there. */
    char *headers[8];
} qg_client_answer;

/* What to do with an answer that is waited for. */
typedef struct qg_client_sink {
    size_t max_bytes;       /* of a body that is kept, and of one that goes to an error's text */
    const char *headers[8]; /* names wanted, NULL behind the last */
    /* NULL = keep the body.  Else called on the client's thread: head with the status before the
     * first data (NULL = not wanted), data as in the events; false ends the call. */
    bool (*head)(void *ud, qg_client_call *call, int status);
    bool (*data)(void *ud, const char *p, size_t n);
    void *ud;
    const atomic_bool *cancel; /* looked at ten times a second; NULL = none */
} qg_client_sink;

/* Makes the call and waits for its end; not from an event.  QG_OK when an answer came whole,
 * whatever its status (answer->end.status).  Else QG_ERR_IO (connection, TLS, early end),
 * QG_ERR_DEADLINE, QG_ERR_CANCELLED (sink said so), QG_ERR_TOO_LONG (max_bytes), QG_ERR_ARG,
 * QG_ERR_NOMEM; answer->end tells the cause.  *answer is to be freed in every case. */
qg_status qg_client_fetch(qg_client *client, const qg_client_request *request,
                          const qg_client_sink *sink, qg_client_answer *answer, qg_err *err);
void qg_client_answer_free(qg_client_answer *answer);

/* ---- addresses ------------------------------------------------------------------------------- */

/* A URL that may be called: http or https, a host, no user or password, no fragment, no blanks.
 * QG_ERR_ARG says what is wrong. */
qg_status qg_client_url_check(const char *url, qg_err *err);
/* Host in lower case into host [n] (0-terminated); false when url is none or it does not fit. */
bool qg_client_url_host(const char *url, char *host, size_t n);
/* True when both have the same scheme, host and port. */
bool qg_client_url_same_origin(const char *a, const char *b);

#endif
