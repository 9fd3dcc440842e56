/* A file that is being fetched, in parts, and may be gone on with after any interruption.
 *
 * It has its full length from the start, and behind that a table: how much of each part has come.
 * Both are written as the bytes come, so a process may be killed at any moment; after a power cut
 * the table may promise more than the disk holds, which the hash at the end finds.  When all is
 * there and the hash is right, the table is cut off and the file gets its name. */
#ifndef QG_HUB_PARTIAL_H
#define QG_HUB_PARTIAL_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct qg_partial {
    int fd;
    char *path;
    uint64_t size, part; /* bytes of the file; of one part (the last may be shorter) */
    uint32_t n_parts;
    uint64_t *done; /* [n_parts] bytes that have come, from each part's beginning */
} qg_partial;

/* Opens what is there of path for a file of this size, or begins it; room for all of it is taken
 * from the disk at once (QG_ERR_IO "disk full").  Hold the lock that goes with the name.  QG_ERR_IO
 * names path; QG_ERR_NOMEM. */
qg_status qg_partial_open(qg_partial *p, const char *path, uint64_t size, qg_err *err);
/* Bytes that have come. */
uint64_t qg_partial_have(const qg_partial *p);
/* Bytes of part i, and where it begins. */
uint64_t qg_partial_part(const qg_partial *p, uint32_t i, uint64_t *at);
/* The next n bytes of part i; QG_ERR_TOO_LONG when they are more than it has.  One thread for each
 * part. */
qg_status qg_partial_write(qg_partial *p, uint32_t i, const char *bytes, uint64_t n, qg_err *err);
/* Nothing has come; whole: from now on one part is all of it.  No other thread is writing. */
qg_status qg_partial_restart(qg_partial *p, bool whole, qg_err *err);
/* All has come: checks the hash (id, git: see qg_digest_file), syncs, and gives the file its name,
 * with the user's usual permissions.  QG_ERR_FORMAT: the bytes are others; they are thrown away. */
qg_status qg_partial_finish(qg_partial *p, const char *name, const char *id, bool git, qg_err *err);
/* The file stays, for the next time.  Zero-initialised or closed is fine. */
void qg_partial_close(qg_partial *p);

#endif
