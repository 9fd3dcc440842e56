#define _GNU_SOURCE
#include "base/map.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int64_t ns_of(struct timespec t)
{
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static qg_status open_checked(qg_map *map, const char *path, bool own, qg_err *err)
{
    struct stat st;
    qg_status rc = QG_OK;

    *map = (qg_map){0};
    /* O_NONBLOCK: a fifo in a model directory must not hang the open. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return qg_fail(err, QG_ERR_IO, "%s: %s", path, strerror(errno));
    if (fstat(fd, &st) != 0) {
        rc = qg_fail(err, QG_ERR_IO, "%s: %s", path, strerror(errno));
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        rc = qg_fail(err, QG_ERR_IO, "%s: not a regular file", path);
        goto out;
    }
    if (own && ((st.st_uid != geteuid() && st.st_uid != 0) || (st.st_mode & (S_IWGRP | S_IWOTH)))) {
        rc = qg_fail(err, QG_ERR_ARG, "%s: others may have written it", path);
        goto out;
    }
    map->id = (qg_file_id){
        .inode = st.st_ino, .mtime_ns = ns_of(st.st_mtim), .ctime_ns = ns_of(st.st_ctim)};
    if (st.st_size == 0)
        goto out;
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) {
        rc = qg_fail(err, QG_ERR_IO, "%s: cannot map: %s", path, strerror(errno));
        goto out;
    }
    map->data = p;
    map->size = (size_t)st.st_size;
    map->mapped = 1;
    if (own)
        madvise(p, map->size, MADV_HUGEPAGE); /* read ahead by whole large pages; may be refused */
out:
    close(fd);
    return rc;
}

qg_status qg_map_open(qg_map *map, const char *path, qg_err *err)
{
    return open_checked(map, path, false, err);
}

qg_status qg_map_open_own(qg_map *map, const char *path, qg_err *err)
{
    return open_checked(map, path, true, err);
}

qg_map qg_map_borrow(const void *data, size_t size)
{
    return (qg_map){.data = data, .size = size, .mapped = 0};
}

void qg_map_drop(const qg_map *map, size_t from, size_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (!map->mapped || from > map->size || n > map->size - from)
        return;
    size_t lo = (from + page - 1) / page * page, hi = (from + n) / page * page;
    if (lo < hi)
        madvise((void *)(uintptr_t)(map->data + lo), hi - lo, MADV_DONTNEED);
}

void qg_map_close(qg_map *map)
{
    if (map->mapped)
        munmap((void *)(uintptr_t)map->data, map->size);
    *map = (qg_map){0};
}
