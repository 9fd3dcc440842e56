/* Products of 8-bit activations with 8-bit and 4-bit weights by SMMLA: 2 rows, 2 columns and 8
 * steps of k an instruction.  Two quads of two columns side by side are such 8 steps. */
#include "base/cpu.h"
#include "kern/arm/i8_body.h"
#include "kern/arm/neon_rows.h"

/* Rows r and r + 1 (the last row alone stands for both) of steps [k, k + 8). */
static inline int8x16_t two_rows(const tile *t, int r, int64_t k, int rows)
{
    return vcombine_s8(vld1_s8(t->x[r] + k), vld1_s8(t->x[r + 1 < rows ? r + 1 : r] + k));
}

static inline uint32x4_t signed_quads(const uint8_t *w)
{
    return vreinterpretq_u32_u8(veorq_u8(vld1q_u8(w), vdupq_n_u8(0x80)));
}

/* One group's exact sums. */
static inline __attribute__((always_inline)) void dots(int32x4_t dot[ROWS][VECS], const tile *t,
                                                       int64_t g, const int rows)
{
    const uint8_t *w = t->w + g * QG_GROUP_BYTES + QG_SW_BYTES + t->col * 4;
    const int pairs = (rows + 1) / 2;
    int32x4_t sum[ROWS / 2][2 * VECS]; /* row 0 and row 1 of two columns */
#pragma GCC unroll 2
    for (int p = 0; p < pairs; p++)
#pragma GCC unroll 8
        for (int c = 0; c < 2 * VECS; c++)
            sum[p][c] = vdupq_n_s32(0);
    for (int q = 0; q < QG_QUADS; q += 2, w += 2 * QG_QUAD_BYTES) {
        int8x16_t x[ROWS / 2];
#pragma GCC unroll 2
        for (int p = 0; p < pairs; p++)
            x[p] = two_rows(t, 2 * p, g * QG_GROUP + q * 4, rows);
#pragma GCC unroll 4
        for (int c = 0; c < VECS; c++) {
            const uint32x4_t first = signed_quads(w + 16 * c);
            const uint32x4_t second = signed_quads(w + QG_QUAD_BYTES + 16 * c);
            const int8x16_t low = vreinterpretq_s8_u32(vzip1q_u32(first, second));
            const int8x16_t high = vreinterpretq_s8_u32(vzip2q_u32(first, second));
#pragma GCC unroll 2
            for (int p = 0; p < pairs; p++) {
                sum[p][2 * c] = vmmlaq_s32(sum[p][2 * c], x[p], low);
                sum[p][2 * c + 1] = vmmlaq_s32(sum[p][2 * c + 1], x[p], high);
            }
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < VECS; c++) {
            const int32x4_t a = sum[r / 2][2 * c], b = sum[r / 2][2 * c + 1];
            dot[r][c] = r % 2 ? vcombine_s32(vget_high_s32(a), vget_high_s32(b))
                              : vcombine_s32(vget_low_s32(a), vget_low_s32(b));
        }
}

const qg_gemm qg_gemm_i8_i8mm = {
    .name = "i8_i8mm",
    .need = QG_CPU_NEON | QG_CPU_ARM_DOTPROD | QG_CPU_ARM_I8MM,
    .format = QG_W_I8,
    .nr = QG_NR,
    .packed_bytes = qg_panel_i8_bytes,
    .pack = qg_panel_i8_pack,
    .unpack_row = qg_panel_i8_row,
    .x_bytes = qg_x_i8_bytes,
    .prep = qg_x_i8_prep,
    .run = run,
};

const qg_gemm qg_gemm_i4_i8mm = {
    .name = "i4_i8mm",
    .need = QG_CPU_NEON | QG_CPU_ARM_DOTPROD | QG_CPU_ARM_I8MM,
    .format = QG_W_I4,
    .nr = QG_NR,
    .packed_bytes = qg_panel_i4_bytes,
    .pack = qg_panel_i4_pack,
    .unpack_row = qg_panel_i4_row,
    .x_bytes = qg_x_i8_bytes,
    .prep = qg_x_i8_prep,
    .run = run_i4,
};
