/* Lines of a file: plain, gzip or Zstandard (its first bytes tell), or standard input ("-"). Memory
 * does not depend on the file's size.  One thread at a time. */
#ifndef QG_BATCH_SOURCE_H
#define QG_BATCH_SOURCE_H

#include "base/slice.h"
#include "base/status.h"

/* A line that was read: enough to go on behind it in another run, and to see that the input is
 * still the same. */
typedef struct qg_place {
    int64_t number; /* from 1, every line of the file counts; 0: nothing was read yet */
    uint64_t begin; /* byte of the uncompressed input where it begins */
    uint64_t sum;   /* of its bytes */
} qg_place;

typedef struct qg_line {
    qg_place place;
    qg_slice text; /* without its line feed; valid until the next call */
    uint64_t raw;  /* bytes of the file, as it lies there, that were read so far */
    bool too_long; /* more than QG_MAX_ROW_BYTES: text is only its beginning */
} qg_line;

typedef struct qg_source qg_source;

/* QG_ERR_IO, QG_ERR_NOMEM; sentences name the path. */
qg_status qg_source_open(qg_source **out, const char *path, qg_err *err);
void qg_source_close(qg_source *s); /* NULL is fine */

/* The next line; *more is false at the end.  A byte order mark before the first line is dropped.
 * QG_ERR_IO; QG_ERR_FORMAT: the compressed data is damaged or cut short. */
qg_status qg_source_next(qg_source *s, qg_line *line, bool *more, qg_err *err);

/* Goes to the line behind at, from the beginning; a plain file is not read up to there.
 * QG_ERR_ARG: the input has no such line (it is another than in the earlier run). */
qg_status qg_source_skip(qg_source *s, const qg_place *at, qg_err *err);

/* Bytes of the file as it lies there; 0 = not known. */
uint64_t qg_source_size(const qg_source *s);

#endif
