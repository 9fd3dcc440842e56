#define _GNU_SOURCE
#include "batch/journal.h"

#include "base/buf.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/sum.h"
#include "text/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEAD = QG_MAX_IDENTITY + 512, SLOT = 512 };

static const char magic[] = "qguard label journal 1\n";

struct qg_journal {
    char *path;
    int fd;
    uint64_t turn; /* of the next write */
};

typedef struct slot {
    uint64_t turn; /* from 1, rising */
    qg_checkpoint c;
    uint64_t sum; /* of the above; last */
} slot;

_Static_assert(sizeof(slot) <= SLOT, "a checkpoint fits one sector");

static qg_status io_error(const char *path, qg_err *err)
{
    return qg_fail(err, QG_ERR_IO, "%s: %s", path, strerror(errno));
}

static uint64_t sum_of(const slot *s)
{
    return qg_sum64(SLOT, s, offsetof(slot, sum));
}

void qg_sync_folder_of(const char *path)
{
    char folder[4096];
    const char *slash = strrchr(path, '/');
    int n = slash ? (int)(slash - path) + 1 : 1;
    snprintf(folder, sizeof folder, "%.*s", n, slash ? path : ".");
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    fsync(fd); /* not every file system can */
    close(fd);
}

static qg_status new_journal(qg_journal **out, const char *path, qg_err *err)
{
    qg_journal *j = qg_calloc(1, sizeof *j);
    if (j)
        *j = (qg_journal){.path = qg_memdup0(path, strlen(path)), .fd = -1, .turn = 1};
    if (!j || !j->path) {
        qg_mfree(j);
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    }
    *out = j;
    return QG_OK;
}

static qg_status lock(const qg_journal *j, qg_err *err)
{
    if (flock(j->fd, LOCK_EX | LOCK_NB) == 0)
        return QG_OK;
    return qg_fail(err, QG_ERR_BUSY, "%s: another process is writing this output", j->path);
}

/* A run that is under way must not lose its output to a second one. */
static qg_status not_in_use(const qg_journal *j, qg_err *err)
{
    int fd = open(j->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return QG_OK;
    qg_status rc = lock(&(qg_journal){.path = j->path, .fd = fd}, err);
    close(fd);
    return rc;
}

static qg_status write_head(qg_journal *j, const char *identity, qg_err *err)
{
    char head[HEAD + 2 * SLOT] = {0}, fresh[4096];
    int n = snprintf(head, HEAD, "%s%s\n", magic, identity);
    if (n >= HEAD || snprintf(fresh, sizeof fresh, "%s.new", j->path) >= (int)sizeof fresh)
        return qg_fail(err, QG_ERR_TOO_LONG, "%s: names and settings are too long", j->path);
    j->fd = open(fresh, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (j->fd < 0)
        return io_error(fresh, err);
    QG_TRY(lock(j, err));
    if (ftruncate(j->fd, 0) || pwrite(j->fd, head, sizeof head, 0) != (ssize_t)sizeof head ||
        fsync(j->fd) || rename(fresh, j->path))
        return io_error(fresh, err);
    qg_sync_folder_of(j->path);
    return QG_OK;
}

qg_status qg_journal_begin(qg_journal **out, const char *path, const char *identity, qg_err *err)
{
    qg_journal *j = NULL;
    *out = NULL;
    QG_TRY(new_journal(&j, path, err));
    qg_status rc = not_in_use(j, err);
    if (rc == QG_OK)
        rc = write_head(j, identity, err);
    if (rc == QG_OK)
        *out = j;
    else
        qg_journal_close(j, false);
    return rc;
}

/* ---- going on -------------------------------------------------------------------------------- */

qg_status qg_identity_same(const char *path, const json_t *then, const json_t *now, qg_err *err)
{
    const char *key, *name = NULL;
    json_t *value;
    json_object_foreach ((json_t *)now, key, value)
        if (!name && !json_equal(value, json_object_get(then, key)))
            name = key;
    if (!name)
        return QG_OK;
    char *was = qg_json_dump(json_object_get(then, name));
    qg_status rc = qg_fail(err, QG_ERR_ARG,
                           "%s: the run was begun with another %s (%s); go on with that, or begin "
                           "anew with --force",
                           path, name, was ? was : "none");
    qg_mfree(was);
    return rc;
}

/* Their texts differ: which member does. */
static qg_status differs(const qg_journal *j, qg_slice then, const char *now, qg_err *err)
{
    json_t *a = NULL, *b = NULL;
    qg_status rc = QG_OK;
    if (qg_json_parse(then, 0, &a, NULL) == QG_OK &&
        qg_json_parse(qg_str(now), 0, &b, NULL) == QG_OK)
        rc = qg_identity_same(j->path, a, b, err);
    if (rc == QG_OK)
        rc = qg_fail(err, QG_ERR_ARG, "%s: the run was begun with another version", j->path);
    json_decref(a);
    json_decref(b);
    return rc;
}

static qg_status check_head(const qg_journal *j, const char *head, const char *identity,
                            qg_err *err)
{
    size_t n = sizeof magic - 1;
    const char *end = memchr(head + n, '\n', HEAD - n);
    if (memcmp(head, magic, n) || !end)
        return qg_fail(err, QG_ERR_FORMAT, "%s: not a journal of qguard label", j->path);
    qg_slice then = qg_slice_of(head + n, (size_t)(end - head) - n);
    return qg_slice_is(then, identity) ? QG_OK : differs(j, then, identity, err);
}

static qg_status read_all(qg_journal *j, const char *identity, qg_checkpoint *last, qg_err *err)
{
    char bytes[HEAD + 2 * SLOT] = {0};
    slot s;
    j->fd = open(j->path, O_RDWR | O_CLOEXEC);
    if (j->fd < 0)
        return io_error(j->path, err);
    QG_TRY(lock(j, err));
    if (pread(j->fd, bytes, sizeof bytes, 0) < 0)
        return io_error(j->path, err);
    QG_TRY(check_head(j, bytes, identity, err));
    *last = (qg_checkpoint){.done = false};
    for (int i = 0; i < 2; i++) {
        memcpy(&s, bytes + HEAD + i * SLOT, sizeof s);
        if (s.turn < j->turn || s.sum != sum_of(&s))
            continue;
        j->turn = s.turn + 1;
        *last = s.c;
    }
    return QG_OK;
}

qg_status qg_journal_resume(qg_journal **out, const char *path, const char *identity,
                            qg_checkpoint *last, qg_err *err)
{
    qg_journal *j = NULL;
    *out = NULL;
    QG_TRY(new_journal(&j, path, err));
    qg_status rc = read_all(j, identity, last, err);
    if (rc == QG_OK)
        *out = j;
    else
        qg_journal_close(j, false);
    return rc;
}

qg_status qg_journal_write(qg_journal *j, const qg_checkpoint *c, qg_err *err)
{
    char sector[SLOT] = {0};
    slot s;
    memset(&s, 0, sizeof s); /* padding counts for the sum */
    s.turn = j->turn;
    s.c = *c;
    s.sum = sum_of(&s);
    memcpy(sector, &s, sizeof s);
    off_t at = HEAD + (off_t)(j->turn & 1) * SLOT;
    if (pwrite(j->fd, sector, sizeof sector, at) != (ssize_t)sizeof sector || fdatasync(j->fd))
        return io_error(j->path, err);
    j->turn++;
    return QG_OK;
}

void qg_journal_close(qg_journal *j, bool remove)
{
    if (!j)
        return;
    if (remove)
        unlink(j->path);
    if (j->fd >= 0)
        close(j->fd);
    qg_mfree(j->path);
    qg_mfree(j);
}
