#define _GNU_SOURCE /* fallocate */
#include "hub/partial.h"

#include "base/limits.h"
#include "base/mem.h"
#include "hub/digest.h"
#include "hub/hubfile.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What lies behind the file's own bytes. */
typedef struct table_head {
    char magic[8];
    uint64_t size, part;
} table_head;

static const char magic[8] = {'Q', 'G', 'P', 'A', 'R', 'T', '0', '1'};

static qg_status fault(const qg_partial *p, qg_err *err)
{
    if (errno == ENOSPC || errno == EDQUOT)
        return qg_fail(err, QG_ERR_IO, "%s: disk full (the file has %.1f MB)", p->path,
                       (double)p->size / 1e6);
    return qg_fail(err, QG_ERR_IO, "%s: %s", p->path, strerror(errno));
}

static bool write_at(int fd, const void *bytes, size_t n, uint64_t at)
{
    const char *p = bytes;
    while (n) {
        ssize_t did = pwrite(fd, p, n, (off_t)at);
        if (did < 0 && errno != EINTR)
            return false;
        if (did > 0) {
            p += did;
            n -= (size_t)did;
            at += (uint64_t)did;
        }
    }
    return true;
}

static bool read_at(int fd, void *bytes, size_t n, uint64_t at)
{
    return pread(fd, bytes, n, (off_t)at) == (ssize_t)n; /* a short table is a broken one */
}

/* A sixty-fourth, in whole MiB: enough of them that several connections have work to the end, not
 * so many that asking for them costs. */
static uint64_t part_size(uint64_t size)
{
    const uint64_t mib = 1u << 20, part = size / 64 / mib * mib;
    return part < QG_HUB_PART_MIN   ? QG_HUB_PART_MIN
           : part > QG_HUB_PART_MAX ? QG_HUB_PART_MAX
                                    : part;
}

static uint64_t done_at(const qg_partial *p, uint32_t i)
{
    return p->size + sizeof(table_head) + i * sizeof *p->done;
}

static qg_status set_parts(qg_partial *p, uint64_t part, qg_err *err)
{
    uint64_t n = p->size ? (p->size - 1) / part + 1 : 0;
    uint64_t *done = qg_calloc((size_t)n + 1, sizeof *done);
    if (!done)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    qg_mfree(p->done);
    p->done = done;
    p->part = part;
    p->n_parts = (uint32_t)n;
    return QG_OK;
}

/* Takes the disk room now, where the file system can: later it would be too late. */
static bool take_room(const qg_partial *p)
{
    off_t bytes = (off_t)done_at(p, p->n_parts);
    if (!fallocate(p->fd, 0, 0, bytes))
        return true;
    return errno == EOPNOTSUPP && !ftruncate(p->fd, bytes);
}

static qg_status begin(qg_partial *p, qg_err *err)
{
    table_head head = {.size = p->size, .part = p->part};
    memcpy(head.magic, magic, sizeof magic);
    memset(p->done, 0, p->n_parts * sizeof *p->done);
    /* The old table is gone before the new one counts: half of this is not taken for a file. */
    if (ftruncate(p->fd, 0) || !take_room(p) || !write_at(p->fd, &head, sizeof head, p->size))
        return fault(p, err);
    return QG_OK;
}

/* What an earlier run left, when it is whole and fits. */
static bool take_up(qg_partial *p, qg_err *err)
{
    table_head head;
    struct stat st;

    if (fstat(p->fd, &st) || !read_at(p->fd, &head, sizeof head, p->size) ||
        memcmp(head.magic, magic, sizeof magic) || head.size != p->size ||
        (head.part != part_size(p->size) && head.part != p->size) ||
        set_parts(p, head.part, err) != QG_OK || (uint64_t)st.st_size != done_at(p, p->n_parts) ||
        !read_at(p->fd, p->done, p->n_parts * sizeof *p->done, done_at(p, 0)))
        return false;
    for (uint32_t i = 0; i < p->n_parts; i++)
        if (p->done[i] > qg_partial_part(p, i, NULL))
            return false;
    return true;
}

qg_status qg_partial_open(qg_partial *p, const char *path, uint64_t size, qg_err *err)
{
    *p = (qg_partial){.fd = -1, .size = size, .path = qg_memdup0(path, strlen(path))};
    if (!p->path)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    /* A link in its place, planted by somebody, is not followed. */
    p->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    qg_status rc = p->fd >= 0 ? QG_OK : fault(p, err);
    if (rc == QG_OK && !take_up(p, err)) {
        rc = set_parts(p, part_size(size), err);
        if (rc == QG_OK)
            rc = begin(p, err);
    }
    if (rc != QG_OK)
        qg_partial_close(p);
    return rc;
}

uint64_t qg_partial_have(const qg_partial *p)
{
    uint64_t have = 0;
    for (uint32_t i = 0; i < p->n_parts; i++)
        have += p->done[i];
    return have;
}

uint64_t qg_partial_part(const qg_partial *p, uint32_t i, uint64_t *at)
{
    uint64_t from = i * p->part;
    if (at)
        *at = from;
    return p->size - from < p->part ? p->size - from : p->part;
}

qg_status qg_partial_write(qg_partial *p, uint32_t i, const char *bytes, uint64_t n, qg_err *err)
{
    uint64_t from, has = qg_partial_part(p, i, &from);

    if (n > has - p->done[i])
        return qg_fail(err, QG_ERR_TOO_LONG, "%s: more bytes come than the file has", p->path);
    if (!write_at(p->fd, bytes, (size_t)n, from + p->done[i]))
        return fault(p, err);
    p->done[i] += n;
    return write_at(p->fd, &p->done[i], sizeof p->done[i], done_at(p, i)) ? QG_OK : fault(p, err);
}

qg_status qg_partial_restart(qg_partial *p, bool whole, qg_err *err)
{
    if (whole && p->size)
        QG_TRY(set_parts(p, p->size, err));
    return begin(p, err);
}

static qg_status give_name(qg_partial *p, const char *name, qg_err *err)
{
    if (ftruncate(p->fd, (off_t)p->size) || fsync(p->fd))
        return fault(p, err);
    return qg_rename_synced(p->path, name, err);
}

qg_status qg_partial_finish(qg_partial *p, const char *name, const char *id, bool git, qg_err *err)
{
    char hex[QG_HUB_ID + 1];
    QG_TRY(qg_digest_file(p->fd, p->path, p->size, git, hex, err));
    if (!strcmp(hex, id))
        return give_name(p, name, err);
    QG_TRY(qg_partial_restart(p, false, err));
    return qg_fail(err, QG_ERR_FORMAT, "the bytes that came have the hash %.12s…, expected %.12s…",
                   hex, id);
}

void qg_partial_close(qg_partial *p)
{
    if (!p->path)
        return;
    if (p->fd >= 0)
        close(p->fd);
    qg_mfree(p->path);
    qg_mfree(p->done);
    *p = (qg_partial){.fd = -1};
}
