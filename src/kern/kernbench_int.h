/* What the files of kernbench share. */
#ifndef QG_KERN_KERNBENCH_INT_H
#define QG_KERN_KERNBENCH_INT_H

#include "kern/kernbench.h"

typedef struct kernbench {
    qg_pool *pool;
    uint32_t features;
    const char *job;
    double limit;
    qg_kernbench_fn *fn;
    void *ud;
} kernbench;

/* Best time of fn over `parts` parts in microseconds, of windows of 0.25 s together. */
double qg_kernbench_us(const kernbench *b, qg_pool_fn *fn, void *arg, int parts);
void qg_kernbench_fill(float *x, int64_t n);
const char *qg_kernbench_dtype(qg_wformat format);

/* The jobs in files of their own; QG_ERR_NOMEM. */
qg_status qg_kernbench_attn(kernbench *b);
/* The same. */
qg_status qg_kernbench_vec(kernbench *b);

#endif
