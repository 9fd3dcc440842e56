/* Growable byte buffer, born with its ceiling; and a growable list of token ids. */
#ifndef QG_BASE_BUF_H
#define QG_BASE_BUF_H

#include "base/slice.h"
#include "base/status.h"

#include <stdint.h>

typedef struct qg_buf {
    char *p; /* p[n] is always 0 once anything was added */
    size_t n, cap, max;
} qg_buf;

/* Cannot fail and allocates nothing.  max_bytes: the most the buffer may ever hold. */
void qg_buf_init(qg_buf *b, size_t max_bytes);
/* Frees the bytes; the buffer is empty and usable again with the same ceiling. */
void qg_buf_free(qg_buf *b);
/* QG_ERR_TOO_LONG past the ceiling, QG_ERR_NOMEM; the buffer then keeps what it had. */
qg_status qg_buf_add(qg_buf *b, const void *p, size_t n) __attribute__((warn_unused_result));
qg_status qg_buf_adds(qg_buf *b, const char *s) __attribute__((warn_unused_result));
qg_status qg_buf_addf(qg_buf *b, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), warn_unused_result));
/* Room for n more bytes (and the 0) without another allocation. */
qg_status qg_buf_reserve(qg_buf *b, size_t n) __attribute__((warn_unused_result));
/* Gives the bytes (0-terminated, never NULL but on failure) to the caller, who frees them with
 * qg_mfree; the buffer is empty afterwards.  NULL only when out of memory. */
char *qg_buf_take(qg_buf *b);

static inline qg_slice qg_buf_slice(const qg_buf *b)
{
    return (qg_slice){b->p ? b->p : "", b->n};
}

typedef struct qg_ids {
    int32_t *p;
    size_t n, cap;
} qg_ids; /* zero-initialise; at most QG_MAX_IDS entries */

/* Append ids; QG_ERR_TOO_LONG past QG_MAX_IDS, QG_ERR_NOMEM; the list then keeps what it had. */
qg_status qg_ids_add(qg_ids *ids, const int32_t *p, size_t n) __attribute__((warn_unused_result));
qg_status qg_ids_push(qg_ids *ids, int32_t id) __attribute__((warn_unused_result));
/* The list is empty and usable again. */
void qg_ids_free(qg_ids *ids);

#endif
