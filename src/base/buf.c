#include "base/buf.h"

#include "base/limits.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>

void qg_buf_init(qg_buf *b, size_t max_bytes)
{
    *b = (qg_buf){.max = max_bytes};
}

void qg_buf_free(qg_buf *b)
{
    qg_mfree(b->p);
    qg_buf_init(b, b->max);
}

qg_status qg_buf_reserve(qg_buf *b, size_t n)
{
    if (n > b->max || b->n > b->max - n)
        return QG_ERR_TOO_LONG;
    size_t want = b->n + n + 1;
    if (want <= b->cap)
        return QG_OK;
    size_t cap = b->cap < 128 ? 256 : b->cap + b->cap / 2;
    if (cap < want)
        cap = want;
    char *p = qg_realloc(b->p, cap);
    if (!p)
        return QG_ERR_NOMEM;
    b->p = p;
    b->cap = cap;
    return QG_OK;
}

qg_status qg_buf_add(qg_buf *b, const void *p, size_t n)
{
    QG_TRY(qg_buf_reserve(b, n));
    if (n)
        memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = 0;
    return QG_OK;
}

qg_status qg_buf_adds(qg_buf *b, const char *s)
{
    return qg_buf_add(b, s, strlen(s));
}

qg_status qg_buf_addf(qg_buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0)
        return QG_ERR_INTERNAL;
    QG_TRY(qg_buf_reserve(b, (size_t)n));
    va_start(ap, fmt);
    vsnprintf(b->p + b->n, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->n += (size_t)n;
    return QG_OK;
}

char *qg_buf_take(qg_buf *b)
{
    char *p = b->p ? b->p : qg_memdup0("", 0);
    qg_buf_init(b, b->max);
    return p;
}

static qg_status ids_reserve(qg_ids *ids, size_t n)
{
    if (n > QG_MAX_IDS || ids->n > QG_MAX_IDS - n)
        return QG_ERR_TOO_LONG;
    size_t want = ids->n + n;
    if (want <= ids->cap)
        return QG_OK;
    size_t cap = ids->cap < 64 ? 128 : ids->cap + ids->cap / 2;
    if (cap < want)
        cap = want;
    int32_t *p = qg_realloc_array(ids->p, cap, sizeof *p);
    if (!p)
        return QG_ERR_NOMEM;
    ids->p = p;
    ids->cap = cap;
    return QG_OK;
}

qg_status qg_ids_add(qg_ids *ids, const int32_t *p, size_t n)
{
    QG_TRY(ids_reserve(ids, n));
    if (n)
        memcpy(ids->p + ids->n, p, n * sizeof *p);
    ids->n += n;
    return QG_OK;
}

qg_status qg_ids_push(qg_ids *ids, int32_t id)
{
    return qg_ids_add(ids, &id, 1);
}

void qg_ids_free(qg_ids *ids)
{
    qg_mfree(ids->p);
    *ids = (qg_ids){0};
}
