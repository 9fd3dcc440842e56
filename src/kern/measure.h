/* What this machine can do at most, measured: the scale that kernel speeds are read on. */
#ifndef QG_KERN_MEASURE_H
#define QG_KERN_MEASURE_H

#include "base/pool.h"
#include "kern/kern.h"

/* A loop of independent multiply-adds of one kind, no memory. */
typedef struct qg_peak {
    const char *name;
    uint32_t need;
    qg_wformat format;
    double (*run)(int64_t iters); /* returns operations done; a multiply-add counts two */
} qg_peak;

/* Best first, ref last, NULL-terminated. */
const qg_peak *const *qg_peak_rows(void);
const qg_peak *qg_peak_pick(qg_wformat format, uint32_t features);

/* Operations a second of all the pool's threads together, in 1e9: the best of several windows of
 * 2 ms, so a busy machine does not spoil it.  One caller at a time per pool. */
double qg_measure_peak(const qg_peak *row, qg_pool *pool);

/* Bytes read a second in 1e9, each thread from its own `bytes` of memory: 256 MiB measures memory,
 * 512 KiB the second-level cache.  QG_ERR_NOMEM.  The best of several windows of at least 2 ms. */
qg_status qg_measure_read(double *gb_s, size_t bytes, qg_pool *pool, qg_err *err);

#endif
