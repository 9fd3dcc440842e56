/* The same products on tiles in software: what tests run where there is no AMX. */
#include "kern/rows.h"
#include "kern/x86/amx_gemm.h"
#include "kern/x86/gemm_rows.h"

static void prep_bf16(void *xp, const float *x, int64_t ldx, int64_t m, int64_t k, int64_t k0,
                      int64_t k1)
{
    for (int64_t i = 0; i < m; i++) {
        qg_bf16 *row = (qg_bf16 *)((uint8_t *)xp + (size_t)i * qg_x_bf16_bytes(k));
        for (int64_t j = k0; j < qg_k_pad(k1); j++)
            row[j] = j < k1 ? qg_f32_to_bf16(x[i * ldx + j - k0]) : 0;
    }
}

static void run_bf16(float *y, int64_t ldy, const void *xp, const void *wp, int64_t m, int64_t n,
                     int64_t k, int64_t p0, int64_t p1)
{
    qg_amx_soft tiles;
    amx_run_bf16(&tiles, y, ldy, xp, wp, m, n, k, p0, p1);
}

static void run_i8(float *y, int64_t ldy, const void *xp, const void *wp, int64_t m, int64_t n,
                   int64_t k, int64_t p0, int64_t p1)
{
    qg_amx_soft tiles;
    amx_run_i8(&tiles, y, ldy, xp, wp, m, n, k, p0, p1);
}

const qg_gemm qg_gemm_bf16_amx_emulated = {
    .name = "bf16_amx_emulated",
    .format = QG_W_BF16,
    .nr = QG_NR,
    .packed_bytes = qg_panel_bf16_bytes,
    .pack = qg_panel_bf16_pack,
    .unpack_row = qg_panel_bf16_row,
    .x_bytes = qg_x_bf16_bytes,
    .prep = prep_bf16,
    .run = run_bf16,
};

const qg_gemm qg_gemm_i8_amx_emulated = {
    .name = "i8_amx_emulated",
    .format = QG_W_I8,
    .nr = QG_NR,
    .packed_bytes = qg_panel_i8_bytes,
    .pack = qg_panel_i8_pack,
    .unpack_row = qg_panel_i8_row,
    .x_bytes = qg_x_i8_bytes,
    .prep = qg_x_i8_prep,
    .run = run_i8,
};
