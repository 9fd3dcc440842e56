/* Speed of every kernel row on shapes of the real models, beside what this machine can do at most,
 * measured in the same seconds. */
#ifndef QG_KERN_KERNBENCH_H
#define QG_KERN_KERNBENCH_H

#include "base/pool.h"
#include "kern/kern.h"

typedef struct qg_kernbench_row {
    const char *job;   /* "gemm", "few", "attn", "vec" */
    const char *row;   /* of the kernel tables: "bf16_avx512bf16" */
    const char *dtype; /* "float32", "bfloat16", "int8" */
    const char *shape; /* "m=256 n=1024 k=3072"; lives during the call */
    double value, limit;
    const char *unit; /* of both: "GFLOP/s", "GB/s"; limit 0 = none is measured */
} qg_kernbench_row;

typedef void qg_kernbench_fn(void *ud, const qg_kernbench_row *row);

/* Runs one job's shapes through every row that `features` allow (plain C is left out) and hands
 * each figure to fn, the best of windows of 0.25 s together: gemm  matrix products of many rows, in
 * 1e9 operations a second beside the compute peak few   1 to 12 rows, in weight bytes read from
 * memory a second beside the read bandwidth attn  attention over one layer's KV, beside the float32
 * peak vec   row-wise vector jobs on one thread, 1e9 floats a second QG_ERR_ARG for another word,
 * QG_ERR_NOMEM.  One caller at a time per pool. */
qg_status qg_kernbench(const char *job, uint32_t features, qg_pool *pool, qg_kernbench_fn *fn,
                       void *ud, qg_err *err);

#endif
