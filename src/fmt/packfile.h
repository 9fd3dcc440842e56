/* A file of large tables that another run made and this one maps: packed weights.
 *
 *     0      head: magic, sizes, places and checksums of the parts, checksum of itself and the key
 *            key: a text that says what the parts were made from
 *     2 MiB  part 0, then part 1, each at a multiple of 2 MiB: one page of the file can then be one
 *            large page of memory
 *
 * Such a file is input like any other: nothing of it is used before sizes, places and checksums are
 * checked, and whoever else may have written it.  The checksum finds damage; it is no signature. */
#ifndef QG_FMT_PACKFILE_H
#define QG_FMT_PACKFILE_H

#include "base/map.h"
#include "base/pool.h"
#include "base/slice.h"

enum { QG_PACKFILE_PARTS = 2 };
#define QG_PACKFILE_SUFFIX ".qgpack"

typedef struct qg_packfile {
    qg_map map;
    qg_slice part[QG_PACKFILE_PARTS]; /* in map; 64-byte aligned */
} qg_packfile;

/* Maps path and reads all of it once, with the pool's threads, for the checksums.  QG_ERR_IO: it
 * cannot be opened (*exists false: there is none); QG_ERR_ARG: others may have written it;
 * QG_ERR_FORMAT: damaged or no such file; QG_ERR_UNSUPPORTED: made from something else than key
 * says. *out is then empty.  Marks the file as just used, where that is allowed. */
qg_status qg_packfile_open(qg_packfile *out, const char *path, qg_slice key, qg_pool *pool,
                           bool *exists, qg_err *err);
/* NULL parts and an empty packfile are fine. */
void qg_packfile_close(qg_packfile *file);

/* Writes dir/name: under another name, to the disk, then renamed, so that no reader and no failure
 * ever sees half of it.  dir is made (its parents too, for this user only) when it is not there.
 * Afterwards the oldest files of this kind beyond QG_MAX_PACKFILES are removed from dir, and what a
 * writer that was killed left behind.  QG_ERR_IO with the system's reason (a full disk among them),
 * QG_ERR_ARG: name is no plain name or key too long, QG_ERR_NOMEM. */
qg_status qg_packfile_write(const char *dir, const char *name, qg_slice key,
                            const qg_slice parts[QG_PACKFILE_PARTS], qg_pool *pool, qg_err *err);

#endif
