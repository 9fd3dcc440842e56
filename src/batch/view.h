/* The policy that rows are judged by. */
#ifndef QG_BATCH_VIEW_H
#define QG_BATCH_VIEW_H

#include "svc/policy.h"

typedef struct qg_batch_policy {
    qg_policy *policy; /* NULL: no file was given */
    const qg_rules *rules;
    qg_policy_view view; /* of the file for this model, or strict without thresholds */
    const char *hash;    /* SHA-256 of the file; "" without one */
} qg_batch_policy;

/* path NULL = none; engine NULL = no model's own settings.  Errors as qg_policy_open. */
qg_status qg_batch_policy_open(qg_batch_policy *p, const char *path, const qg_engine *engine,
                               qg_err *err);
void qg_batch_policy_close(qg_batch_policy *p);

#endif
