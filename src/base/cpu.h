/* What this processor can do, as facts (CPUID, XCR0, HWCAP, the kernel's AMX permission). */
#ifndef QG_BASE_CPU_H
#define QG_BASE_CPU_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

enum {
    QG_CPU_AVX2 = 1u << 0,   /* AVX2, FMA, F16C, BMI2, and the OS saves ymm */
    QG_CPU_AVX512 = 1u << 1, /* F, BW, DQ, VL, and the OS saves zmm */
    QG_CPU_AVX512_BF16 = 1u << 2,
    QG_CPU_AVX512_VNNI = 1u << 3,
    QG_CPU_AMX_BF16 = 1u << 4, /* with the kernel's permission for tile data */
    QG_CPU_AMX_INT8 = 1u << 5,
    QG_CPU_NEON = 1u << 8,
    QG_CPU_ARM_DOTPROD = 1u << 9,
    QG_CPU_ARM_I8MM = 1u << 10,
    QG_CPU_ARM_BF16 = 1u << 11,
};

/* Features present, whatever mask anyone set.  Asks the kernel for AMX tile permission (once per
 * process is enough, repeating is harmless). */
uint32_t qg_cpu_detect(void);

/* Names -> mask for --cpu and QGUARD_CPU: a comma list of the highest features to keep, each with
 * all that it builds on ("avx2", "avx512,avx512_vnni", "ref" for none, "all").  Unknown:
 * QG_ERR_ARG. */
qg_status qg_cpu_parse(const char *list, uint32_t *mask, qg_err *err);

/* Space-separated names of the bits in features; "ref" when none.  Cut to fit out [n], n >= 1. */
void qg_cpu_names(uint32_t features, char *out, size_t n);

/* Processors this process may run on (affinity and cgroup quota considered), at least 1. */
int qg_cpu_count(void);

#endif
