/* Writing a safetensors file, tensor after tensor: under another name until it is whole. */
#ifndef QG_FMT_ST_WRITE_H
#define QG_FMT_ST_WRITE_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct qg_st_entry {
    char name[96];
    const char *dtype; /* "F32", "BF16", "U8" */
    int n_dims;
    int64_t dim[4];
    size_t bytes; /* what these make */
} qg_st_entry;

typedef struct qg_st_writer {
    char *path, *part; /* the name it will have, and has until then */
    int fd;
    size_t left; /* bytes of data still to come */
} qg_st_writer;

/* Writes the header of a file with these tensors, which follow each other as in entries.  The data
 * begin at a multiple of 4096 bytes.  metadata: the members of "__metadata__" as JSON text, or "".
 * QG_ERR_IO with the system's reason, QG_ERR_NOMEM; then there is nothing to close. */
qg_status qg_st_create(qg_st_writer *w, const char *path, const qg_st_entry *entries, size_t n,
                       const char *metadata, qg_err *err);
/* The next n bytes of data.  QG_ERR_IO (a full disk among them); QG_ERR_ARG: more than planned. */
qg_status qg_st_put(qg_st_writer *w, const void *data, size_t n, qg_err *err);
/* To the disk and under its name.  The writer is closed either way; after a failure nothing is
 * left behind. */
qg_status qg_st_finish(qg_st_writer *w, qg_err *err);
/* Takes the unfinished file away; after qg_st_finish it does nothing. */
void qg_st_abort(qg_st_writer *w);

#endif
