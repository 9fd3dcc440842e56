/* A data set with verdicts: rows in, the same rows with "qguard" out; rows that cannot be judged
 * into a side file.  A run that was killed at any moment is gone on with: the output is then the
 * same, to the byte, as if it had not been (docs/decisions/0018). */
#ifndef QG_BATCH_LABEL_H
#define QG_BATCH_LABEL_H

#include "batch/ident.h"
#include "batch/journal.h"
#include "batch/pipeline.h"
#include "batch/where.h"

typedef struct qg_label_progress {
    qg_counts counts;   /* of the whole output, earlier runs included */
    int64_t lines;      /* of this run */
    int64_t elapsed_us; /* the same */
    double part;        /* of the input, 0..1; -1 = not known */
    int64_t left_us;    /* as it looks; -1 = not known */
} qg_label_progress;

typedef struct qg_label_options {
    const char *in, *out; /* files, or "-" */
    const char *errors;   /* side file; NULL = OUT.errors.jsonl, or of "-" none */
    qg_engine *engine;
    qg_ident_options opened; /* what it was opened with */
    qg_decode decode;
    qg_special special;
    const char *policy;     /* file: rules, scope, and "policy" in each verdict; NULL = none */
    qg_where where;         /* rows that are kept */
    const char *where_text; /* as it was given, for the records; NULL = all */
    qg_row_fields fields;
    uint32_t shard, n_shards;
    int32_t concurrency;
    int32_t checkpoint_ms;
    const char *cache;  /* verdict cache; NULL = none */
    bool resume, force; /* go on with, or replace, an output that is there */
    /* On the run's own thread, about twice a second. */
    void (*tell)(void *ud, const qg_label_progress *p);
    /* A line of the side file where there is none. */
    void (*wrong)(void *ud, const char *line);
    void *ud;
} qg_label_options;

typedef struct qg_label_summary {
    qg_counts counts;
    bool resumed;                      /* an earlier run had done something … */
    int64_t before;                    /* … so many rows */
    bool nothing_left;                 /* … all of it */
    int64_t judging_us;                /* of this run, without what comes before the first row */
    int64_t asked_again, not_answered; /* verdicts of this run that a second model was asked for, …
                                          and those that it could not give */
    char errors[4096];                 /* name of the side file; "" = none was written */
} qg_label_summary;

/* QG_OK when every row went to the output or to the side file (see counts.failed).  QG_ERR_ARG: the
 * output is there and neither resume nor force is set, or its run was another one.  Else as what
 * failed: reading, writing. */
qg_status qg_label(const qg_label_options *opt, qg_label_summary *summary, qg_err *err);

#endif
