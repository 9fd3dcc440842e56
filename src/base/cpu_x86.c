/* Detection on x86-64: CPUID says what the processor can do, XCR0 what the system saves at a
 * context switch, and for AMX the kernel must also be asked. */
#define _GNU_SOURCE
#include "base/cpu.h"

#include <cpuid.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    XCR0_YMM = 0x6,     /* xmm, ymm */
    XCR0_ZMM = 0xe6,    /* and opmask, zmm0-15 upper halves, zmm16-31 */
    XCR0_TILE = 0x60000 /* tile configuration, tile data */
};

enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_TILEDATA = 18 };

typedef struct cpuid_regs {
    unsigned a, b, c, d;
} cpuid_regs;

static cpuid_regs cpuid(unsigned leaf, unsigned sub)
{
    cpuid_regs r = {0};
    __get_cpuid_count(leaf, sub, &r.a, &r.b, &r.c, &r.d);
    return r;
}

static bool bits(uint64_t value, uint64_t mask)
{
    return (value & mask) == mask;
}

static uint64_t xcr0(void)
{
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

static bool tile_permission(void)
{
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_TILEDATA) == 0;
}

uint32_t qg_cpu_detect(void)
{
    const cpuid_regs one = cpuid(1, 0), seven = cpuid(7, 0), seven1 = cpuid(7, 1);
    uint32_t f = 0;

    if (!bits(one.c, 1u << 27)) /* OSXSAVE: xgetbv may be used */
        return 0;
    const uint64_t saved = xcr0();
    /* FMA, AVX, F16C; AVX2, BMI2 */
    if (!bits(saved, XCR0_YMM) || !bits(one.c, 1u << 12 | 1u << 28 | 1u << 29) ||
        !bits(seven.b, 1u << 5 | 1u << 8))
        return 0;
    f |= QG_CPU_AVX2;
    /* F, DQ, BW, VL */
    if (!bits(saved, XCR0_ZMM) || !bits(seven.b, 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31))
        return f;
    f |= QG_CPU_AVX512;
    if (bits(seven1.a, 1u << 5))
        f |= QG_CPU_AVX512_BF16;
    if (bits(seven.c, 1u << 11))
        f |= QG_CPU_AVX512_VNNI;
    if (bits(saved, XCR0_TILE) && bits(seven.d, 1u << 24) && tile_permission()) {
        if (bits(seven.d, 1u << 22))
            f |= QG_CPU_AMX_BF16;
        if (bits(seven.d, 1u << 25))
            f |= QG_CPU_AMX_INT8;
    }
    return f;
}
