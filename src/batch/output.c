#define _GNU_SOURCE
#include "batch/output.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

enum { ROOM = 256 * 1024, LEVEL_GZIP = 6, LEVEL_ZSTD = 3 };

struct qg_output {
    char *path;
    int fd;
    bool standard;
    uint64_t size; /* of the file, with what waits in memory */
    char *out;     /* [ROOM] waits to be written */
    size_t n;
    bool gzip, inside; /* inside a member or frame */
    z_stream z;
    ZSTD_CCtx *zstd;
};

static bool ends_with(const char *path, const char *suffix)
{
    size_t n = strlen(path), k = strlen(suffix);
    return n > k && !strcmp(path + n - k, suffix);
}

const char *qg_output_kind(const char *path)
{
    return ends_with(path, ".gz") ? "gzip" : ends_with(path, ".zst") ? "zstd" : "plain";
}

static qg_status io_error(const qg_output *s, qg_err *err)
{
    return qg_fail(err, QG_ERR_IO, "%s: %s", s->standard ? "standard output" : s->path,
                   strerror(errno));
}

/* ---- writing --------------------------------------------------------------------------------- */

static qg_status flush(qg_output *s, qg_err *err)
{
    for (size_t at = 0; at < s->n;) {
        ssize_t n = write(s->fd, s->out + at, s->n - at);
        if (n < 0 && errno != EINTR)
            return io_error(s, err);
        at += n > 0 ? (size_t)n : 0;
    }
    s->n = 0;
    return QG_OK;
}

/* Takes n bytes that a packer put behind s->n. */
static qg_status took(qg_output *s, size_t n, qg_err *err)
{
    s->n += n;
    s->size += n;
    return s->n > ROOM / 2 ? flush(s, err) : QG_OK;
}

static qg_status add_plain(qg_output *s, qg_slice bytes, qg_err *err)
{
    while (bytes.n) {
        size_t n = bytes.n < ROOM - s->n ? bytes.n : ROOM - s->n;
        memcpy(s->out + s->n, bytes.p, n);
        bytes = qg_slice_of(bytes.p + n, bytes.n - n);
        QG_TRY(took(s, n, err));
    }
    return QG_OK;
}

static qg_status deflate_all(qg_output *s, qg_slice bytes, bool end, qg_err *err)
{
    int rc = Z_OK;
    s->z.next_in = (Bytef *)bytes.p;
    s->z.avail_in = (uInt)bytes.n; /* a row: far below 4 GiB */
    while (s->z.avail_in || (end && rc != Z_STREAM_END)) {
        s->z.next_out = (Bytef *)s->out + s->n;
        s->z.avail_out = (uInt)(ROOM - s->n);
        uInt room = s->z.avail_out;
        rc = deflate(&s->z, end ? Z_FINISH : Z_NO_FLUSH);
        if (rc == Z_STREAM_ERROR)
            return qg_fail(err, QG_ERR_INTERNAL, "%s: gzip failed", s->path);
        QG_TRY(took(s, room - s->z.avail_out, err));
    }
    if (end && deflateReset(&s->z) != Z_OK)
        return qg_fail(err, QG_ERR_INTERNAL, "%s: gzip failed", s->path);
    return QG_OK;
}

static qg_status zstd_all(qg_output *s, qg_slice bytes, bool end, qg_err *err)
{
    ZSTD_inBuffer in = {bytes.p, bytes.n, 0};
    size_t left = 0;
    do {
        ZSTD_outBuffer out = {s->out + s->n, ROOM - s->n, 0};
        left = ZSTD_compressStream2(s->zstd, &out, &in, end ? ZSTD_e_end : ZSTD_e_continue);
        if (ZSTD_isError(left))
            return qg_fail(err, QG_ERR_INTERNAL, "%s: zstd: %s", s->path, ZSTD_getErrorName(left));
        QG_TRY(took(s, out.pos, err));
    } while (in.pos < in.size || (end && left));
    return QG_OK;
}

qg_status qg_output_add(qg_output *s, qg_slice bytes, qg_err *err)
{
    s->inside = true;
    if (s->gzip)
        return deflate_all(s, bytes, false, err);
    return s->zstd ? zstd_all(s, bytes, false, err) : add_plain(s, bytes, err);
}

qg_status qg_output_cut(qg_output *s, qg_err *err)
{
    if (!qg_output_is_packed(s) || !s->inside)
        return QG_OK;
    s->inside = false;
    return s->gzip ? deflate_all(s, qg_str(""), true, err) : zstd_all(s, qg_str(""), true, err);
}

qg_status qg_output_sync(qg_output *s, uint64_t *size, qg_err *err)
{
    QG_TRY(flush(s, err));
    /* Pipes and terminals have nothing to sync. */
    if (!s->standard && fdatasync(s->fd) && errno != EINVAL && errno != EROFS)
        return io_error(s, err);
    *size = s->size;
    return QG_OK;
}

bool qg_output_is_packed(const qg_output *s)
{
    return s->gzip || s->zstd;
}

/* ---- opening --------------------------------------------------------------------------------- */

static qg_status open_packer(qg_output *s, qg_err *err)
{
    const char *kind = s->standard ? "plain" : qg_output_kind(s->path);
    bool fine = true;
    if (!strcmp(kind, "gzip"))
        fine = s->gzip =
            deflateInit2(&s->z, LEVEL_GZIP, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK;
    if (!strcmp(kind, "zstd"))
        fine = (s->zstd = ZSTD_createCCtx()) &&
               !ZSTD_isError(ZSTD_CCtx_setParameter(s->zstd, ZSTD_c_compressionLevel, LEVEL_ZSTD));
    return fine ? QG_OK : qg_fail(err, QG_ERR_NOMEM, "%s: out of memory", s->path);
}

static qg_status open_file(qg_output *s, uint64_t keep, qg_err *err)
{
    struct stat st;
    s->fd = s->standard ? dup(STDOUT_FILENO) : open(s->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (s->fd < 0 || fstat(s->fd, &st))
        return io_error(s, err);
    if (s->standard || !S_ISREG(st.st_mode))
        return QG_OK;
    if ((uint64_t)st.st_size < keep)
        return qg_fail(err, QG_ERR_ARG, "%s: has %lld bytes, the earlier run wrote %llu", s->path,
                       (long long)st.st_size, (unsigned long long)keep);
    if (ftruncate(s->fd, (off_t)keep) || lseek(s->fd, (off_t)keep, SEEK_SET) < 0)
        return io_error(s, err);
    s->size = keep;
    return QG_OK;
}

qg_status qg_output_open(qg_output **out, const char *path, uint64_t keep, qg_err *err)
{
    *out = NULL;
    qg_output *s = qg_calloc(1, sizeof *s);
    if (!s)
        return qg_fail(err, QG_ERR_NOMEM, "%s: out of memory", path);
    s->fd = -1;
    s->standard = !strcmp(path, "-");
    s->path = qg_memdup0(path, strlen(path));
    s->out = qg_malloc(ROOM);
    qg_status rc = s->path && s->out ? QG_OK : qg_fail(err, QG_ERR_NOMEM, "out of memory");
    if (rc == QG_OK)
        rc = open_packer(s, err);
    if (rc == QG_OK)
        rc = open_file(s, keep, err);
    if (rc == QG_OK && !keep)
        s->inside = true; /* a packed file without a row is one empty member */
    if (rc == QG_OK)
        *out = s;
    else
        qg_output_close(s);
    return rc;
}

void qg_output_close(qg_output *s)
{
    if (!s)
        return;
    if (s->gzip)
        deflateEnd(&s->z);
    ZSTD_freeCCtx(s->zstd);
    if (s->fd >= 0)
        close(s->fd);
    qg_mfree(s->out);
    qg_mfree(s->path);
    qg_mfree(s);
}
