#define _GNU_SOURCE
#include "svc/audit.h"

#include "base/buf.h"
#include "base/limits.h"
#include "base/map.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { HEX = 64 };

struct qg_audit {
    int fd;
    uint64_t seq;       /* of the next record */
    char prev[HEX + 1]; /* hash of the last one */
    bool torn;          /* the last line was cut: the next record says so */
};

static bool hash_of(const char *p, size_t n, char out[HEX + 1])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (!EVP_Digest(p, n, digest, &len, EVP_sha256(), NULL) || len != HEX / 2)
        return false;
    for (unsigned i = 0; i < len; i++) {
        out[2 * i] = "0123456789abcdef"[digest[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
    }
    out[HEX] = 0;
    return true;
}

/* ---- reading a log --------------------------------------------------------------------------- */

/* Tail of a line: ,"prev":"<64>","hash":"<64>"} */
enum { PREV_AT = 9, HASH_AT = PREV_AT + HEX + 10, TAIL = HASH_AT + HEX + 2 };

/* The line's two hashes, borrowed; false when it is not a line of such a log. */
static bool tail_of(qg_slice line, const char **prev, const char **hash)
{
    if (line.n < TAIL + 8)
        return false;
    const char *tail = line.p + line.n - TAIL;
    *prev = tail + PREV_AT;
    *hash = tail + HASH_AT;
    return !memcmp(line.p, "{\"seq\":", 7) && !memcmp(tail, ",\"prev\":\"", PREV_AT) &&
           !memcmp(tail + PREV_AT + HEX, "\",\"hash\":\"", 10) && !memcmp(*hash + HEX, "\"}", 2);
}

static uint64_t seq_of(qg_slice line)
{
    uint64_t seq = 0;
    for (size_t i = 7; i < line.n && line.p[i] >= '0' && line.p[i] <= '9'; i++)
        seq = seq * 10 + (uint64_t)(line.p[i] - '0');
    return seq;
}

static bool line_holds(qg_slice line, const char *hash)
{
    char now[HEX + 1];
    size_t n = (size_t)(hash - line.p) - 9; /* without ,"hash":" */
    return hash_of(line.p, n, now) && !memcmp(now, hash, HEX);
}

/* Last whole line of the bytes; rest gets how many bytes follow it. */
static qg_slice last_line(const char *p, size_t n, size_t *rest)
{
    const char *end = n ? memrchr(p, '\n', n) : NULL;
    *rest = end ? n - (size_t)(end + 1 - p) : n;
    if (!end)
        return qg_slice_of(p, 0);
    const char *before = memrchr(p, '\n', (size_t)(end - p));
    const char *begin = before ? before + 1 : p;
    return qg_slice_of(begin, (size_t)(end - begin));
}

static qg_status resume(qg_audit *a, const char *path, qg_err *err)
{
    qg_map map;
    size_t rest;
    const char *prev, *hash;
    QG_TRY(qg_map_open(&map, path, err));
    qg_status rc = QG_OK;
    qg_slice line = last_line((const char *)map.data, map.size, &rest);
    a->torn = rest;
    if (line.n) {
        if (tail_of(line, &prev, &hash) && line_holds(line, hash)) {
            memcpy(a->prev, hash, HEX);
            a->seq = seq_of(line) + 1;
        } else {
            rc = qg_fail(err, QG_ERR_FORMAT, "%s: the last line is not of an audit log", path);
        }
    }
    qg_map_close(&map);
    if (rc == QG_OK && rest && write(a->fd, "\n", 1) != 1)
        rc = qg_fail(err, QG_ERR_IO, "%s: %s", path, strerror(errno));
    return rc;
}

qg_status qg_audit_open(qg_audit **out, const char *path, qg_err *err)
{
    *out = NULL;
    qg_audit *a = qg_calloc(1, sizeof *a);
    if (!a)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    memset(a->prev, '0', HEX);
    a->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    qg_status rc =
        a->fd < 0 ? qg_fail(err, QG_ERR_IO, "%s: %s", path, strerror(errno)) : resume(a, path, err);
    if (rc == QG_OK)
        *out = a;
    else
        qg_audit_close(a);
    return rc;
}

void qg_audit_close(qg_audit *audit)
{
    if (!audit)
        return;
    if (audit->fd >= 0)
        close(audit->fd);
    qg_mfree(audit);
}

/* Where a check of a log stands. */
typedef struct walk {
    char prev[HEX + 1];
    uint64_t n;
    bool torn; /* the line before was cut by a crash: the next record has to say so */
} walk;

/* NULL when the line goes on from the one before, else what is wrong. */
static const char *follow(walk *w, qg_slice line, bool whole)
{
    static const char torn[] = "\"after_torn_line\":true";
    const char *prev, *hash;
    if (!tail_of(line, &prev, &hash)) {
        w->torn = true;
        return whole ? NULL : "the log ends inside a line";
    }
    if (!line_holds(line, hash))
        return "it was changed";
    if (memcmp(prev, w->prev, HEX) != 0 || seq_of(line) != w->n)
        return "a line before it is missing or was changed";
    if (w->torn && !memmem(line.p, line.n, torn, sizeof torn - 1))
        return "the line before it is not a record";
    memcpy(w->prev, hash, HEX);
    w->torn = false;
    w->n++;
    return NULL;
}

qg_status qg_audit_check(const char *path, uint64_t *n, qg_err *err)
{
    qg_map map;
    walk w = {.n = 0};
    const char *why = NULL;
    unsigned long long number = 0;
    memset(w.prev, '0', HEX);
    QG_TRY(qg_map_open(&map, path, err));
    for (const char *p = (const char *)map.data, *end = p + map.size; p < end && !why;) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        qg_slice line = qg_slice_of(p, (size_t)((stop ? stop : end) - p));
        p = stop ? stop + 1 : end;
        number++;
        why = follow(&w, line, stop);
    }
    if (!why && w.torn)
        why = "it is not a record";
    qg_map_close(&map);
    *n = w.n;
    return why ? qg_fail(err, QG_ERR_FORMAT, "%s: line %llu: %s", path, number, why) : QG_OK;
}

/* ---- writing --------------------------------------------------------------------------------- */

static qg_status add_body(qg_audit *a, const json_t *record, qg_buf *line)
{
    struct timespec now;
    struct tm utc;
    char *body = qg_json_dump_digits(record, 9);
    if (!body)
        return QG_ERR_NOMEM;
    size_t n = strlen(body); /* {…}: without its braces */
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    qg_status rc = qg_buf_addf(
        line, "{\"seq\":%llu,\"time\":\"%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ\"%s%s%.*s",
        (unsigned long long)a->seq, utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour,
        utc.tm_min, utc.tm_sec, now.tv_nsec / 1000000, a->torn ? ",\"after_torn_line\":true" : "",
        n > 2 ? "," : "", (int)n - 2, body + 1);
    qg_mfree(body);
    return rc;
}

/* All of it or nothing: what a full disk took of the line is cut off again. */
static qg_status append(qg_audit *a, const qg_buf *line, qg_err *err)
{
    struct stat before;
    if (fstat(a->fd, &before))
        return qg_fail(err, QG_ERR_IO, "audit log: %s", strerror(errno));
    for (size_t done = 0; done < line->n;) {
        ssize_t n = write(a->fd, line->p + done, line->n - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            int why = errno;
            if (done && ftruncate(a->fd, before.st_size))
                a->torn = true;
            return qg_fail(err, QG_ERR_IO, "audit log: %s", strerror(why));
        }
        done += (size_t)n;
    }
    return QG_OK;
}

qg_status qg_audit_add(qg_audit *a, const json_t *record, qg_err *err)
{
    qg_buf line;
    char hash[HEX + 1];
    qg_buf_init(&line, QG_MAX_TEXT_BYTES);
    qg_status rc = add_body(a, record, &line);
    if (rc == QG_OK)
        rc = qg_buf_addf(&line, ",\"prev\":\"%s\"", a->prev);
    if (rc == QG_OK && !hash_of(line.p, line.n, hash))
        rc = QG_ERR_INTERNAL;
    if (rc == QG_OK)
        rc = qg_buf_addf(&line, ",\"hash\":\"%s\"}\n", hash);
    if (rc != QG_OK)
        qg_fail(err, rc, "audit log: out of memory");
    else
        rc = append(a, &line, err);
    if (rc == QG_OK) {
        memcpy(a->prev, hash, HEX);
        a->seq++;
        a->torn = false;
    }
    qg_buf_free(&line);
    return rc;
}

void qg_audit_second(json_t *line, const qg_result *r)
{
    json_t *o;
    if (r->second == QG_SECOND_NONE)
        return;
    if (r->second == QG_SECOND_FAILED)
        o = json_pack("{s:s}", "error", qg_status_name(r->second_status));
    else
        o = json_pack("{s:{s:s,s:f}}", "first", "severity", qg_severity_name(r->first_severity),
                      "p", r->first_p);
    json_object_set_new(line, "second", o);
}
