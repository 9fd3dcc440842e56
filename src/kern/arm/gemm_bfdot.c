/* Matrix product with BFDOT: 4 columns and a pair of k steps an instruction, on the layout that
 * VDPBF16PS takes.  Each sum runs over k rising. */
#include "base/cpu.h"
#include "kern/arm/bf16_body.h"
#include "kern/arm/neon_rows.h"

static inline __attribute__((always_inline)) void multiply(float *y, const uint8_t *x,
                                                           size_t x_stride, const uint8_t *w,
                                                           int64_t pairs, const int rows)
{
    float32x4_t sum[ROWS][VECS];
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < VECS; c++)
            sum[r][c] = vdupq_n_f32(0);
    for (int64_t i = 0; i < pairs; i++, w += UNIT_BYTES) {
        bfloat16x8_t b[VECS];
#pragma GCC unroll 4
        for (int c = 0; c < VECS; c++)
            b[c] = vreinterpretq_bf16_u8(vld1q_u8(w + 16 * c));
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            uint32_t pair;
            memcpy(&pair, x + (size_t)r * x_stride + i * 4, 4);
            const bfloat16x8_t a = vreinterpretq_bf16_u32(vdupq_n_u32(pair));
#pragma GCC unroll 4
            for (int c = 0; c < VECS; c++)
                sum[r][c] = vbfdotq_f32(sum[r][c], b[c], a);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < VECS; c++)
            vst1q_f32(y + r * COLS + 4 * c, sum[r][c]);
}

const qg_gemm qg_gemm_bf16_bfdot = {
    .name = "bf16_bfdot",
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
