/* Many literals in one pass: an Aho-Corasick automaton over case-folded UTF-8.
 *
 * Reading a character costs a few steps whatever the number of literals (100 MB/s with 1 or with
 * 100,000 on a Zen 4: docs/POLICY.md).  A text may arrive in any pieces. */
#ifndef QG_SVC_CONTAINS_H
#define QG_SVC_CONTAINS_H

#include "base/buf.h"

typedef struct qg_contains qg_contains; /* immutable once open; shared by all threads */

/* Literals [n]: UTF-8, 1 to QG_MAX_LITERAL_BYTES each, 0 <= n.  QG_ERR_ARG: empty or not UTF-8,
 * QG_ERR_TOO_LONG, QG_ERR_NOMEM; bad then holds which one.  Borrows nothing. */
qg_status qg_contains_open(qg_contains **out, const qg_slice *literals, size_t n, size_t *bad,
                           qg_err *err);
void qg_contains_close(qg_contains *c);

/* Where one reader of one text is. */
typedef struct qg_contains_at {
    int32_t node;
    uint64_t n_folded; /* folded code points read */
    uint64_t *origin;  /* ring [qg_contains_longest]: the text's code point each came from */
} qg_contains_at;

/* Folded code points of the longest literal; 0 without literals.  A power of two is not promised.
 */
size_t qg_contains_longest(const qg_contains *c);

/* at: zeroed, with origin set to longest elements of the caller's. Reads one code point, the
 * index-th of its text, and calls hit for each literal that ends with it: begin is the index of its
 * first code point. */
typedef void qg_contains_hit_fn(void *ud, size_t literal, uint64_t begin);
void qg_contains_step(const qg_contains *c, qg_contains_at *at, uint32_t cp, uint64_t index,
                      qg_contains_hit_fn *hit, void *ud);
/* Index of the first code point of the longest part of a literal that the text read so far ends
 * with, or index (that of the next code point) when there is none: nothing before it can still
 * become part of a match. */
uint64_t qg_contains_held(const qg_contains *c, const qg_contains_at *at, uint64_t index);

#endif
