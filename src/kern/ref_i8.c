/* Products of 8-bit activations in plain C: what the others must equal bit for bit. */
#include "kern/quant4.h"
#include "kern/rows.h"

#include <math.h>
#include <string.h>

/* sum [32] += one group of one row. */
static void add_group(float *sum, const int8_t *x, const uint8_t *group, float scale)
{
    int32_t dot[QG_NR] = {0};
    qg_bf16 sw[QG_NR];
    memcpy(sw, group, sizeof sw);
    const uint8_t *w = group + QG_SW_BYTES;
    for (int q = 0; q < QG_QUADS; q++, x += 4, w += QG_QUAD_BYTES)
        for (int c = 0; c < QG_NR; c++)
            for (int j = 0; j < 4; j++)
                dot[c] += x[j] * (w[c * 4 + j] - 128);
    for (int c = 0; c < QG_NR; c++)
        sum[c] = fmaf((float)dot[c] * qg_bf16_to_f32(sw[c]), scale, sum[c]);
}

static void run(float *y, int64_t ldy, const void *xp, const void *wp, int64_t m, int64_t n,
                int64_t k, int64_t p0, int64_t p1)
{
    const int64_t groups = qg_groups(k);
    for (int64_t p = p0; p < p1; p++)
        for (int64_t i = 0; i < m; i++) {
            const int8_t *x = (const int8_t *)xp + (size_t)i * qg_x_i8_bytes(k);
            const uint8_t *w = (const uint8_t *)wp + p * groups * QG_GROUP_BYTES;
            const int64_t cols = n - p * QG_NR < QG_NR ? n - p * QG_NR : QG_NR;
            float sum[QG_NR] = {0};
            for (int64_t g = 0; g < groups; g++)
                add_group(sum, x + g * QG_GROUP, w + g * QG_GROUP_BYTES,
                          qg_xgroups(x, groups)[g].scale);
            memcpy(y + i * ldy + p * QG_NR, sum, (size_t)cols * sizeof *sum);
        }
}

const qg_gemm qg_gemm_i8_ref = {
    .name = "i8_ref",
    .format = QG_W_I8,
    .nr = QG_NR,
    .packed_bytes = qg_panel_i8_bytes,
    .pack = qg_panel_i8_pack,
    .unpack_row = qg_panel_i8_row,
    .x_bytes = qg_x_i8_bytes,
    .prep = qg_x_i8_prep,
    .run = run,
};

static void run_i4(float *y, int64_t ldy, const void *xp, const void *wp, int64_t m, int64_t n,
                   int64_t k, int64_t p0, int64_t p1)
{
    const int64_t groups = qg_groups(k);
    for (int64_t p = p0; p < p1; p++)
        for (int64_t i = 0; i < m; i++) {
            const int8_t *x = (const int8_t *)xp + (size_t)i * qg_x_i8_bytes(k);
            const uint8_t *w = (const uint8_t *)wp + p * groups * QG_I4_GROUP_BYTES;
            const int64_t cols = n - p * QG_NR < QG_NR ? n - p * QG_NR : QG_NR;
            float sum[QG_NR] = {0};
            for (int64_t g = 0; g < groups; g++) {
                uint8_t group[QG_GROUP_BYTES];
                qg_i4_unpack(group, w + g * QG_I4_GROUP_BYTES);
                add_group(sum, x + g * QG_GROUP, group, qg_xgroups(x, groups)[g].scale);
            }
            memcpy(y + i * ldy + p * QG_NR, sum, (size_t)cols * sizeof *sum);
        }
}

const qg_gemm qg_gemm_i4_ref = {
    .name = "i4_ref",
    .format = QG_W_I4,
    .nr = QG_NR,
    .packed_bytes = qg_panel_i4_bytes,
    .pack = qg_panel_i4_pack,
    .unpack_row = qg_panel_i4_row,
    .x_bytes = qg_x_i8_bytes,
    .prep = qg_x_i8_prep,
    .run = run_i4,
};
