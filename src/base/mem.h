/* All heap use goes through here, so that a test build can fail any allocation and count what is
 * live.  Safe from any thread. */
#ifndef QG_BASE_MEM_H
#define QG_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Like malloc/calloc/realloc/free; NULL on failure or when n * size overflows.  A size of 0 gives a
 * valid pointer to nothing.  qg_realloc leaves the old block alone when it fails. */
void *qg_malloc(size_t bytes) __attribute__((malloc, warn_unused_result));
void *qg_calloc(size_t n, size_t size) __attribute__((malloc, warn_unused_result));
void *qg_realloc(void *p, size_t bytes) __attribute__((warn_unused_result));
void *qg_realloc_array(void *p, size_t n, size_t size) __attribute__((warn_unused_result));
void qg_mfree(void *p);

/* Copy of n bytes with a terminating 0, or NULL. */
char *qg_memdup0(const void *p, size_t n) __attribute__((warn_unused_result));

/* Large zeroed block for weights and KV: page aligned, asked to use 2 MiB pages (a hint).  Not
 * touched until written, so unused parts cost no memory.  Free with the same size. */
void *qg_big_alloc(size_t bytes) __attribute__((warn_unused_result));
void qg_big_free(void *p, size_t bytes);
/* Makes bytes of such a block that nobody has written yet stand in memory now instead of at their
 * first use: they stay zero. */
void qg_big_touch(void *p, size_t bytes);

/* Aligned block (align a power of two, >= 16); free with qg_mfree. */
void *qg_aligned_alloc(size_t align, size_t bytes) __attribute__((malloc, warn_unused_result));

/* False when a * b (or a + b) does not fit size_t; *out is then untouched. */
bool qg_mul_size(size_t a, size_t b, size_t *out);
bool qg_add_size(size_t a, size_t b, size_t *out);

/* Test hook: the nth allocation from now (0 = the next) fails once; -1 disarms.  qg_fault_fired()
 * tells whether it has.  In builds without -Dfaults=true these do nothing and report false / 0. */
void qg_fault_arm(int64_t nth);
bool qg_fault_fired(void);
int64_t qg_live_blocks(void); /* blocks allocated and not freed, big ones included */

#endif
