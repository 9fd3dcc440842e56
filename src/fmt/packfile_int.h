/* What reader and writer of packed files share; private to the room. */
#ifndef QG_FMT_PACKFILE_INT_H
#define QG_FMT_PACKFILE_INT_H

#include "fmt/packfile.h"

#define QG_PACKFILE_BORDER ((size_t)2 << 20)

typedef struct qg_packfile_part {
    uint64_t at, bytes, sum;
} qg_packfile_part;

/* In the byte order of the machine: the file is read where it was written. */
typedef struct qg_packfile_head {
    char magic[16];
    uint64_t file_bytes, key_bytes; /* the key stands right behind the head */
    qg_packfile_part part[QG_PACKFILE_PARTS];
    uint64_t sum; /* of the head up to here, and of the key */
} qg_packfile_head;

extern const char qg_packfile_magic[16];

/* Checksum of a part, by the pool's threads.  QG_ERR_NOMEM. */
qg_status qg_packfile_sum(qg_slice bytes, qg_pool *pool, uint64_t *sum);
uint64_t qg_packfile_head_sum(const qg_packfile_head *head, const void *key, size_t key_bytes);
/* Sets the file's time of modification to now, if that is allowed. */
void qg_packfile_touch(const char *path);

#endif
