#define _GNU_SOURCE
#include "base/mem.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifdef QG_FAULTS
/* The only file-scope state of the library, and only in test builds. */
static _Atomic int64_t fault_countdown = -1;
static _Atomic bool fault_hit;
static _Atomic int64_t live;

static bool fault_now(void)
{
    if (atomic_load(&fault_countdown) < 0)
        return false;
    if (atomic_fetch_sub(&fault_countdown, 1) != 0)
        return false;
    atomic_store(&fault_hit, true);
    return true;
}

static void *counted(void *p)
{
    if (p)
        atomic_fetch_add(&live, 1);
    return p;
}

static void uncount(void)
{
    atomic_fetch_sub(&live, 1);
}

void qg_fault_arm(int64_t nth)
{
    atomic_store(&fault_hit, false);
    atomic_store(&fault_countdown, nth);
}

bool qg_fault_fired(void)
{
    return atomic_load(&fault_hit);
}

int64_t qg_live_blocks(void)
{
    return atomic_load(&live);
}
#else
static inline bool fault_now(void)
{
    return false;
}

static inline void *counted(void *p)
{
    return p;
}

static inline void uncount(void)
{
}

void qg_fault_arm(int64_t nth)
{
    (void)nth;
}

bool qg_fault_fired(void)
{
    return false;
}

int64_t qg_live_blocks(void)
{
    return 0;
}
#endif

void *qg_malloc(size_t bytes)
{
    return fault_now() ? NULL : counted(malloc(bytes ? bytes : 1));
}

void *qg_calloc(size_t n, size_t size)
{
    return fault_now() ? NULL : counted(calloc(n ? n : 1, size ? size : 1));
}

void *qg_realloc(void *p, size_t bytes)
{
    if (!p)
        return qg_malloc(bytes);
    return fault_now() ? NULL : realloc(p, bytes ? bytes : 1);
}

void *qg_realloc_array(void *p, size_t n, size_t size)
{
    size_t bytes;
    return qg_mul_size(n, size, &bytes) ? qg_realloc(p, bytes) : NULL;
}

void qg_mfree(void *p)
{
    if (p)
        uncount();
    free(p);
}

char *qg_memdup0(const void *p, size_t n)
{
    char *copy = n == SIZE_MAX ? NULL : qg_malloc(n + 1);
    if (!copy)
        return NULL;
    if (n)
        memcpy(copy, p, n);
    copy[n] = 0;
    return copy;
}

void *qg_big_alloc(size_t bytes)
{
    if (fault_now())
        return NULL;
    void *p =
        mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    madvise(p, bytes, MADV_HUGEPAGE);
    return counted(p);
}

void qg_big_free(void *p, size_t bytes)
{
    if (!p)
        return;
    uncount();
    munmap(p, bytes ? bytes : 1);
}

void qg_big_touch(void *p, size_t bytes)
{
    enum { PAGE = 4096 }; /* or more: then some writes are for nothing */
    volatile uint8_t *at = p;
    for (size_t i = 0; i < bytes; i += PAGE)
        at[i] = 0;
}

void *qg_aligned_alloc(size_t align, size_t bytes)
{
    void *p = NULL;
    if (fault_now() || posix_memalign(&p, align, bytes ? bytes : 1))
        return NULL;
    return counted(p);
}

bool qg_mul_size(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_mul_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

bool qg_add_size(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_add_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}
