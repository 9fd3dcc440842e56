/* Files and folders as the caches need them: made whole or not at all. */
#ifndef QG_HUB_HUBFILE_H
#define QG_HUB_HUBFILE_H

#include "base/buf.h"

#include <stdint.h>

/* A path in new memory (qg_mfree), NULL when out of memory or longer than the system takes. */
char *qg_pathf(const char *fmt, ...) __attribute__((format(printf, 1, 2), warn_unused_result));

/* Makes the folder with those above it; fine when it is there.  QG_ERR_IO. */
qg_status qg_make_dirs(const char *path, qg_err *err);
/* Makes the folders above path. */
qg_status qg_make_dirs_above(const char *path, qg_err *err);
/* Whole small file into out; QG_ERR_IO when it cannot be read, QG_ERR_TOO_LONG past out's ceiling.
 */
qg_status qg_read_whole(const char *path, qg_buf *out, qg_err *err);
/* Writes the file under a name of its own beside path, syncs it and renames it: a reader sees the
 * old or the new, also after a power cut. */
qg_status qg_write_whole(const char *path, qg_slice bytes, qg_err *err);
/* Makes an empty file, durably; fine when it is there. */
qg_status qg_mark(const char *path, qg_err *err);
/* Renames and makes the name durable. */
qg_status qg_rename_synced(const char *from, const char *to, qg_err *err);
/* Makes path a symbolic link to target, replacing what is there in one step; errno tells why not.
 */
qg_status qg_link_whole(const char *target, const char *path, qg_err *err);
/* True for a regular file (links followed); *size may be NULL. */
bool qg_is_file(const char *path, uint64_t *size);
bool qg_is_dir(const char *path);
/* Makes the names in the folder of path durable; what cannot be synced is left as it is. */
void qg_sync_dir_of(const char *path);

/* QG_ERR_IO "disk full" when the file system that holds folder has less than bytes free. */
qg_status qg_check_room(const char *folder, uint64_t bytes, qg_err *err);

/* An exclusive lock as Python's filelock takes it: flock on path, made if need be.  *fd is -1 and
 * the status QG_ERR_BUSY when somebody else holds it. */
qg_status qg_lock_try(const char *path, int *fd, qg_err *err);
/* -1 is fine. */
void qg_lock_free(int fd);

#endif
