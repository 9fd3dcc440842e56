#define _POSIX_C_SOURCE 200809L
#include "fmt/outdir.h"

#include "base/mem.h"
#include "fmt/dirlist.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static qg_status io_fail(const char *path, qg_err *err)
{
    return qg_fail(err, QG_ERR_IO, "%s: %s", path, strerror(errno));
}

qg_status qg_outdir_make(const char *path, qg_err *err)
{
    const struct dirent *entry;
    bool empty = true;
    if (mkdir(path, 0777) == 0)
        return QG_OK;
    if (errno != EEXIST)
        return io_fail(path, err);
    DIR *d = opendir(path);
    if (!d)
        return io_fail(path, err);
    while (empty && (entry = readdir(d)))
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    closedir(d);
    return empty ? QG_OK : qg_fail(err, QG_ERR_ARG, "%s: is there and not empty", path);
}

static bool write_whole(int fd, qg_slice bytes)
{
    while (bytes.n) {
        ssize_t n = write(fd, bytes.p, bytes.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        bytes = qg_slice_of(bytes.p + n, bytes.n - (size_t)n);
    }
    return fsync(fd) == 0;
}

qg_status qg_outdir_write(const char *path, const char *name, qg_slice bytes, qg_err *err)
{
    char part[128];
    snprintf(part, sizeof part, "%.100s.part", name);
    char *to = qg_path_join(path, name), *from = qg_path_join(path, part);
    qg_status rc = to && from ? QG_OK : qg_fail(err, QG_ERR_NOMEM, "out of memory");
    int fd = rc ? -1 : open(from, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (rc == QG_OK) {
        bool ok = fd >= 0 && write_whole(fd, bytes);
        ok = (fd < 0 || close(fd) == 0) && ok;
        if (!ok || rename(from, to) != 0) {
            rc = io_fail(to, err);
            unlink(from);
        }
    }
    qg_mfree(to);
    qg_mfree(from);
    return rc;
}
