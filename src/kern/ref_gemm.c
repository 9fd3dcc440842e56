/* Matrix product in plain C: runs everywhere, and what the others are compared with.
 * Each sum runs over k rising in float32, multiplication and addition rounded apart. */
#include "kern/panel.h"
#include "kern/rows.h"

#include <string.h>

static void run_f32(float *y, int64_t ldy, const void *xp, const void *wp, int64_t m, int64_t n,
                    int64_t k, int64_t p0, int64_t p1)
{
    for (int64_t p = p0; p < p1; p++)
        for (int64_t i = 0; i < m; i++) {
            const float *x = (const float *)((const uint8_t *)xp + (size_t)i * qg_x_f32_bytes(k));
            const float *w = (const float *)wp + p * qg_panel_f32(k);
            int64_t cols = n - p * QG_NR < QG_NR ? n - p * QG_NR : QG_NR;
            float sum[QG_NR] = {0};
            for (int64_t j = 0; j < k; j++, w += QG_NR)
                for (int c = 0; c < QG_NR; c++)
                    sum[c] += x[j] * w[c];
            memcpy(y + i * ldy + p * QG_NR, sum, (size_t)cols * sizeof *sum);
        }
}

static void run_bf16(float *y, int64_t ldy, const void *xp, const void *wp, int64_t m, int64_t n,
                     int64_t k, int64_t p0, int64_t p1)
{
    for (int64_t p = p0; p < p1; p++)
        for (int64_t i = 0; i < m; i++) {
            const float *x = (const float *)((const uint8_t *)xp + (size_t)i * qg_x_f32_bytes(k));
            const qg_bf16 *w = (const qg_bf16 *)wp + p * qg_panel_bf16(k);
            int64_t cols = n - p * QG_NR < QG_NR ? n - p * QG_NR : QG_NR;
            float sum[QG_NR] = {0};
            for (int64_t j = 0; j < k; j += 2, w += 2 * QG_NR)
                for (int c = 0; c < QG_NR; c++) {
                    sum[c] += x[j] * qg_bf16_to_f32(w[2 * c]);
                    sum[c] += x[j + 1] * qg_bf16_to_f32(w[2 * c + 1]);
                }
            memcpy(y + i * ldy + p * QG_NR, sum, (size_t)cols * sizeof *sum);
        }
}

const qg_gemm qg_gemm_f32_ref = {
    .name = "f32_ref",
    .format = QG_W_F32,
    .nr = QG_NR,
    .packed_bytes = qg_panel_f32_bytes,
    .pack = qg_panel_f32_pack,
    .unpack_row = qg_panel_f32_row,
    .x_bytes = qg_x_f32_bytes,
    .prep = qg_x_f32_prep,
    .run = run_f32,
};

const qg_gemm qg_gemm_bf16_ref = {
    .name = "bf16_ref",
    .format = QG_W_BF16,
    .nr = QG_NR,
    .packed_bytes = qg_panel_bf16_bytes,
    .pack = qg_panel_bf16_pack,
    .unpack_row = qg_panel_bf16_row,
    .x_bytes = qg_x_f32_bytes,
    .prep = qg_x_rounded_prep,
    .run = run_bf16,
};
