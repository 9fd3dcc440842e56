/* What the files of the HTTP client share.  Fields belong to the client's thread but where said. */
#ifndef QG_HTTP_CLIENT_PRIV_H
#define QG_HTTP_CLIENT_PRIV_H

#include "base/limits.h"
#include "http/client.h"

#include <curl/curl.h>
#include <pthread.h>

struct qg_client {
    char *ca_file, *agent; /* immutable */
    bool proxy_env;
    CURLM *multi;
    int epoll, wake_fd;
    pthread_t thread;
    qg_client_call *calls; /* running, newest first */
    int64_t timer_us;      /* when curl wants to be called, 0 = not */
    int64_t sweep_us;      /* when deadlines are looked at next, 0 = no call has any */
    void (*tick)(void *ud);
    void *tick_ud;
    int64_t tick_us;      /* next; 0 = none */
    int64_t tick_step_us; /* between two */
    /* any thread */
    _Atomic(qg_client_note *) inbox; /* newest first */
    atomic_bool closing;
};

struct qg_client_call {
    qg_client_note note; /* first: begins the call, then brings what other threads ask for */
    qg_client *client;
    qg_client_call *prev, *next;
    const qg_client_events *events;
    void *ud;
    CURL *easy;
    struct curl_slist *headers;
    char *body, *url;
    size_t n_body;
    bool (*allow)(void *ud, const char *url);
    void *allow_ud;
    int redirects; /* that may still follow */
    bool get;      /* GET or HEAD: may be redirected */
    bool begun, ended;
    bool held;        /* curl keeps a piece because we are paused */
    bool headed;      /* the final header block is in */
    bool redirecting; /* … and says to go on elsewhere */
    bool refused;     /* an event returned false */
    bool big_head;    /* header block beyond the limit */
    bool again;       /* tried a second time, on a connection of its own */
    int32_t header_ms, stall_ms;
    int64_t start_us, last_us; /* of the last byte */
    size_t head_bytes;
    int status;
    uint64_t n_bytes;
    char fault[CURL_ERROR_SIZE];
    /* any thread */
    atomic_int refs;
    atomic_bool posted, paused, aborted;
};

/* ---- client_call.c, on the client's thread ----------------------------------------------------
 */

/* The transfer is over with this code of curl's: follows a redirect or tells done(). */
void qg_client_call_over(qg_client_call *call, CURLcode code);
/* Ends it early. */
void qg_client_call_end(qg_client_call *call, qg_client_cause cause, const char *sentence);
/* Ends it when a deadline has passed. */
void qg_client_call_sweep(qg_client_call *call, int64_t now_us);

/* Calls the thread back no later than then (microseconds on qg_clock_us). */
void qg_client_sweep_at(qg_client *client, int64_t us);

#endif
