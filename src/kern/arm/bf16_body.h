/* The body of the bf16 rows on Arm, around tiles of up to 4 rows times 16 columns.  A file that
 * includes this defines multiply() afterwards. */
#ifndef QG_KERN_ARM_BF16_BODY_H
#define QG_KERN_ARM_BF16_BODY_H

#include "kern/panel.h"

#include <arm_neon.h>
#include <string.h>

enum { ROWS = 4, COLS = 16, VECS = COLS / 4, UNIT_BYTES = QG_NR * 4 };

/* y [rows][16] = x [rows] prepared rows times 16 columns of a panel from w on.  pairs is a multiple
 * of 16. */
static inline __attribute__((always_inline)) void multiply(float *y, const uint8_t *x,
                                                           size_t x_stride, const uint8_t *w,
                                                           int64_t pairs, const int rows);

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

static void prep(void *xp, const float *x, int64_t ldx, int64_t m, int64_t k, int64_t k0,
                 int64_t k1)
{
    for (int64_t i = 0; i < m; i++) {
        qg_bf16 *row = (qg_bf16 *)(void *)((uint8_t *)xp + (size_t)i * qg_x_bf16_bytes(k));
        for (int64_t j = k0; j < k1; j++)
            row[j] = qg_f32_to_bf16(x[i * ldx + j - k0]);
        memset(row + k1, 0, (size_t)(qg_k_pad(k1) - k1) * sizeof *row);
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

#endif
