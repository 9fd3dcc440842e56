/* Hashes that hubs name their files by. */
#ifndef QG_HUB_DIGEST_H
#define QG_HUB_DIGEST_H

#include "hub/repo.h"

#include <stdint.h>

/* Reads size bytes of fd from its beginning (its position stays) and writes their hash as hex
 * digits: SHA-256, or the SHA-1 of a git blob.  QG_ERR_IO names path; a file that is shorter is
 * that, too. */
qg_status qg_digest_file(int fd, const char *path, uint64_t size, bool git, char hex[QG_HUB_ID + 1],
                         qg_err *err);
/* True when path is a file of exactly this size and hash (links are followed). */
bool qg_digest_matches(const char *path, uint64_t size, const char *id, bool git);

#endif
