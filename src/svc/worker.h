/* One thread that runs tasks in the order they came: for work too long for the server's thread. */
#ifndef QG_SVC_WORKER_H
#define QG_SVC_WORKER_H

#include "base/status.h"

typedef struct qg_worker qg_worker;

/* Intrusive, so that posting cannot fail.  The task may be freed by its own run. */
typedef struct qg_task {
    struct qg_task *next;
    void (*run)(struct qg_task *task);
} qg_task;

qg_status qg_worker_open(qg_worker **out, qg_err *err);
/* Any thread.  Once the worker is being stopped the task runs on the caller's thread instead. */
void qg_worker_post(qg_worker *worker, qg_task *task);
/* Runs what was posted and ends the thread; NULL is fine.  One thread at a time. */
void qg_worker_stop(qg_worker *worker);
/* The same, and frees it.  Nobody may post any more. */
void qg_worker_close(qg_worker *worker);

#endif
