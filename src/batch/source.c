#define _GNU_SOURCE
#include "batch/source.h"

#include "base/buf.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/sum.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

enum { RAW = 256 * 1024, PLAIN = 256 * 1024 };

struct qg_source {
    const char *name; /* for sentences */
    char *path;
    int fd;
    bool seekable, ended; /* plain regular file; no more raw bytes */
    uint64_t read, size;
    /* raw bytes [raw_at, raw_n) */
    uint8_t *raw;
    size_t raw_at, raw_n;
    /* what they mean, bytes [at, n) of plain; NULL fill = the raw bytes themselves */
    qg_status (*fill)(qg_source *s, qg_err *err);
    char *plain;
    size_t at, n;
    z_stream gzip;
    bool gzip_open, inside; /* inside a member or frame */
    ZSTD_DStream *zstd;
    /* lines */
    qg_buf joined; /* one that lies in several pieces */
    int64_t number;
    uint64_t offset; /* of plain[at] in the uncompressed input */
};

/* ---- bytes ----------------------------------------------------------------------------------- */

/* More raw bytes behind those that were used up. */
static qg_status read_raw(qg_source *s, qg_err *err)
{
    ssize_t n;
    do {
        n = read(s->fd, s->raw, RAW);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return qg_fail(err, QG_ERR_IO, "%s: %s", s->name, strerror(errno));
    s->raw_at = 0;
    s->raw_n = (size_t)n;
    s->read += (size_t)n;
    s->ended = n == 0;
    return QG_OK;
}

static qg_status damaged(const qg_source *s, const char *how, qg_err *err)
{
    return qg_fail(err, QG_ERR_FORMAT, "%s: the compressed data %s", s->name, how);
}

static qg_status fill_plain(qg_source *s, qg_err *err)
{
    if (s->raw_at == s->raw_n)
        QG_TRY(read_raw(s, err));
    s->n = s->raw_n - s->raw_at;
    memcpy(s->plain, s->raw + s->raw_at, s->n);
    s->raw_at = s->raw_n;
    return QG_OK;
}

static qg_status fill_gzip(qg_source *s, qg_err *err)
{
    while (s->n == 0) {
        if (s->raw_at == s->raw_n)
            QG_TRY(read_raw(s, err));
        if (s->ended)
            return s->inside ? damaged(s, "is cut short", err) : QG_OK;
        if (!s->inside && inflateReset(&s->gzip) != Z_OK)
            return damaged(s, "cannot be read", err);
        s->inside = true;
        s->gzip.next_in = s->raw + s->raw_at;
        s->gzip.avail_in = (uInt)(s->raw_n - s->raw_at);
        s->gzip.next_out = (Bytef *)s->plain;
        s->gzip.avail_out = PLAIN;
        int rc = inflate(&s->gzip, Z_NO_FLUSH);
        if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
            return damaged(s, "is damaged", err);
        s->inside = rc != Z_STREAM_END;
        s->raw_at = s->raw_n - s->gzip.avail_in;
        s->n = PLAIN - s->gzip.avail_out;
    }
    return QG_OK;
}

static qg_status fill_zstd(qg_source *s, qg_err *err)
{
    while (s->n == 0) {
        if (s->raw_at == s->raw_n && !s->ended)
            QG_TRY(read_raw(s, err));
        ZSTD_inBuffer in = {s->raw, s->raw_n, s->raw_at};
        ZSTD_outBuffer out = {s->plain, PLAIN, 0};
        if (s->ended && !s->inside)
            return QG_OK;
        size_t left = ZSTD_decompressStream(s->zstd, &out, &in);
        if (ZSTD_isError(left))
            return damaged(s, "is damaged", err);
        if (s->ended && out.pos == 0)
            return damaged(s, "is cut short", err);
        s->inside = left != 0;
        s->raw_at = in.pos;
        s->n = out.pos;
    }
    return QG_OK;
}

/* ---- opening --------------------------------------------------------------------------------- */

static qg_status choose(qg_source *s, qg_err *err)
{
    static const uint8_t gzip[] = {0x1f, 0x8b}, zstd[] = {0x28, 0xb5, 0x2f, 0xfd};
    QG_TRY(read_raw(s, err));
    s->fill = fill_plain;
    if (s->raw_n >= sizeof gzip && !memcmp(s->raw, gzip, sizeof gzip)) {
        s->fill = fill_gzip;
        s->gzip_open = inflateInit2(&s->gzip, 15 + 16) == Z_OK;
        if (!s->gzip_open)
            return qg_fail(err, QG_ERR_NOMEM, "%s: out of memory", s->name);
    } else if (s->raw_n >= sizeof zstd && !memcmp(s->raw, zstd, sizeof zstd)) {
        s->fill = fill_zstd;
        s->zstd = ZSTD_createDStream();
        if (!s->zstd)
            return qg_fail(err, QG_ERR_NOMEM, "%s: out of memory", s->name);
    }
    return QG_OK;
}

static qg_status open_file(qg_source *s, const char *path, qg_err *err)
{
    struct stat st;
    bool standard = !strcmp(path, "-");
    s->path = qg_memdup0(path, strlen(path));
    s->raw = qg_malloc(RAW);
    s->plain = qg_malloc(PLAIN);
    if (!s->path || !s->raw || !s->plain)
        return qg_fail(err, QG_ERR_NOMEM, "%s: out of memory", path);
    s->name = standard ? "standard input" : s->path;
    s->fd = standard ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    if (s->fd < 0 || fstat(s->fd, &st))
        return qg_fail(err, QG_ERR_IO, "%s: %s", s->name, strerror(errno));
    bool regular = S_ISREG(st.st_mode);
    s->size = regular && !standard ? (uint64_t)st.st_size : 0;
    QG_TRY(choose(s, err));
    s->seekable = regular && !standard && s->fill == fill_plain;
    return QG_OK;
}

qg_status qg_source_open(qg_source **out, const char *path, qg_err *err)
{
    *out = NULL;
    qg_source *s = qg_calloc(1, sizeof *s);
    if (!s)
        return qg_fail(err, QG_ERR_NOMEM, "%s: out of memory", path);
    s->fd = -1;
    qg_buf_init(&s->joined, QG_MAX_ROW_BYTES);
    qg_status rc = open_file(s, path, err);
    if (rc == QG_OK)
        *out = s;
    else
        qg_source_close(s);
    return rc;
}

void qg_source_close(qg_source *s)
{
    if (!s)
        return;
    if (s->gzip_open)
        inflateEnd(&s->gzip);
    ZSTD_freeDStream(s->zstd);
    if (s->fd >= 0)
        close(s->fd);
    qg_buf_free(&s->joined);
    qg_mfree(s->raw);
    qg_mfree(s->plain);
    qg_mfree(s->path);
    qg_mfree(s);
}

/* ---- lines ----------------------------------------------------------------------------------- */

static void drop_mark(qg_source *s, qg_slice *text)
{
    if (s->number == 1 && text->n >= 3 && !memcmp(text->p, "\xef\xbb\xbf", 3))
        *text = qg_slice_of(text->p + 3, text->n - 3);
}

static qg_status keep_piece(qg_source *s, size_t n, bool *too_long, qg_err *err)
{
    size_t room = QG_MAX_ROW_BYTES - s->joined.n;
    *too_long |= n > room;
    if (qg_buf_add(&s->joined, s->plain + s->at, n > room ? room : n) != QG_OK)
        return qg_fail(err, QG_ERR_NOMEM, "%s: out of memory", s->name);
    return QG_OK;
}

static void pass(qg_source *s, size_t n)
{
    s->at += n;
    s->offset += n;
}

qg_status qg_source_next(qg_source *s, qg_line *line, bool *more, qg_err *err)
{
    const char *end = NULL;
    *line = (qg_line){.place.begin = s->offset};
    *more = false;
    s->joined.n = 0;
    while (!end) {
        if (s->at == s->n) {
            s->at = s->n = 0;
            QG_TRY(s->fill(s, err));
            if (s->n == 0)
                break;
        }
        *more = true;
        end = memchr(s->plain + s->at, '\n', s->n - s->at);
        size_t n = end ? (size_t)(end - s->plain) - s->at : s->n - s->at;
        if (end && !s->joined.n && !line->too_long) /* all of it lies here */
            line->text = qg_slice_of(s->plain + s->at, n);
        else
            QG_TRY(keep_piece(s, n, &line->too_long, err));
        pass(s, n + (end != NULL));
    }
    if (!*more)
        return QG_OK;
    if (!line->text.p)
        line->text = qg_buf_slice(&s->joined);
    line->place.number = ++s->number;
    line->place.sum = qg_sum64((uint64_t)s->number, line->text.p, line->text.n);
    line->raw = s->seekable ? s->offset : s->read;
    drop_mark(s, &line->text);
    return QG_OK;
}

static qg_status other_input(const qg_source *s, const qg_place *at, qg_err *err)
{
    return qg_fail(err, QG_ERR_ARG,
                   "%s: line %lld is not the one that was judged last: this is another input",
                   s->name, (long long)at->number);
}

static qg_status jump(qg_source *s, const qg_place *at, qg_err *err)
{
    if (at->begin > s->size)
        return other_input(s, at, err);
    if (lseek(s->fd, (off_t)at->begin, SEEK_SET) < 0)
        return qg_fail(err, QG_ERR_IO, "%s: %s", s->name, strerror(errno));
    s->raw_at = s->raw_n = s->at = s->n = 0;
    s->ended = false;
    s->read = s->offset = at->begin;
    s->number = at->number - 1;
    return QG_OK;
}

qg_status qg_source_skip(qg_source *s, const qg_place *at, qg_err *err)
{
    qg_line line = {.place.number = 0};
    bool more = true;
    if (at->number == 0)
        return QG_OK;
    if (s->seekable)
        QG_TRY(jump(s, at, err));
    while (more && line.place.number < at->number)
        QG_TRY(qg_source_next(s, &line, &more, err));
    if (!more || line.place.sum != at->sum || line.place.begin != at->begin)
        return other_input(s, at, err);
    return QG_OK;
}

uint64_t qg_source_size(const qg_source *s)
{
    return s->size;
}
