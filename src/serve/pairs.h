/* Conversations kept for a short while under an id, so that a reply which arrives without its
 * prompt can be judged as a reply to it.  Bounded in number, bytes and age. */
#ifndef QG_SERVE_PAIRS_H
#define QG_SERVE_PAIRS_H

#include "base/slice.h"
#include "base/status.h"

typedef struct qg_pairs qg_pairs;

qg_status qg_pairs_open(qg_pairs **out, qg_err *err);
void qg_pairs_close(qg_pairs *pairs); /* NULL is fine */

/* Any thread.  Keeps a copy of text under owner and id (one caller must not read another's); what
 * is oldest makes room.  A text too large, or no memory: not kept. */
void qg_pairs_put(qg_pairs *pairs, qg_slice owner, qg_slice id, qg_slice text);
/* A copy of the text for the caller (qg_mfree), or NULL: unknown, too old, no memory. */
char *qg_pairs_get(qg_pairs *pairs, qg_slice owner, qg_slice id, size_t *n);

#endif
