/* Borrowed bytes: a pointer and a length, never owned, never 0-terminated by promise. */
#ifndef QG_BASE_SLICE_H
#define QG_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef struct qg_slice {
    const char *p;
    size_t n;
} qg_slice;

/* Run of a rendered text, from the end of the run before (or 0) up to end (exclusive, in bytes).
 * input tells that these bytes came from the caller's content, not from the template itself. */
typedef struct qg_span {
    size_t end;
    bool input;
} qg_span;

static inline qg_slice qg_slice_of(const char *p, size_t n)
{
    return (qg_slice){p, n};
}

static inline qg_slice qg_str(const char *s)
{
    return (qg_slice){s, strlen(s)};
}

static inline bool qg_slice_eq(qg_slice a, qg_slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool qg_slice_is(qg_slice a, const char *s)
{
    return qg_slice_eq(a, qg_str(s));
}

#endif
