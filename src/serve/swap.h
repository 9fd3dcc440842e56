/* Another model takes over while the server runs: opened beside the one that serves, tried, and put
 * in its place between two requests; or refused, and everything stays as it is.
 *
 * All calls on the server's thread; opening and closing happen on a thread of their own. */
#ifndef QG_SERVE_SWAP_H
#define QG_SERVE_SWAP_H

#include "http/http.h"
#include "serve/house.h"

#include <pthread.h>

struct qg_server;

typedef struct qg_swap {
    pthread_t thread;
    bool running;      /* the thread is */
    bool again;        /* asked for while it was: once more */
    atomic_bool done;  /* the thread has ended its work */
    qg_house *closing; /* what it closes; NULL: it opens */
    /* what is opened */
    char *word, *path, *stream_path; /* as asked for; where that is */
    qg_house *fresh;
    qg_status rc;
    qg_err err;
    char *current;    /* the word of the model that serves, when it is not that of the options */
    qg_http_req *req; /* who waits for it (POST /v1/admin/model); NULL = nobody */
    bool swapped;
    qg_house *retired; /* served before, and somebody still has them */
} qg_swap;

/* SIGHUP: looks again where the model's words lead; files that are the same mean nothing to do. */
void qg_swap_look(struct qg_server *srv);
/* Now and then: takes what has been opened, closes what nobody holds any more. */
void qg_swap_tick(struct qg_server *srv);
/* Waits for the thread, and closes all engines.  After qg_http_run. */
void qg_swap_end(struct qg_server *srv);
/* Frees what requests and sessions may have held on to.  After those. */
void qg_swap_free(struct qg_server *srv);

#endif
