/* What label.c (rows) and label_files.c (files of a run) share. */
#ifndef QG_BATCH_LABEL_INT_H
#define QG_BATCH_LABEL_INT_H

#include "batch/ident.h"
#include "batch/label.h"
#include "batch/output.h"
#include "batch/view.h"

typedef struct qg_label_run {
    const qg_label_options *opt;
    qg_batch_policy policy;
    /* files; paths are "" where there is none */
    char errors_path[4096], journal_path[4096], meta_path[4096];
    qg_ident ident;
    json_t *identity; /* what the output depends on */
    qg_source *source;
    qg_output *out, *errors; /* errors: NULL until one is written */
    qg_journal *journal;
    qg_cache *cache;
    /* the taking thread */
    qg_checkpoint at; /* what was added so far; its sizes are those of the last sync */
    qg_buf value, line;
    bool broken; /* taking failed half-way through a row */
    int64_t rows_since_cut, bytes_since_cut;
    int64_t start_us, synced_us, told_us, lines, asked_again, not_answered;
    uint64_t raw_begin;
} qg_label_run;

/* Names, identity, and whatever an earlier run left: opens source, output, side file and journal at
 * the place where this run begins.  summary->nothing_left: it was finished. */
qg_status qg_label_begin(qg_label_run *run, qg_label_summary *summary, qg_err *err);
/* The counts and the last line of a finished run, from what it said of itself.  QG_ERR_ARG: it was
 * not finished, or its model, filter or another part of the identity is not this run's. */
qg_status qg_label_read_meta(qg_label_run *run, qg_err *err);
/* Reads what is behind the last line done.  QG_ERR_ARG: the input is another one, or has more rows.
 */
qg_status qg_label_no_more(qg_label_run *run, qg_err *err);
/* Everything added so far is on the disk, and the journal says so. */
qg_status qg_label_checkpoint(qg_label_run *run, bool done, qg_err *err);
/* Writes what a run says of itself beside its output, and lets go of the journal. */
qg_status qg_label_finish(qg_label_run *run, qg_err *err);
void qg_label_end(qg_label_run *run);

/* A line for the side file. */
qg_status qg_label_wrong(qg_label_run *run, const char *line, qg_err *err);

#endif
