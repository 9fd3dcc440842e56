#include "svc/worker.h"

#include "base/mem.h"

#include <pthread.h>
#include <stdbool.h>

struct qg_worker {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    qg_task *first, **last; /* under lock */
    bool closing, ended;
};

/* The next task, or NULL when the worker ends. */
static qg_task *take(qg_worker *w)
{
    pthread_mutex_lock(&w->lock);
    while (!w->first && !w->closing)
        pthread_cond_wait(&w->wake, &w->lock);
    qg_task *task = w->first;
    if (task)
        w->first = task->next;
    if (!w->first)
        w->last = &w->first;
    pthread_mutex_unlock(&w->lock);
    return task;
}

static void *work(void *arg)
{
    qg_task *task;
    while ((task = take(arg)))
        task->run(task);
    return NULL;
}

static void dispose(qg_worker *w)
{
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    qg_mfree(w);
}

qg_status qg_worker_open(qg_worker **out, qg_err *err)
{
    qg_worker *w = qg_calloc(1, sizeof *w);
    *out = NULL;
    if (!w)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory for a worker");
    w->last = &w->first;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, NULL);
    if (pthread_create(&w->thread, NULL, work, w)) {
        dispose(w);
        return qg_fail(err, QG_ERR_NOMEM, "the system gives no thread for a worker");
    }
    *out = w;
    return QG_OK;
}

void qg_worker_post(qg_worker *w, qg_task *task)
{
    task->next = NULL;
    pthread_mutex_lock(&w->lock);
    bool here = w->closing;
    if (!here) {
        *w->last = task;
        w->last = &task->next;
        pthread_cond_signal(&w->wake);
    }
    pthread_mutex_unlock(&w->lock);
    if (here)
        task->run(task);
}

void qg_worker_stop(qg_worker *w)
{
    if (!w || w->ended)
        return;
    pthread_mutex_lock(&w->lock);
    w->closing = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    w->ended = true;
}

void qg_worker_close(qg_worker *w)
{
    qg_worker_stop(w);
    if (w)
        dispose(w);
}
