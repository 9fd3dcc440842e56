/* Matrix product with BFDOT: 4 columns and a pair of k steps an instruction, on the layout that
 * VDPBF16PS takes.  Up to 4 rows times 16 columns; each sum runs over k rising. */
#include "base/cpu.h"
#include "kern/arm/neon_rows.h"
#include "kern/panel.h"

#include <arm_neon.h>
#include <string.h>

enum { ROWS = 4, COLS = 16, VECS = COLS / 4 };

/* y [rows][16] = x [rows] prepared rows times 16 columns of a panel from w on. */
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
    for (int64_t i = 0; i < pairs; i++, w += QG_NR * 4) {
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

static void some_rows(float *y, const uint8_t *x, size_t x_stride, const uint8_t *w, int64_t pairs,
                      int64_t rows)
{
    switch (rows) {
    case 1:
        multiply(y, x, x_stride, w, pairs, 1);
        break;
    case 2:
        multiply(y, x, x_stride, w, pairs, 2);
        break;
    case 3:
        multiply(y, x, x_stride, w, pairs, 3);
        break;
    default:
        multiply(y, x, x_stride, w, pairs, 4);
    }
}

static void prep(void *xp, const float *x, int64_t ldx, int64_t m, int64_t k)
{
    for (int64_t i = 0; i < m; i++) {
        qg_bf16 *row = (qg_bf16 *)(void *)((uint8_t *)xp + (size_t)i * qg_x_bf16_bytes(k));
        for (int64_t j = 0; j < k; j++)
            row[j] = qg_f32_to_bf16(x[i * ldx + j]);
        memset(row + k, 0, (size_t)(qg_k_pad(k) - k) * sizeof *row);
    }
}

static void run(float *y, int64_t ldy, const void *xp, const void *wp, int64_t m, int64_t n,
                int64_t k, int64_t p0, int64_t p1)
{
    const size_t x_stride = qg_x_bf16_bytes(k);
    const int64_t pairs = qg_k_pad(k) / 2;
    for (int64_t c = p0 * QG_NR; c < p1 * QG_NR && c < n; c += COLS) {
        const uint8_t *w = (const uint8_t *)wp + (c / QG_NR * pairs * QG_NR + c % QG_NR) * 4;
        const int64_t cols = n - c < COLS ? n - c : COLS;
        for (int64_t i = 0; i < m; i += ROWS) {
            const int64_t rows = m - i < ROWS ? m - i : ROWS;
            float tmp[ROWS * COLS];
            some_rows(tmp, (const uint8_t *)xp + (size_t)i * x_stride, x_stride, w, pairs, rows);
            for (int64_t r = 0; r < rows; r++)
                memcpy(y + (i + r) * ldy + c, tmp + r * COLS, (size_t)cols * sizeof *tmp);
        }
    }
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
