/* How much one API key may ask for: requests a minute (a token bucket that holds one minute's) and
 * requests at a time.  One thread, the server's. */
#ifndef QG_SVC_ADMISSION_H
#define QG_SVC_ADMISSION_H

#include "base/slice.h"
#include "base/status.h"

typedef struct qg_admission qg_admission;

/* QG_ERR_NOMEM. */
qg_status qg_admission_open(qg_admission **out, qg_err *err);
/* NULL is fine. */
void qg_admission_close(qg_admission *a);

/* What a request has to give back; -1 when nothing is counted for it. */
typedef int32_t qg_admission_slot;

/* key: the caller's name, "" for callers without a key, who share one account. Limits of 0 do not
 * count.  now_us: monotonic.  QG_OK: admitted, *slot to be given back with qg_admission_end.
 * QG_ERR_BUSY: not now; *why is "rate" or "concurrency", *retry_s the seconds to wait (1 at
 * least). */
qg_status qg_admission_begin(qg_admission *a, qg_slice key, int32_t per_minute, int32_t concurrent,
                             int64_t now_us, qg_admission_slot *slot, const char **why,
                             int *retry_s);
void qg_admission_end(qg_admission *a, qg_admission_slot slot);

#endif
