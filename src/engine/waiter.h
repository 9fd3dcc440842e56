/* Somebody who waits for a callback: qg_judge, qg_session_judge, qg_logits and qg_job_wait. */
#ifndef QG_ENGINE_WAITER_H
#define QG_ENGINE_WAITER_H

#include "qguard.h"

#include <pthread.h>

typedef struct qg_waiter {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
    qg_status rc;
    void *result; /* a qg_result or a qg_stream_result; the waiter's until it is taken */
    qg_err err;
} qg_waiter;

void qg_waiter_init(qg_waiter *w);
/* No wait and no callback may follow; a result that nobody took is not freed. */
void qg_waiter_destroy(qg_waiter *w);

/* The callbacks (qg_done_fn, qg_stream_done_fn); ud is the waiter.  They are through with it when
 * the wait returns. */
void qg_waiter_done(void *ud, qg_status rc, qg_result *result, const qg_err *err);
void qg_waiter_stream_done(void *ud, qg_status rc, qg_stream_result *result, const qg_err *err);

/* Waits for the callback: its status, its sentence in err.  w->result is set then. */
qg_status qg_waiter_wait(qg_waiter *w, qg_err *err);

#endif
