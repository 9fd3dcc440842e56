#define _GNU_SOURCE /* fallocate */
#include "fmt/st_write.h"

#include "base/buf.h"
#include "base/limits.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BORDER = 4096, AT_ONCE = 16 << 20 };

static qg_status io_fail(const qg_st_writer *w, qg_err *err)
{
    return qg_fail(err, QG_ERR_IO, "%s: %s", w->path, strerror(errno));
}

static bool write_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t done = write(fd, p, n < AT_ONCE ? n : AT_ONCE);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        p += done;
        n -= (size_t)done;
    }
    return true;
}

static qg_status add_entry(qg_buf *b, const qg_st_entry *e, size_t *at)
{
    QG_TRY(qg_buf_addf(b, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", e->name, e->dtype));
    for (int i = 0; i < e->n_dims; i++)
        QG_TRY(qg_buf_addf(b, "%s%" PRId64, i ? "," : "", e->dim[i]));
    QG_TRY(qg_buf_addf(b, "],\"data_offsets\":[%zu,%zu]}", *at, *at + e->bytes));
    *at += e->bytes;
    return QG_OK;
}

/* Eight bytes of length, and blanks behind the JSON so that the data begin at a border. */
static qg_status make_header(qg_buf *b, const qg_st_entry *entries, size_t n, const char *metadata,
                             size_t *data)
{
    QG_TRY(qg_buf_add(b, "\0\0\0\0\0\0\0\0", 8));
    QG_TRY(qg_buf_addf(b, "{\"__metadata__\":{%s}", metadata));
    *data = 0;
    for (size_t i = 0; i < n; i++)
        QG_TRY(add_entry(b, &entries[i], data));
    QG_TRY(qg_buf_adds(b, "}"));
    while (b->n % BORDER)
        QG_TRY(qg_buf_adds(b, " "));
    for (int i = 0; i < 8; i++)
        b->p[i] = (char)(uint8_t)((uint64_t)(b->n - 8) >> (8 * i));
    return QG_OK;
}

static char *part_name(const char *path)
{
    const size_t n = strlen(path);
    char *part = qg_malloc(n + sizeof ".part");
    if (part) {
        memcpy(part, path, n);
        memcpy(part + n, ".part", sizeof ".part");
    }
    return part;
}

static void forget(qg_st_writer *w)
{
    qg_mfree(w->path);
    qg_mfree(w->part);
    *w = (qg_st_writer){.fd = -1};
}

qg_status qg_st_create(qg_st_writer *w, const char *path, const qg_st_entry *entries, size_t n,
                       const char *metadata, qg_err *err)
{
    qg_buf b;
    *w = (qg_st_writer){.path = qg_memdup0(path, strlen(path)), .part = part_name(path), .fd = -1};
    qg_buf_init(&b, QG_ST_HEADER_MAX);
    qg_status rc =
        w->path && w->part ? make_header(&b, entries, n, metadata, &w->left) : QG_ERR_NOMEM;
    if (rc) {
        qg_fail(err, rc, "out of memory");
    } else {
        w->fd = open(w->part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (w->fd < 0)
            rc = io_fail(w, err);
        /* Asked for first: a full disk then fails before a gigabyte was written for nothing. */
        else if ((fallocate(w->fd, 0, 0, (off_t)(b.n + w->left)) && errno != EOPNOTSUPP &&
                  errno != ENOSYS) ||
                 !write_all(w->fd, b.p, b.n))
            rc = io_fail(w, err);
    }
    qg_buf_free(&b);
    if (rc)
        qg_st_abort(w);
    return rc;
}

qg_status qg_st_put(qg_st_writer *w, const void *data, size_t n, qg_err *err)
{
    if (n > w->left)
        return qg_fail(err, QG_ERR_ARG, "%s: %zu bytes more than planned", w->path, n - w->left);
    w->left -= n;
    return write_all(w->fd, data, n) ? QG_OK : io_fail(w, err);
}

qg_status qg_st_finish(qg_st_writer *w, qg_err *err)
{
    qg_status rc = QG_OK;
    if (w->left)
        rc = qg_fail(err, QG_ERR_ARG, "%s: %zu bytes fewer than planned", w->path, w->left);
    else if (fsync(w->fd) != 0)
        rc = io_fail(w, err);
    const bool closed = close(w->fd) == 0;
    w->fd = -1;
    if (rc == QG_OK && (!closed || rename(w->part, w->path) != 0))
        rc = io_fail(w, err);
    if (rc != QG_OK)
        unlink(w->part);
    forget(w);
    return rc;
}

void qg_st_abort(qg_st_writer *w)
{
    if (w->fd >= 0) {
        close(w->fd);
        unlink(w->part);
    }
    forget(w);
}
