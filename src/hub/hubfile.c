#define _GNU_SOURCE /* flock */
#include "hub/hubfile.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

char *qg_pathf(const char *fmt, ...)
{
    char path[PATH_MAX];
    va_list args;

    va_start(args, fmt);
    int n = vsnprintf(path, sizeof path, fmt, args);
    va_end(args);
    return n >= 0 && n < (int)sizeof path ? qg_memdup0(path, (size_t)n) : NULL;
}

static qg_status fault(qg_err *err, const char *path)
{
    return qg_fail(err, QG_ERR_IO, "%s: %s", path, strerror(errno));
}

static qg_status no_memory(qg_err *err)
{
    return qg_fail(err, QG_ERR_NOMEM, "out of memory");
}

qg_status qg_make_dirs(const char *path, qg_err *err)
{
    char *copy = qg_memdup0(path, strlen(path));
    bool fine = true;

    if (!copy)
        return no_memory(err);
    for (char *c = copy + 1; fine; c++) {
        if (*c && *c != '/')
            continue;
        char was = *c;
        *c = 0;
        fine = !mkdir(copy, 0777) || errno == EEXIST;
        *c = was;
        if (!was)
            break;
    }
    qg_mfree(copy);
    if (!fine)
        return fault(err, path);
    return qg_is_dir(path) ? QG_OK : qg_fail(err, QG_ERR_IO, "%s: not a folder", path);
}

qg_status qg_make_dirs_above(const char *path, qg_err *err)
{
    const char *slash = strrchr(path, '/');
    if (!slash || slash == path)
        return QG_OK;
    char *dir = qg_memdup0(path, (size_t)(slash - path));
    qg_status rc = dir ? qg_make_dirs(dir, err) : no_memory(err);
    qg_mfree(dir);
    return rc;
}

qg_status qg_read_whole(const char *path, qg_buf *out, qg_err *err)
{
    char chunk[65536];
    qg_status rc = QG_OK;
    ssize_t n;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return fault(err, path);
    while (rc == QG_OK && (n = read(fd, chunk, sizeof chunk)) != 0) {
        if (n > 0)
            rc = qg_buf_add(out, chunk, (size_t)n);
        else if (errno != EINTR)
            rc = fault(err, path);
    }
    close(fd);
    return rc == QG_ERR_TOO_LONG ? qg_fail(err, rc, "%s: more than %zu bytes", path, out->max) : rc;
}

static bool write_all(int fd, qg_slice bytes)
{
    while (bytes.n) {
        ssize_t n = write(fd, bytes.p, bytes.n);
        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0)
            bytes = qg_slice_of(bytes.p + n, bytes.n - (size_t)n);
    }
    return true;
}

void qg_sync_dir_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash && slash != path ? qg_memdup0(path, (size_t)(slash - path)) : NULL;
    int fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    qg_mfree(dir);
}

qg_status qg_rename_synced(const char *from, const char *to, qg_err *err)
{
    if (rename(from, to))
        return fault(err, to);
    qg_sync_dir_of(to);
    return QG_OK;
}

qg_status qg_write_whole(const char *path, qg_slice bytes, qg_err *err)
{
    char *temp = qg_pathf("%s.%ld.tmp", path, (long)getpid());

    if (!temp)
        return no_memory(err);
    unlink(temp);
    int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    qg_status rc = fd >= 0 && write_all(fd, bytes) && !fsync(fd) ? QG_OK : fault(err, path);
    if (fd >= 0)
        close(fd);
    if (rc == QG_OK)
        rc = qg_rename_synced(temp, path, err);
    if (rc != QG_OK)
        unlink(temp);
    qg_mfree(temp);
    return rc;
}

qg_status qg_mark(const char *path, qg_err *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0)
        return fault(err, path);
    close(fd);
    qg_sync_dir_of(path);
    return QG_OK;
}

qg_status qg_link_whole(const char *target, const char *path, qg_err *err)
{
    char *temp = qg_pathf("%s.%ld.tmp", path, (long)getpid());
    if (!temp)
        return no_memory(err);
    unlink(temp);
    qg_status rc = symlink(target, temp) || rename(temp, path) ? fault(err, path) : QG_OK;
    int why = errno;
    if (rc != QG_OK)
        unlink(temp);
    qg_mfree(temp);
    errno = why;
    return rc;
}

bool qg_is_file(const char *path, uint64_t *size)
{
    struct stat st;
    bool yes = !stat(path, &st) && S_ISREG(st.st_mode);
    if (yes && size)
        *size = (uint64_t)st.st_size;
    return yes;
}

bool qg_is_dir(const char *path)
{
    struct stat st;
    return !stat(path, &st) && S_ISDIR(st.st_mode);
}

qg_status qg_check_room(const char *folder, uint64_t bytes, qg_err *err)
{
    struct statvfs fs;
    if (statvfs(folder, &fs))
        return fault(err, folder);
    uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
    return room >= bytes
               ? QG_OK
               : qg_fail(err, QG_ERR_IO, "%s: disk full: %.1f MB are needed, %.1f MB are free",
                         folder, (double)bytes / 1e6, (double)room / 1e6);
}

qg_status qg_lock_try(const char *path, int *fd, qg_err *err)
{
    struct stat st;

    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0664);
    if (*fd < 0)
        return fault(err, path);
    qg_status rc = QG_OK;
    if (flock(*fd, LOCK_EX | LOCK_NB))
        rc = errno == EWOULDBLOCK ? qg_fail(err, QG_ERR_BUSY, "%s: held by another", path)
                                  : fault(err, path);
    else if (fstat(*fd, &st) || !st.st_nlink)
        rc = qg_fail(err, QG_ERR_BUSY, "%s: just released", path); /* its name is gone: again */
    if (rc != QG_OK) {
        close(*fd);
        *fd = -1;
    }
    return rc;
}

void qg_lock_free(int fd)
{
    if (fd >= 0)
        close(fd);
}
