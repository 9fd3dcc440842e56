/* Matrix product with BFMMLA: 2 rows, 2 columns and 4 steps of k an instruction, on the layout that
 * VDPBF16PS takes.  Two pairs of two columns side by side are such 4 steps.  A row without a
 * partner is computed twice: its bits are those it has beside any other. */
#include "base/cpu.h"
#include "kern/arm/bf16_body.h"
#include "kern/arm/neon_rows.h"

/* Rows r and r + 1 (the last row alone stands for both), 4 steps from byte `at` on. */
static inline bfloat16x8_t two_rows(const uint8_t *x, size_t x_stride, int r, int64_t at, int rows)
{
    const uint8_t *one = x + (size_t)r * x_stride, *two = r + 1 < rows ? one + x_stride : one;
    return vreinterpretq_bf16_u8(vcombine_u8(vld1_u8(one + at), vld1_u8(two + at)));
}

static inline __attribute__((always_inline)) void multiply(float *y, const uint8_t *x,
                                                           size_t x_stride, const uint8_t *w,
                                                           int64_t pairs, const int rows)
{
    float32x4_t sum[ROWS / 2][2 * VECS]; /* row 0 and row 1 of two columns */
    const int twos = (rows + 1) / 2;
#pragma GCC unroll 2
    for (int p = 0; p < twos; p++)
#pragma GCC unroll 8
        for (int c = 0; c < 2 * VECS; c++)
            sum[p][c] = vdupq_n_f32(0);
    for (int64_t i = 0; i < pairs; i += 2, w += 2 * UNIT_BYTES) {
        bfloat16x8_t a[ROWS / 2];
#pragma GCC unroll 2
        for (int p = 0; p < twos; p++)
            a[p] = two_rows(x, x_stride, 2 * p, i * 4, rows);
#pragma GCC unroll 4
        for (int c = 0; c < VECS; c++) {
            const uint32x4_t first = vreinterpretq_u32_u8(vld1q_u8(w + 16 * c));
            const uint32x4_t second = vreinterpretq_u32_u8(vld1q_u8(w + UNIT_BYTES + 16 * c));
            const bfloat16x8_t low = vreinterpretq_bf16_u32(vzip1q_u32(first, second));
            const bfloat16x8_t high = vreinterpretq_bf16_u32(vzip2q_u32(first, second));
#pragma GCC unroll 2
            for (int p = 0; p < twos; p++) {
                sum[p][2 * c] = vbfmmlaq_f32(sum[p][2 * c], a[p], low);
                sum[p][2 * c + 1] = vbfmmlaq_f32(sum[p][2 * c + 1], a[p], high);
            }
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < VECS; c++) {
            const float32x4_t p = sum[r / 2][2 * c], q = sum[r / 2][2 * c + 1];
            vst1q_f32(y + r * COLS + 4 * c, r % 2 ? vcombine_f32(vget_high_f32(p), vget_high_f32(q))
                                                  : vcombine_f32(vget_low_f32(p), vget_low_f32(q)));
        }
}

const qg_gemm qg_gemm_bf16_bfmmla = {
    .name = "bf16_bfmmla",
    .need = QG_CPU_NEON | QG_CPU_ARM_BF16,
    .format = QG_W_BF16,
    .nr = QG_NR,
    .packed_bytes = qg_panel_bf16_bytes,
    .pack = qg_panel_bf16_pack,
    .unpack_row = qg_panel_bf16_row,
    .x_bytes = qg_x_bf16_bytes,
    .prep = prep,
    .run = run,
};
