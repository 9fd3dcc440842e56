/* Thresholds: qg_thresholds of qguard.h, checked and applied. */
#ifndef QG_GUARD_THRESHOLDS_H
#define QG_GUARD_THRESHOLDS_H

#include "base/status.h"

/* QG_ERR_ARG: size not set, a number outside of [0,1]. */
qg_status qg_thresholds_check(const qg_thresholds *t, qg_err *err);

#endif
