/* A verdict without its heap: fixed size, so that it can wait in a window and lie in a cache, and
 * the very verdict object comes out of it again. */
#ifndef QG_BATCH_PLAIN_VERDICT_H
#define QG_BATCH_PLAIN_VERDICT_H

#include "base/buf.h"
#include "svc/policy.h"

enum { QG_SAID_CATEGORIES = QG_POLICY_CATEGORIES + 1 }; /* "None" last */

typedef struct qg_said {
    int8_t reply, severity, refusal, has_p, by_rule, n_categories;
    int8_t categories[QG_SAID_CATEGORIES];        /* index of qg_category_name, primary first */
    uint16_t allowed;                             /* bit i: p_category[i] is of an answer */
    int8_t second, second_status, first_severity; /* as in qg_result */
    int32_t tokens;                               /* of the prompt */
    double p_severity[3], p_category[QG_SAID_CATEGORIES], p_refusal, first_p;
} qg_said;

/* QG_ERR_INTERNAL: what the model wrote is no verdict, or has a category without a name. */
qg_status qg_said_of(qg_said *said, const qg_result *result, qg_err *err);
/* The same as a result that owns nothing: its names live for ever.  Not for qg_result_free. */
void qg_said_result(const qg_said *said, qg_result *out);
/* Appends the verdict object without "cached" (which tells of the run, not of the text) and, with a
 * policy, with "policy":{"hit","action","category"}. */
qg_status qg_said_json(const qg_engine *engine, const qg_said *said, const qg_policy_view *view,
                       qg_buf *out, qg_err *err);

#endif
