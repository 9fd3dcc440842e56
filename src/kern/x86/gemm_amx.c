/* Matrix products on the tiles of the processor. */
#include "base/cpu.h"
#include "kern/rows.h"
#include "kern/x86/amx_gemm.h"
#include "kern/x86/gemm_rows.h"

static void run_bf16(float *y, int64_t ldy, const void *xp, const void *wp, int64_t m, int64_t n,
                     int64_t k, int64_t p0, int64_t p1)
{
    amx_run_bf16(NULL, y, ldy, xp, wp, m, n, k, p0, p1);
}

static void run_i8(float *y, int64_t ldy, const void *xp, const void *wp, int64_t m, int64_t n,
                   int64_t k, int64_t p0, int64_t p1)
{
    amx_run_i8(NULL, y, ldy, xp, wp, m, n, k, p0, p1);
}

const qg_gemm qg_gemm_bf16_amx = {
    .name = "bf16_amx",
    .need = QG_CPU_AVX512 | QG_CPU_AVX512_BF16 | QG_CPU_AMX_BF16,
    .format = QG_W_BF16,
    .nr = QG_NR,
    .packed_bytes = qg_panel_bf16_bytes,
    .pack = qg_panel_bf16_pack,
    .unpack_row = qg_panel_bf16_row,
    .x_bytes = qg_x_bf16_bytes,
    .prep = qg_x_bf16_prep_avx512bf16,
    .run = run_bf16,
};

const qg_gemm qg_gemm_i8_amx = {
    .name = "i8_amx",
    .need = QG_CPU_AVX512 | QG_CPU_AMX_INT8,
    .format = QG_W_I8,
    .nr = QG_NR,
    .packed_bytes = qg_panel_i8_bytes,
    .pack = qg_panel_i8_pack,
    .unpack_row = qg_panel_i8_row,
    .x_bytes = qg_x_i8_bytes,
    .prep = qg_x_i8_prep_avx512,
    .run = run_i8,
};
