#include "engine/waiter.h"

#include "base/status.h"

void qg_waiter_init(qg_waiter *w)
{
    *w = (qg_waiter){.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
}

void qg_waiter_destroy(qg_waiter *w)
{
    pthread_cond_destroy(&w->cond);
    pthread_mutex_destroy(&w->lock);
}

static void tell(qg_waiter *w, qg_status rc, void *result, const qg_err *err)
{
    pthread_mutex_lock(&w->lock);
    w->rc = rc;
    w->result = result;
    if (err)
        w->err = *err;
    w->done = true;
    pthread_cond_broadcast(&w->cond);
    pthread_mutex_unlock(&w->lock);
}

void qg_waiter_done(void *ud, qg_status rc, qg_result *result, const qg_err *err)
{
    tell(ud, rc, result, err);
}

void qg_waiter_stream_done(void *ud, qg_status rc, qg_stream_result *result, const qg_err *err)
{
    tell(ud, rc, result, err);
}

qg_status qg_waiter_wait(qg_waiter *w, qg_err *err)
{
    pthread_mutex_lock(&w->lock);
    while (!w->done)
        pthread_cond_wait(&w->cond, &w->lock);
    pthread_mutex_unlock(&w->lock);
    return w->rc == QG_OK ? QG_OK : qg_fail(err, w->rc, "%s", w->err.msg);
}
