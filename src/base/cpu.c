/* Names of processor features and the count of processors: the part that is the same everywhere.
 * Detection lives in cpu_x86.c and cpu_arm.c, chosen by the build. */
#define _GNU_SOURCE
#include "base/cpu.h"

#include "base/cgroup.h"
#include "base/slice.h"

#include <sched.h>
#include <stdio.h>

/* Rising order; with = the feature and all that it builds on. */
static const struct {
    const char *name;
    uint32_t bit, with;
} features_known[] = {
    {"avx2", QG_CPU_AVX2, QG_CPU_AVX2},
    {"avx512", QG_CPU_AVX512, QG_CPU_AVX512 | QG_CPU_AVX2},
    {"avx512_bf16", QG_CPU_AVX512_BF16, QG_CPU_AVX512_BF16 | QG_CPU_AVX512 | QG_CPU_AVX2},
    {"avx512_vnni", QG_CPU_AVX512_VNNI, QG_CPU_AVX512_VNNI | QG_CPU_AVX512 | QG_CPU_AVX2},
    {"amx_bf16", QG_CPU_AMX_BF16,
     QG_CPU_AMX_BF16 | QG_CPU_AVX512_BF16 | QG_CPU_AVX512_VNNI | QG_CPU_AVX512 | QG_CPU_AVX2},
    {"amx_int8", QG_CPU_AMX_INT8,
     QG_CPU_AMX_INT8 | QG_CPU_AVX512_BF16 | QG_CPU_AVX512_VNNI | QG_CPU_AVX512 | QG_CPU_AVX2},
    {"neon", QG_CPU_NEON, QG_CPU_NEON},
    {"dotprod", QG_CPU_ARM_DOTPROD, QG_CPU_ARM_DOTPROD | QG_CPU_NEON},
    {"i8mm", QG_CPU_ARM_I8MM, QG_CPU_ARM_I8MM | QG_CPU_ARM_DOTPROD | QG_CPU_NEON},
    {"bf16", QG_CPU_ARM_BF16, QG_CPU_ARM_BF16 | QG_CPU_NEON},
    {"ref", 0, 0},
    {"all", 0, UINT32_MAX},
};

static bool add_feature(qg_slice name, uint32_t *mask)
{
    for (size_t i = 0; i < QG_COUNT(features_known); i++)
        if (qg_slice_is(name, features_known[i].name)) {
            *mask |= features_known[i].with;
            return true;
        }
    return false;
}

qg_status qg_cpu_parse(const char *list, uint32_t *mask, qg_err *err)
{
    uint32_t got = 0;
    for (const char *p = list;; p++) {
        const char *end = strchr(p, ',');
        qg_slice name = qg_slice_of(p, end ? (size_t)(end - p) : strlen(p));
        if (!add_feature(name, &got))
            return qg_fail(err, QG_ERR_ARG,
                           "unknown processor feature \"%.*s\" (known: ref, avx2, avx512, "
                           "avx512_bf16, avx512_vnni, amx_bf16, amx_int8, neon, dotprod, i8mm, "
                           "bf16, all)",
                           (int)(name.n < 64 ? name.n : 64), name.p);
        if (!end)
            break;
        p = end;
    }
    *mask = got;
    return QG_OK;
}

void qg_cpu_names(uint32_t features, char *out, size_t n)
{
    size_t used = 0;
    out[0] = 0;
    for (size_t i = 0; i < QG_COUNT(features_known); i++)
        if (features & features_known[i].bit) {
            int w = snprintf(out + used, n - used, "%s%s", used ? " " : "", features_known[i].name);
            if (w < 0 || (size_t)w >= n - used)
                return;
            used += (size_t)w;
        }
    if (!used)
        snprintf(out, n, "ref");
}

int qg_cpu_count(void)
{
    enum { MAX_CPUS = 16384 };
    uint64_t set[MAX_CPUS / 64] = {0};
    int n = 0;
    if (sched_getaffinity(0, sizeof set, (cpu_set_t *)set) == 0)
        for (size_t i = 0; i < QG_COUNT(set); i++)
            n += __builtin_popcountll(set[i]);
    int quota = qg_cgroup_cpus("/proc/self/cgroup", "/sys/fs/cgroup");
    if (quota && quota < n)
        n = quota;
    return n < 1 ? 1 : n;
}
