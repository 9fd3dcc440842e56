/* Monotonic time. */
#ifndef QG_BASE_CLOCK_H
#define QG_BASE_CLOCK_H

#include <stdint.h>

/* Microseconds since an arbitrary start, never going back (CLOCK_MONOTONIC).  Any thread. */
int64_t qg_clock_us(void);

#endif
