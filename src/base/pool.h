/* Worker threads for one fork-join at a time: spin some microseconds, then sleep on a futex. */
#ifndef QG_BASE_POOL_H
#define QG_BASE_POOL_H

#include "base/status.h"

typedef struct qg_pool qg_pool;

/* One part of a job: part runs in [0, n_parts).  Must not call qg_pool_run on the same pool. */
typedef void qg_pool_fn(void *arg, int part, int n_parts);

/* n_threads >= 1 counts the calling thread, so 1 starts no thread at all. */
qg_status qg_pool_open(qg_pool **out, int n_threads, qg_err *err);
void qg_pool_close(qg_pool *pool);
int qg_pool_threads(const qg_pool *pool);

/* Before the first run: while *busy is not 0 (somebody stores it atomically) each thread offers its
 * processor to others between two parts, at most once in a tenth of a millisecond.  On processors
 * that all compute, a thread that answers clients then does not wait for the end of somebody's time
 * slice. Lives as long as the pool; NULL = no. */
void qg_pool_let_first(qg_pool *pool, const int *busy);

/* Runs fn for every part in [0, n_parts) on the workers and the caller and returns when all are
 * done.  Parts are handed out in order, each exactly once; which thread runs which is not promised,
 * so a part's result must not depend on it.  One caller at a time per pool. */
void qg_pool_run(qg_pool *pool, qg_pool_fn *fn, void *arg, int n_parts);

#endif
