/* What the kernel checks share: random numbers, memory that ends at an unmapped page, comparing
 * bits, and a run over all rows of a table that this machine can run. */
#ifndef QG_TESTS_KERNCHECK_H
#define QG_TESTS_KERNCHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Deterministic; the same on every machine. */
typedef struct rng {
    uint64_t s;
} rng;

uint32_t rng_next(rng *r);
int32_t rng_below(rng *r, int32_t n); /* [0, n) */
/* Mostly within (-2, 2), some exact zeros, some a thousand times smaller or larger. */
float rng_float(rng *r);
void rng_fill(rng *r, float *x, size_t n);

/* Bytes that end at a page nobody may touch, filled with 0x7f (a large finite float); freed with
 * the same size.  The start is aligned to `align` when bytes is a multiple of it.  Ends the test
 * when out of memory. */
void *guard_alloc(size_t bytes);
void guard_free(void *p, size_t bytes);

/* Fails the test naming what when the floats differ in any bit (NaN equals NaN of any kind). */
void assert_bits(const float *a, const float *b, size_t n, const char *what);

/* A value that no result has: marks what must stay untouched. */
#define CANARY 0x1.f00f00p+100f

/* Skips the running test, naming row, when need is not in what this machine has. */
void need_features(const char *row, uint32_t need);

#endif
