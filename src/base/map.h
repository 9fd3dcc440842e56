/* A file's bytes, read-only: mapped from disk or borrowed from memory. */
#ifndef QG_BASE_MAP_H
#define QG_BASE_MAP_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

/* Which file it was when it was opened; the system's clock ticks bound what the times can tell. */
typedef struct qg_file_id {
    uint64_t inode;
    int64_t mtime_ns, ctime_ns; /* ctime also moves when only the times were set back */
} qg_file_id;

typedef struct qg_map {
    const uint8_t *data; /* NULL when size is 0 */
    size_t size;
    int mapped; /* 1: munmap on close; 0: borrowed */
    qg_file_id id;
} qg_map;

/* Maps a regular file.  QG_ERR_IO names path and the system's reason (also for directories, fifos
 * and devices).  The file must not shrink while mapped. */
qg_status qg_map_open(qg_map *map, const char *path, qg_err *err);
/* The same for a file that only this user (or root) can have written: QG_ERR_ARG when it belongs to
 * another or others may write to it.  The mapping starts at a 2 MiB border where the system can do
 * so, for large pages. */
qg_status qg_map_open_own(qg_map *map, const char *path, qg_err *err);
/* A map over bytes that somebody else keeps alive. */
qg_map qg_map_borrow(const void *data, size_t size);
/* Tells the system that bytes [from, from+n) are no longer needed in memory; they are read again
 * from disk when touched.  Only whole pages inside the range are dropped.  No-op when borrowed. */
void qg_map_drop(const qg_map *map, size_t from, size_t n);
void qg_map_close(qg_map *map);

#endif
