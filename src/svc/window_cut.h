/* Where a text longer than the context is cut into overlapping windows. */
#ifndef QG_SVC_WINDOW_CUT_H
#define QG_SVC_WINDOW_CUT_H

#include "base/limits.h"
#include "qguard.h"

/* Bytes [begin, end) of the text; both lie between characters. */
typedef struct qg_window {
    size_t begin, end;
} qg_window;

typedef struct qg_window_cut {
    size_t n;
    qg_window at[QG_MAX_WINDOWS];
} qg_window_cut;

/* Cuts the last message of r, so that each window fits a context of max_len tokens together with
 * the other messages and the answer.  The windows cover the text from its first byte to its last;
 * each begins before the one before it ends: by QG_WINDOW_OVERLAP tokens, or by a quarter of a
 * window that is small.  Encodes the text twice.
 *   QG_ERR_TOO_LONG  the other messages leave no room, or more than QG_MAX_WINDOWS are needed
 *   QG_ERR_TEMPLATE, QG_ERR_ARG (not UTF-8, ids instead of messages), QG_ERR_NOMEM
 * Any thread. */
qg_status qg_window_cut_request(qg_window_cut *cut, const qg_engine *engine, int32_t max_len,
                                const qg_request *r, qg_err *err);

#endif
