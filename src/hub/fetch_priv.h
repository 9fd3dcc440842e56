/* Between fetch.c (who does what) and fetch_part.c (one request). */
#ifndef QG_HUB_FETCH_PRIV_H
#define QG_HUB_FETCH_PRIV_H

#include "hub/fetch.h"
#include "hub/partial.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct fetch_file {
    const qg_hub_file *f;
    qg_partial partial;
    int lock;
    bool *taken;    /* [n_parts at most] a worker has it */
    uint32_t busy;  /* workers that have a part, or the whole file */
    bool held;      /* one has the whole file: to check it, or to begin it anew */
    bool no_ranges; /* the server sends files whole: to be begun anew in one part */
    bool finished;
    int wrong; /* times that the hash was another */
} fetch_file;

typedef struct fetch {
    qg_ask *ask;
    const qg_store *store;
    const char *commit;
    fetch_file *files;
    size_t n;
    atomic_bool *cancel;
    pthread_mutex_t lock; /* guards all but what partials hold */
    pthread_cond_t changed;
    _Atomic int64_t came; /* less than 0 when what was there is thrown away */
    uint64_t there;       /* bytes that were there before */
    size_t n_there, n_finished;
    const char *last;
    int running;
    qg_status rc; /* of the first that failed */
    qg_err err;
} fetch;

/* Fetches what is missing of part i, with retries.  QG_ERR_UNSUPPORTED: the server does not do
 * ranges, the file must be begun anew as one part.  Any worker's thread. */
qg_status qg_fetch_part(fetch *w, fetch_file *file, uint32_t i, qg_err *err);

#endif
