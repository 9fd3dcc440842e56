/* Many files at once over a few connections, in parts, checked and put where the store wants them.
 */
#ifndef QG_HUB_FETCH_H
#define QG_HUB_FETCH_H

#include "hub/ask.h"
#include "hub/store.h"

typedef struct qg_fetch_progress {
    uint64_t have, total; /* bytes of all files, those that were there included */
    int64_t came;         /* in this run; thrown away: less again */
    size_t files, n_files;
    const char *file; /* the one that was finished last, or NULL */
} qg_fetch_progress;

typedef struct qg_fetch_options {
    int connections; /* 1..QG_MAX_HUB_CONNECTIONS */
    void *ud;
    /* A few times a second, on the caller's thread; NULL = no. */
    void (*progress)(void *ud, const qg_fetch_progress *now);
} qg_fetch_options;

/* Fetches what the store does not have of list, each file under its lock (waiting for other
 * processes that fetch it), and leaves it as a blob of the store.  ask->cancel is set by the first
 * failure, must point to fetch_cancel, and may be set by others.
 *   QG_ERR_IO        the hub refuses, disk full, …
 *   QG_ERR_CLOSED    the hub cannot be reached any more; what came is kept
 *   QG_ERR_FORMAT    a file has another hash or size than the hub listed, twice
 *   QG_ERR_CANCELLED, QG_ERR_BUSY (429), QG_ERR_NOMEM */
qg_status qg_fetch_all(qg_ask *ask, const qg_store *store, const char *commit,
                       const qg_hub_list *list, const qg_fetch_options *opt,
                       atomic_bool *fetch_cancel, qg_err *err);

#endif
