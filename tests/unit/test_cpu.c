#define _GNU_SOURCE
#include "unit.h"

#include "base/cgroup.h"
#include "base/cpu.h"
#include "kern/kern.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    AVX512 = QG_CPU_AVX2 | QG_CPU_AVX512,
    ZEN4 = AVX512 | QG_CPU_AVX512_BF16 | QG_CPU_AVX512_VNNI,
    SPR = ZEN4 | QG_CPU_AMX_BF16 | QG_CPU_AMX_INT8,
};

static void lists_become_masks(void **state)
{
    (void)state;
    static const struct {
        const char *list;
        uint32_t mask;
    } good[] = {
        {"ref", 0},
        {"all", UINT32_MAX},
        {"avx2", QG_CPU_AVX2},
        {"avx512", AVX512},
        {"avx512_bf16", AVX512 | QG_CPU_AVX512_BF16},
        {"avx512,avx512_vnni", AVX512 | QG_CPU_AVX512_VNNI},
        {"amx_bf16,amx_int8", SPR},
        {"i8mm", QG_CPU_NEON | QG_CPU_ARM_DOTPROD | QG_CPU_ARM_I8MM},
        {"ref,avx2", QG_CPU_AVX2},
    };
    static const char *const bad[] = {"", ",", "avx2,", ",avx2", "AVX2", "avx", "avx2 ", "avx22"};
    qg_err err;
    for (size_t i = 0; i < QG_COUNT(good); i++) {
        uint32_t mask = 7;
        assert_int_equal(qg_cpu_parse(good[i].list, &mask, &err), QG_OK);
        assert_int_equal(mask, good[i].mask);
    }
    for (size_t i = 0; i < QG_COUNT(bad); i++) {
        uint32_t mask = 7;
        assert_int_equal(qg_cpu_parse(bad[i], &mask, &err), QG_ERR_ARG);
        assert_int_equal(mask, 7);
        assert_non_null(strstr(err.msg, "unknown processor feature"));
    }
}

static void masks_become_names(void **state)
{
    (void)state;
    char out[200];
    qg_cpu_names(0, out, sizeof out);
    assert_string_equal(out, "ref");
    qg_cpu_names(ZEN4, out, sizeof out);
    assert_string_equal(out, "avx2 avx512 avx512_bf16 avx512_vnni");
    qg_cpu_names(ZEN4, out, 8);
    assert_string_equal(out, "avx2 av");
    qg_cpu_names(ZEN4, out, 1);
    assert_string_equal(out, "");
}

static void detection_is_consistent(void **state)
{
    (void)state;
    uint32_t f = qg_cpu_detect();
    assert_int_equal(f, qg_cpu_detect());
    if (f & (QG_CPU_AVX512_BF16 | QG_CPU_AVX512_VNNI))
        assert_true(f & QG_CPU_AVX512);
    if (f & QG_CPU_AVX512)
        assert_true(f & QG_CPU_AVX2);
    assert_true(qg_cpu_count() >= 1);
}

/* What every table promises whatever the machine: ref fits all, names are unique, and a row is
 * found by exactly the features it needs. */
static void tables_are_well_formed(void **state)
{
    (void)state;
    assert_string_equal(qg_gemm_pick(QG_W_BF16, 0)->name, "bf16_ref");
    assert_string_equal(qg_gemm_pick(QG_W_F32, 0)->name, "f32_ref");
    assert_string_equal(qg_attn_pick(QG_W_BF16, 0)->name, "bf16_ref");
    assert_string_equal(qg_attn_pick(QG_W_F32, 0)->name, "f32_ref");
    assert_string_equal(qg_attn_pick(QG_W_I8, 0)->name, "i8_ref");
    assert_string_equal(qg_vec_pick(0)->name, "ref");
    for (const qg_gemm *const *r = qg_gemm_rows(); *r; r++) {
        assert_ptr_equal(qg_gemm_pick((*r)->format, (*r)->need), *r);
        for (const qg_gemm *const *o = r + 1; *o; o++)
            assert_string_not_equal((*r)->name, (*o)->name);
    }
    for (const qg_attn *const *r = qg_attn_rows(); *r; r++)
        assert_ptr_equal(qg_attn_pick((*r)->kv_format, (*r)->need), *r);
    for (const qg_vec *const *r = qg_vec_rows(); *r; r++)
        assert_ptr_equal(qg_vec_pick((*r)->need), *r);
}

static void the_best_row_is_picked(void **state)
{
    (void)state;
    static const struct {
        const char *machine;
        uint32_t features;
        const char *bf16, *i8, *i4;
    } cases[] = {
        {"sapphire rapids", SPR, "bf16_amx", "i8_amx", "i4_avx512vnni"},
        {"without permission", SPR & ~(QG_CPU_AMX_BF16 | QG_CPU_AMX_INT8), "bf16_avx512bf16",
         "i8_avx512vnni", "i4_avx512vnni"},
        {"zen 4", ZEN4, "bf16_avx512bf16", "i8_avx512vnni", "i4_avx512vnni"},
        {"skylake-sp", AVX512, "bf16_avx512", "i8_avx2", "i4_avx2"},
        {"haswell", QG_CPU_AVX2, "bf16_avx2", "i8_avx2", "i4_avx2"},
        {"nothing", 0, "bf16_ref", "i8_ref", "i4_ref"},
    };
    if (strcmp(qg_gemm_pick(QG_W_BF16, UINT32_MAX)->name, "bf16_amx") != 0)
        skip(); /* another architecture's tables */
    for (size_t i = 0; i < QG_COUNT(cases); i++) {
        assert_string_equal(qg_gemm_pick(QG_W_BF16, cases[i].features)->name, cases[i].bf16);
        assert_string_equal(qg_gemm_pick(QG_W_I8, cases[i].features)->name, cases[i].i8);
        assert_string_equal(qg_gemm_pick(QG_W_I4, cases[i].features)->name, cases[i].i4);
    }
}

/* Emulated rows are for tests: in no table that is picked from. */
static void emulation_is_never_picked(void **state)
{
    (void)state;
    for (const qg_gemm *const *e = qg_gemm_emulated_rows(); *e; e++)
        for (const qg_gemm *const *r = qg_gemm_rows(); *r; r++)
            assert_string_not_equal((*e)->name, (*r)->name);
}

static void write_file(const char *dir, const char *name, const char *text)
{
    char path[300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void make_dir(const char *root, const char *name)
{
    char path[300];
    snprintf(path, sizeof path, "%s/%s", root, name);
    assert_int_equal(mkdir(path, 0700), 0);
}

/* A made-up mount with groups of both versions. */
static void quotas_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *list;
        int cpus;
    } cases[] = {
        {"0::/\n", 0},                          /* no cpu.max in the root */
        {"0::/a\n", 2},                         /* 150 ms of 100 ms: rounded up */
        {"0::/a/b\n", 1},                       /* the group's own is tighter */
        {"0::/a/gone\n", 2},                    /* not visible: its parent counts */
        {"0::/free\n", 0},                      /* "max" */
        {"0::/odd\n", 0},                       /* not numbers */
        {"3:cpuset:/\n1:cpu,cpuacct:/v1\n", 3}, /* version 1 */
        {"1:cpuacct:/v1\n", 0},                 /* another controller */
        {"4:cpu:/v1\n0::/a/b\n", 1},            /* both: the smaller */
        {"4:cpu:/none\n", 0},                   /* -1: no quota */
        {"rubbish\n::\n", 0},
    };
    char root[] = "/tmp/qg-cgroup-XXXXXX", list[300], cmd[300];
    assert_non_null(mkdtemp(root));
    const char *const dirs[] = {"a", "a/b", "free", "odd", "cpu", "cpu/v1", "cpu/none"};
    for (size_t i = 0; i < QG_COUNT(dirs); i++)
        make_dir(root, dirs[i]);
    write_file(root, "a/cpu.max", "150000 100000\n");
    write_file(root, "a/b/cpu.max", "50000 100000\n");
    write_file(root, "free/cpu.max", "max 100000\n");
    write_file(root, "odd/cpu.max", "many few\n");
    write_file(root, "cpu/v1/cpu.cfs_quota_us", "250000\n");
    write_file(root, "cpu/v1/cpu.cfs_period_us", "100000\n");
    write_file(root, "cpu/none/cpu.cfs_quota_us", "-1\n");
    write_file(root, "cpu/none/cpu.cfs_period_us", "100000\n");
    snprintf(list, sizeof list, "%s/list", root);
    for (size_t i = 0; i < QG_COUNT(cases); i++) {
        write_file(root, "list", cases[i].list);
        assert_int_equal(qg_cgroup_cpus(list, root), cases[i].cpus);
    }
    assert_int_equal(qg_cgroup_cpus("/does/not/exist", root), 0);
    snprintf(cmd, sizeof cmd, "rm -r '%s'", root);
    assert_int_equal(system(cmd), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_become_masks),      cmocka_unit_test(masks_become_names),
        cmocka_unit_test(detection_is_consistent), cmocka_unit_test(tables_are_well_formed),
        cmocka_unit_test(the_best_row_is_picked),  cmocka_unit_test(emulation_is_never_picked),
        cmocka_unit_test(quotas_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
