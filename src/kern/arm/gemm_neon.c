/* Matrix products with NEON and fused multiply-add: float weights, and bf16 weights taken apart
 * into floats (a bf16 is the upper half of a float).  Up to 4 rows times 16 columns: 16 sums, 8
 * vectors of weights and 4 of activations fill the 32 registers.  Each sum runs over k rising. */
#include "base/cpu.h"
#include "kern/arm/neon_rows.h"
#include "kern/panel.h"

#include <arm_neon.h>
#include <stdbool.h>
#include <string.h>

enum { ROWS = 4, COLS = 16, VECS = COLS / 4 };

/* x [rows] prepared floats x_stride apart, w: the tile's first column in its panel. */
typedef struct tile {
    float *y;
    int64_t ldy;
    const float *x;
    int64_t x_stride; /* floats */
    const uint8_t *w;
    int64_t k; /* steps as stored */
} tile;

static inline __attribute__((always_inline)) void f32_sums(float32x4_t sum[ROWS][VECS],
                                                           const tile *t, const int rows)
{
    const float *w = (const float *)(const void *)t->w;
    for (int64_t i = 0; i < t->k; i++, w += QG_NR) {
        float32x4_t b[VECS];
#pragma GCC unroll 4
        for (int c = 0; c < VECS; c++)
            b[c] = vld1q_f32(w + 4 * c);
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
            for (int c = 0; c < VECS; c++)
                sum[r][c] = vfmaq_n_f32(sum[r][c], b[c], t->x[r * t->x_stride + i]);
    }
}

static inline __attribute__((always_inline)) void bf16_sums(float32x4_t sum[ROWS][VECS],
                                                            const tile *t, const int rows)
{
    const uint32_t *w = (const uint32_t *)(const void *)t->w;
    for (int64_t i = 0; i < t->k; i += 2, w += QG_NR) {
        float32x4_t even[VECS], odd[VECS];
#pragma GCC unroll 4
        for (int c = 0; c < VECS; c++) {
            const uint32x4_t pair = vld1q_u32(w + 4 * c);
            even[c] = vreinterpretq_f32_u32(vshlq_n_u32(pair, 16));
            odd[c] = vreinterpretq_f32_u32(vandq_u32(pair, vdupq_n_u32(0xffff0000u)));
        }
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            const float *x = t->x + r * t->x_stride + i;
#pragma GCC unroll 4
            for (int c = 0; c < VECS; c++)
                sum[r][c] = vfmaq_n_f32(sum[r][c], even[c], x[0]);
#pragma GCC unroll 4
            for (int c = 0; c < VECS; c++)
                sum[r][c] = vfmaq_n_f32(sum[r][c], odd[c], x[1]);
        }
    }
}

static inline __attribute__((always_inline)) void multiply(const tile *t, const int rows,
                                                           const bool bf16)
{
    float32x4_t sum[ROWS][VECS];
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < VECS; c++)
            sum[r][c] = vdupq_n_f32(0);
    if (bf16)
        bf16_sums(sum, t, rows);
    else
        f32_sums(sum, t, rows);
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < VECS; c++)
            vst1q_f32(t->y + r * t->ldy + 4 * c, sum[r][c]);
}

static inline __attribute__((always_inline)) void some_rows(const tile *t, int64_t rows,
                                                            const bool bf16)
{
    switch (rows) {
    case 1:
        multiply(t, 1, bf16);
        break;
    case 2:
        multiply(t, 2, bf16);
        break;
    case 3:
        multiply(t, 3, bf16);
        break;
    default:
        multiply(t, 4, bf16);
    }
}

/* The first cols < 16 columns of a tile. */
static inline __attribute__((always_inline)) void narrow(const tile *t, int64_t rows, int64_t cols,
                                                         const bool bf16)
{
    float tmp[ROWS * COLS];
    tile whole = *t;
    whole.y = tmp;
    whole.ldy = COLS;
    some_rows(&whole, rows, bf16);
    for (int64_t r = 0; r < rows; r++)
        memcpy(t->y + r * t->ldy, tmp + r * COLS, (size_t)cols * sizeof *tmp);
}

static inline __attribute__((always_inline)) void product(float *y, int64_t ldy, const float *x,
                                                          const uint8_t *w, int64_t m, int64_t n,
                                                          int64_t k, int64_t p0, int64_t p1,
                                                          const bool bf16)
{
    const int64_t x_stride = (int64_t)(qg_x_f32_bytes(k) / sizeof *x);
    const int64_t unit = bf16 ? 2 : 1, steps = bf16 ? qg_k_pad(k) : k;
    for (int64_t c = p0 * QG_NR; c < p1 * QG_NR && c < n; c += COLS) {
        tile t = {.ldy = ldy, .x_stride = x_stride, .k = steps};
        t.w = w + (c / QG_NR * (steps / unit) * QG_NR + c % QG_NR) * 4;
        for (int64_t r = 0; r < m; r += ROWS) {
            const int64_t rows = m - r < ROWS ? m - r : ROWS;
            t.x = x + r * x_stride;
            t.y = y + r * ldy + c;
            if (n - c < COLS)
                narrow(&t, rows, n - c, bf16);
            else
                some_rows(&t, rows, bf16);
        }
    }
}

static void run_f32(float *y, int64_t ldy, const void *xp, const void *wp, int64_t m, int64_t n,
                    int64_t k, int64_t p0, int64_t p1)
{
    product(y, ldy, xp, wp, m, n, k, p0, p1, false);
}

static void run_bf16(float *y, int64_t ldy, const void *xp, const void *wp, int64_t m, int64_t n,
                     int64_t k, int64_t p0, int64_t p1)
{
    product(y, ldy, xp, wp, m, n, k, p0, p1, true);
}

const qg_gemm qg_gemm_f32_neon = {
    .name = "f32_neon",
    .need = QG_CPU_NEON,
    .format = QG_W_F32,
    .nr = QG_NR,
    .packed_bytes = qg_panel_f32_bytes,
    .pack = qg_panel_f32_pack,
    .unpack_row = qg_panel_f32_row,
    .x_bytes = qg_x_f32_bytes,
    .prep = qg_x_f32_prep,
    .run = run_f32,
};

const qg_gemm qg_gemm_bf16_neon = {
    .name = "bf16_neon",
    .need = QG_CPU_NEON,
    .format = QG_W_BF16,
    .nr = QG_NR,
    .packed_bytes = qg_panel_bf16_bytes,
    .pack = qg_panel_bf16_pack,
    .unpack_row = qg_panel_bf16_row,
    .x_bytes = qg_x_f32_bytes,
    .prep = qg_x_rounded_prep,
    .run = run_bf16,
};
