#include "fmt/packfile.h"

#include "base/limits.h"
#include "base/mem.h"
#include "base/sum.h"
#include "fmt/packfile_int.h"

#include <errno.h>
#include <stdatomic.h>

const char qg_packfile_magic[16] = "qguard packed 1";

/* ---- checksums: of pieces, by all threads ---------------------------------------------------- */

enum { PIECE = 4 << 20 };

typedef struct summing {
    qg_slice bytes;
    uint64_t *sum; /* of each piece */
    size_t n_pieces;
    _Atomic size_t next;
} summing;

static void sum_pieces(void *arg, int part, int n_parts)
{
    summing *s = arg;
    (void)part, (void)n_parts;
    for (;;) {
        size_t i = atomic_fetch_add_explicit(&s->next, 1, memory_order_relaxed);
        if (i >= s->n_pieces)
            return;
        size_t at = i * PIECE, left = s->bytes.n - at;
        s->sum[i] = qg_sum64(i, s->bytes.p + at, left < PIECE ? left : PIECE);
    }
}

qg_status qg_packfile_sum(qg_slice bytes, qg_pool *pool, uint64_t *sum)
{
    summing s = {.bytes = bytes, .n_pieces = (bytes.n + PIECE - 1) / PIECE};
    s.sum = qg_calloc(s.n_pieces, sizeof *s.sum);
    if (!s.sum)
        return QG_ERR_NOMEM;
    qg_pool_run(pool, sum_pieces, &s, qg_pool_threads(pool));
    *sum = qg_sum64(bytes.n, s.sum, s.n_pieces * sizeof *s.sum);
    qg_mfree(s.sum);
    return QG_OK;
}

uint64_t qg_packfile_head_sum(const qg_packfile_head *head, const void *key, size_t key_bytes)
{
    uint64_t sum = qg_sum64(0, head, offsetof(qg_packfile_head, sum));
    return qg_sum64(sum, key, key_bytes);
}

/* ---- opening --------------------------------------------------------------------------------- */

static qg_status damaged(const char *path, const char *what, qg_err *err)
{
    return qg_fail(err, QG_ERR_FORMAT, "%s: %s", path, what);
}

/* The part lies behind the head, begins at a border and ends within the file. */
static bool part_fits(const qg_packfile_part *p, size_t size)
{
    return p->at >= QG_PACKFILE_BORDER && p->at % QG_PACKFILE_BORDER == 0 && p->at <= size &&
           p->bytes <= size - p->at;
}

static qg_status check_head(const qg_map *map, const char *path, qg_slice key,
                            qg_packfile_head *head, qg_err *err)
{
    if (map->size < QG_PACKFILE_BORDER)
        return damaged(path, "too short for a file of packed weights", err);
    memcpy(head, map->data, sizeof *head);
    const uint8_t *text = map->data + sizeof *head;
    if (memcmp(head->magic, qg_packfile_magic, sizeof head->magic))
        return damaged(path, "not a file of packed weights of this version", err);
    if (head->key_bytes > QG_PACKFILE_BORDER - sizeof *head ||
        head->sum != qg_packfile_head_sum(head, text, (size_t)head->key_bytes))
        return damaged(path, "its head is damaged", err);
    if (head->file_bytes != map->size)
        return damaged(path, "it is not complete", err);
    for (int i = 0; i < QG_PACKFILE_PARTS; i++)
        if (!part_fits(&head->part[i], map->size))
            return damaged(path, "its parts lie outside of it", err);
    if (!qg_slice_eq(key, qg_slice_of((const char *)text, (size_t)head->key_bytes)))
        return qg_fail(err, QG_ERR_UNSUPPORTED,
                       "%s: made from another state of the model or by another build", path);
    return QG_OK;
}

static qg_status check_parts(qg_packfile *f, const char *path, const qg_packfile_head *head,
                             qg_pool *pool, qg_err *err)
{
    for (int i = 0; i < QG_PACKFILE_PARTS; i++) {
        const qg_packfile_part *p = &head->part[i];
        uint64_t sum;
        f->part[i] = qg_slice_of((const char *)f->map.data + p->at, (size_t)p->bytes);
        if (qg_packfile_sum(f->part[i], pool, &sum) != QG_OK)
            return qg_fail(err, QG_ERR_NOMEM, "out of memory");
        if (sum != p->sum)
            return damaged(path, "its checksum is wrong", err);
    }
    return QG_OK;
}

qg_status qg_packfile_open(qg_packfile *out, const char *path, qg_slice key, qg_pool *pool,
                           bool *exists, qg_err *err)
{
    qg_packfile_head head;
    *out = (qg_packfile){0};
    *exists = false;
    errno = 0;
    qg_status rc = qg_map_open_own(&out->map, path, err);
    *exists = rc == QG_OK || errno != ENOENT;
    if (rc == QG_OK)
        rc = check_head(&out->map, path, key, &head, err);
    if (rc == QG_OK)
        rc = check_parts(out, path, &head, pool, err);
    if (rc == QG_OK)
        qg_packfile_touch(path);
    else
        qg_packfile_close(out);
    return rc;
}

void qg_packfile_close(qg_packfile *file)
{
    qg_map_close(&file->map);
    *file = (qg_packfile){0};
}
