/* A file that is written from front to back and can be gone on with: plain, or gzip or Zstandard
 * by its name (.gz, .zst), or standard output ("-").  One thread at a time. */
#ifndef QG_BATCH_OUTPUT_H
#define QG_BATCH_OUTPUT_H

#include "base/slice.h"
#include "base/status.h"

typedef struct qg_output qg_output;

/* Opens path, makes it when it is not there, and cuts off what lies behind its first keep bytes.
 * QG_ERR_ARG: it is shorter than that.  QG_ERR_IO, QG_ERR_NOMEM; sentences name the path. */
qg_status qg_output_open(qg_output **out, const char *path, uint64_t keep, qg_err *err);
/* Writes nothing more: what was not synced may be lost.  NULL is fine. */
void qg_output_close(qg_output *s);

/* Adds bytes; they may wait in memory. */
qg_status qg_output_add(qg_output *s, qg_slice bytes, qg_err *err);
/* Ends the compressed member (frame) that is open, so that a file which ends here is whole.
 * Whatever cuts must depend on the content alone: places change the compressed bytes. */
qg_status qg_output_cut(qg_output *s, qg_err *err);
/* What was added so far reaches the disk (of standard output: leaves the process); only at a place
 * where a cut was made, or in a plain file.  *size gets the file's length. */
qg_status qg_output_sync(qg_output *s, uint64_t *size, qg_err *err);
/* Whether a cut is needed before syncing, and of no effect otherwise. */
bool qg_output_is_packed(const qg_output *s);
/* The same, told from a name: "plain", "gzip" or "zstd". */
const char *qg_output_kind(const char *path);

#endif
