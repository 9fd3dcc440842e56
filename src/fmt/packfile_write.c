#define _GNU_SOURCE /* mkostemps, fallocate */
#include "base/limits.h"
#include "base/mem.h"
#include "fmt/dirlist.h"
#include "fmt/packfile_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    WRITE_BYTES = 16 << 20, /* at once: a file system with large folios makes them as it goes */
    LEFT_BEHIND_S = 3600,   /* age at which a temporary file has no writer any more */
};
#define PART ".qgpack-part" /* what temporary files end in */

static qg_status io_fail(const char *path, qg_err *err)
{
    return qg_fail(err, QG_ERR_IO, "%s: %s", path, strerror(errno));
}

static qg_status no_memory(qg_err *err)
{
    return qg_fail(err, QG_ERR_NOMEM, "out of memory");
}

void qg_packfile_touch(const char *path)
{
    (void)utimensat(AT_FDCWD, path, NULL, 0);
}

static qg_status make_dir(const char *dir, qg_err *err)
{
    char *path = qg_memdup0(dir, strlen(dir));
    if (!path)
        return no_memory(err);
    qg_status rc = QG_OK;
    for (size_t i = 1, n = strlen(path); i <= n && rc == QG_OK; i++) {
        if (path[i] != '/' && path[i])
            continue;
        path[i] = 0;
        if (mkdir(path, 0700) && errno != EEXIST && errno != EISDIR)
            rc = access(path, X_OK) ? io_fail(path, err) : QG_OK;
        if (i < n)
            path[i] = '/';
    }
    qg_mfree(path);
    return rc;
}

static bool write_all(int fd, const char *p, size_t n, size_t at)
{
    while (n) {
        ssize_t done = pwrite(fd, p, n < WRITE_BYTES ? n : WRITE_BYTES, (off_t)at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        p += done;
        at += (size_t)done;
        n -= (size_t)done;
    }
    return true;
}

static size_t to_border(size_t n)
{
    return (n + QG_PACKFILE_BORDER - 1) / QG_PACKFILE_BORDER * QG_PACKFILE_BORDER;
}

static qg_status lay_out(qg_packfile_head *head, qg_slice key,
                         const qg_slice parts[QG_PACKFILE_PARTS], qg_pool *pool, qg_err *err)
{
    size_t at = QG_PACKFILE_BORDER;
    *head = (qg_packfile_head){.key_bytes = key.n};
    memcpy(head->magic, qg_packfile_magic, sizeof head->magic);
    for (int i = 0; i < QG_PACKFILE_PARTS; i++) {
        qg_packfile_part *p = &head->part[i];
        *p = (qg_packfile_part){.at = at, .bytes = parts[i].n};
        if (qg_packfile_sum(parts[i], pool, &p->sum) != QG_OK)
            return no_memory(err);
        head->file_bytes = at + parts[i].n;
        at = to_border(head->file_bytes);
    }
    head->sum = qg_packfile_head_sum(head, key.p, key.n);
    return QG_OK;
}

/* Everything into fd and to the disk.  Space is asked for first: a full disk then fails before a
 * gigabyte was written for nothing (and where the question is unknown, later). */
static bool fill(int fd, const qg_packfile_head *head, qg_slice key,
                 const qg_slice parts[QG_PACKFILE_PARTS])
{
    if (fallocate(fd, 0, 0, (off_t)head->file_bytes) && errno != EOPNOTSUPP && errno != ENOSYS)
        return false;
    if (!write_all(fd, (const char *)head, sizeof *head, 0) ||
        !write_all(fd, key.p, key.n, sizeof *head))
        return false;
    for (int i = 0; i < QG_PACKFILE_PARTS; i++)
        if (!write_all(fd, parts[i].p, parts[i].n, (size_t)head->part[i].at))
            return false;
    return ftruncate(fd, (off_t)head->file_bytes) == 0 && fsync(fd) == 0;
}

static void sync_dir(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)fsync(fd);
    close(fd);
}

/* ---- tidying --------------------------------------------------------------------------------- */

static bool stat_in(const char *dir, const char *name, struct stat *st)
{
    char *path = qg_path_join(dir, name);
    bool ok = path && lstat(path, st) == 0 && S_ISREG(st->st_mode);
    qg_mfree(path);
    return ok;
}

static void remove_in(const char *dir, const char *name)
{
    char *path = qg_path_join(dir, name);
    if (path)
        unlink(path);
    qg_mfree(path);
}

static bool older(const struct stat *a, const struct stat *b)
{
    return a->st_mtim.tv_sec != b->st_mtim.tv_sec ? a->st_mtim.tv_sec < b->st_mtim.tv_sec
                                                  : a->st_mtim.tv_nsec < b->st_mtim.tv_nsec;
}

/* Removes the file used longest ago while there are too many.  Failures are left for next time. */
static void keep_newest(const char *dir, const char *keep)
{
    qg_strings names = {0};
    struct stat st, least = {0};
    if (qg_list_files(dir, QG_PACKFILE_SUFFIX, QG_MAX_PACKFILES_LISTED, &names, NULL) == QG_OK) {
        for (size_t n = names.n; n > QG_MAX_PACKFILES; n--) {
            size_t oldest = SIZE_MAX;
            for (size_t i = 0; i < names.n; i++) {
                if (!names.p[i][0] || !strcmp(names.p[i], keep) || !stat_in(dir, names.p[i], &st))
                    continue;
                if (oldest == SIZE_MAX || older(&st, &least)) {
                    oldest = i;
                    least = st;
                }
            }
            if (oldest == SIZE_MAX)
                break;
            remove_in(dir, names.p[oldest]);
            names.p[oldest][0] = 0;
        }
    }
    qg_strings_free(&names);
}

static void remove_left_behind(const char *dir)
{
    qg_strings names = {0};
    struct stat st;
    const time_t now = time(NULL);
    if (qg_list_files(dir, PART, QG_MAX_PACKFILES_LISTED, &names, NULL) == QG_OK)
        for (size_t i = 0; i < names.n; i++)
            if (stat_in(dir, names.p[i], &st) && now - st.st_mtim.tv_sec > LEFT_BEHIND_S)
                remove_in(dir, names.p[i]);
    qg_strings_free(&names);
}

/* ---- the whole ------------------------------------------------------------------------------- */

static qg_status write_renamed(const char *dir, const char *path, const qg_packfile_head *head,
                               qg_slice key, const qg_slice parts[QG_PACKFILE_PARTS], qg_err *err)
{
    char *temporary = qg_path_join(dir, "XXXXXX" PART);
    if (!temporary)
        return no_memory(err);
    qg_status rc = QG_OK;
    int fd = mkostemps(temporary, (int)strlen(PART), O_CLOEXEC); /* mode 0600 */
    if (fd < 0) {
        rc = io_fail(dir, err);
    } else {
        bool ok = fill(fd, head, key, parts);
        int why = errno;
        ok = close(fd) == 0 && ok;
        errno = why;
        if (!ok || rename(temporary, path)) {
            rc = io_fail(path, err);
            unlink(temporary);
        }
    }
    qg_mfree(temporary);
    return rc;
}

qg_status qg_packfile_write(const char *dir, const char *name, qg_slice key,
                            const qg_slice parts[QG_PACKFILE_PARTS], qg_pool *pool, qg_err *err)
{
    qg_packfile_head head;
    if (!name[0] || name[0] == '.' || strchr(name, '/') || key.n > QG_PACKFILE_BORDER - sizeof head)
        return qg_fail(err, QG_ERR_ARG, "%s: no name for a file of packed weights", name);
    QG_TRY(lay_out(&head, key, parts, pool, err));
    QG_TRY(make_dir(dir, err));
    remove_left_behind(dir);
    char *path = qg_path_join(dir, name);
    if (!path)
        return no_memory(err);
    qg_status rc = write_renamed(dir, path, &head, key, parts, err);
    if (rc == QG_OK) {
        sync_dir(dir);
        keep_newest(dir, name);
    }
    qg_mfree(path);
    return rc;
}
