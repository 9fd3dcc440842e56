/* Checksum of bytes that were ours once: finds damage, not malice. */
#ifndef QG_BASE_SUM_H
#define QG_BASE_SUM_H

#include <stddef.h>
#include <stdint.h>

/* 64-bit checksum of p [n], begun with seed; any alignment; the same on every machine of one byte
 * order.  A changed bit changes the sum; two different texts share one with a chance of 2^-64.
 * About as fast as memory (25 GB/s a core). */
uint64_t qg_sum64(uint64_t seed, const void *p, size_t n);

#endif
