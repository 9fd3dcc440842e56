/* A file's bytes, read-only: mapped from disk or borrowed from memory. */
#ifndef QG_BASE_MAP_H
#define QG_BASE_MAP_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct qg_map {
    const uint8_t *data; /* NULL when size is 0 */
    size_t size;
    int mapped; /* 1: munmap on close; 0: borrowed */
} qg_map;

/* Maps a regular file.  QG_ERR_IO names path and the system's reason (also for directories, fifos
 * and devices).  The file must not shrink while mapped. */
qg_status qg_map_open(qg_map *map, const char *path, qg_err *err);
/* A map over bytes that somebody else keeps alive. */
qg_map qg_map_borrow(const void *data, size_t size);
/* Tells the system that bytes [from, from+n) are no longer needed in memory; they are read again
 * from disk when touched.  Only whole pages inside the range are dropped.  No-op when borrowed. */
void qg_map_drop(const qg_map *map, size_t from, size_t n);
void qg_map_close(qg_map *map);

#endif
