/* What pipeline.c (order) and submit.c (engine) share. */
#ifndef QG_BATCH_PIPELINE_INT_H
#define QG_BATCH_PIPELINE_INT_H

#include "base/limits.h"
#include "batch/pipeline.h"

#include <pthread.h>

enum { QG_BATCH_SLOTS = 2 * QG_BATCH_ROWS };

typedef struct qg_pipeline {
    const qg_pipeline_options *opt;
    int32_t max_len;
    qg_source *source;
    qg_item_fn *take;
    void *ud;
    qg_item *items; /* [QG_BATCH_SLOTS], a ring */
    pthread_mutex_t lock;
    pthread_cond_t room, ready; /* something ended; the oldest row may be done */
    /* under lock */
    uint64_t head, tail; /* rows taken, rows read */
    size_t bytes;        /* of the lines between them */
    int32_t in_flight;
    bool ended;   /* no more rows come */
    qg_status rc; /* of take */
    qg_err err;
} qg_pipeline;

/* Submits all conversations of a row that was read; whatever fails is the row's.  The submitter's
 * own part of item->left is given up.  Waits while too many are under way. */
void qg_pipeline_submit(qg_pipeline *p, qg_item *item);

#endif
