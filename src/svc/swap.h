/* Another model takes over while the server runs: opened beside the one that serves, tried, and put
 * in its place between two requests; or refused, and everything stays as it is.
 *
 * All calls on the server's thread; opening and closing happen on a thread of their own. */
#ifndef QG_SVC_SWAP_H
#define QG_SVC_SWAP_H

#include "http/http.h"
#include "svc/house.h"

#include <pthread.h>

/* Whose models they are; never changes, strings live as long as the swap. */
typedef struct qg_swap_owner {
    qg_house **house;                 /* where the engines that serve are kept */
    const qg_options *engine;         /* how to open; its models are not looked at */
    const char *model, *stream_model; /* the first words: NULL = built in, none (see house.h) */
    const char *second_model;
    const char *const *names; /* [n_names] as in house.h */
    size_t n_names;
    /* Where a word leads now, in new memory (qg_mfree), or NULL when that is nowhere; NULL = words
     * are paths. */
    char *(*find_model)(void *find_ud, const char *word);
    void *find_ud;
    void (*note)(void *ud, const char *sentence); /* for the log */
    void (*taken)(void *ud);                      /* other engines serve now; NULL = nothing */
    void *ud;
} qg_swap_owner;

typedef struct qg_swap {
    qg_swap_owner owner;
    pthread_t thread;
    bool running;      /* the thread is */
    bool again;        /* asked for while it was: once more */
    atomic_bool done;  /* the thread has ended its work */
    qg_house *closing; /* what it closes; NULL: it opens */
    /* what is opened */
    char *word, *stream_word, *second_word; /* as asked for … */
    char *path, *stream_path, *second_path; /* … and where that is */
    qg_house *fresh;
    qg_status rc;
    qg_err err;
    bool moved; /* the words below are in force, not the owner's first ones */
    char *current, *current_stream, *current_second;
    qg_http_req *req;  /* who waits for it (POST /v1/admin/model); NULL = nobody */
    bool swapped;      /* how it went: the new one serves; else err says why not */
    qg_house *retired; /* served before, and somebody still has them */
} qg_swap;

/* Opens the first engines into *owner->house, and remembers how; s is zero.  As qg_house_open. */
qg_status qg_swap_open(qg_swap *s, const qg_swap_owner *owner, qg_err *err);
/* The words of the models that serve; NULL = built in, none. */
const char *qg_swap_model(const qg_swap *s);
const char *qg_swap_stream_model(const qg_swap *s);
const char *qg_swap_second_model(const qg_swap *s);
/* Begins to open these words (copied), whether or not their files are those that serve. QG_ERR_BUSY
 * while another is opened or closed; QG_ERR_IO: no such model; QG_ERR_UNSUPPORTED: a second model
 * where none serves, or none where one does; QG_ERR_NOMEM.  When it is done s->req, if the caller
 * sets it, is posted and s->swapped tells. */
qg_status qg_swap_begin(qg_swap *s, const char *model, const char *stream_model,
                        const char *second_model, qg_err *err);
/* SIGHUP: looks again where the models' words lead; files that are the same mean nothing to do. */
void qg_swap_look(qg_swap *s);
/* Now and then: takes what has been opened, closes what nobody holds any more. */
void qg_swap_tick(qg_swap *s);
/* Waits for the thread, and closes all engines.  After qg_http_run. */
void qg_swap_end(qg_swap *s);
/* Frees what requests and sessions may have held on to.  After those. */
void qg_swap_free(qg_swap *s);

#endif
