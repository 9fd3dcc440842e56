#define _GNU_SOURCE
#include "kerncheck.h"

#include "base/cpu.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

uint32_t rng_next(rng *r)
{
    r->s = r->s * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(r->s >> 32);
}

int32_t rng_below(rng *r, int32_t n)
{
    return (int32_t)((uint64_t)rng_next(r) * (uint64_t)n >> 32);
}

float rng_float(rng *r)
{
    const float v = (float)(int32_t)rng_next(r) * 0x1p-30f;
    switch (rng_next(r) >> 26) {
    case 0:
        return 0;
    case 1:
        return v * 0x1p-10f;
    case 2:
        return v * 0x1p+6f;
    default:
        return v;
    }
}

void rng_fill(rng *r, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = rng_float(r);
}

static size_t pages(size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (bytes + page - 1) / page * page;
}

void *guard_alloc(size_t bytes)
{
    const size_t n = pages(bytes), page = pages(1);
    uint8_t *p = mmap(NULL, n + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || mprotect(p + n, page, PROT_NONE) != 0)
        fail_msg("out of memory for %zu bytes", bytes);
    memset(p, 0x7f, n);
    return p + (n - bytes);
}

void guard_free(void *p, size_t bytes)
{
    const size_t n = pages(bytes);
    munmap((uint8_t *)p - (n - bytes), n + pages(1));
}

void assert_bits(const float *a, const float *b, size_t n, const char *what)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0 && !(isnan(a[i]) && isnan(b[i])))
            fail_msg("%s: element %zu is %a, was %a", what, i, (double)a[i], (double)b[i]);
}

void need_features(const char *row, uint32_t need)
{
    if ((need & qg_cpu_detect()) == need)
        return;
    char names[200];
    qg_cpu_names(need & ~qg_cpu_detect(), names, sizeof names);
    printf("NOT RUN on this machine: %s (needs %s)\n", row, names);
    skip();
}
