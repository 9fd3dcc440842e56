/* 8-bit matrix product with SDOT: 4 columns and a quad of k steps an instruction.  Weights are
 * stored with 128 added (quant.h); flipping the upper bit takes it off again, so the sums need no
 * correction.  Bits equal i8_ref's. */
#include "base/cpu.h"
#include "kern/arm/neon_rows.h"
#include "kern/quant.h"

#include <arm_neon.h>
#include <string.h>

enum { ROWS = 4, COLS = 16, VECS = COLS / 4 };

typedef struct tile {
    const int8_t *x[ROWS]; /* prepared rows */
    const uint8_t *w;      /* the panel */
    int64_t groups;
    int col; /* first column in the panel: 0 or 16 */
} tile;

/* One group's exact sums. */
static inline __attribute__((always_inline)) void dots(int32x4_t dot[ROWS][VECS], const tile *t,
                                                       int64_t g, const int rows)
{
    const uint8_t *w = t->w + g * QG_GROUP_BYTES + QG_SW_BYTES + t->col * 4;
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < VECS; c++)
            dot[r][c] = vdupq_n_s32(0);
    for (int q = 0; q < QG_QUADS; q++, w += QG_QUAD_BYTES) {
        int8x16_t b[VECS];
#pragma GCC unroll 4
        for (int c = 0; c < VECS; c++)
            b[c] = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(w + 16 * c), vdupq_n_u8(0x80)));
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            int32_t quad;
            memcpy(&quad, t->x[r] + g * QG_GROUP + q * 4, 4);
            const int8x16_t a = vreinterpretq_s8_s32(vdupq_n_s32(quad));
#pragma GCC unroll 4
            for (int c = 0; c < VECS; c++)
                dot[r][c] = vdotq_s32(dot[r][c], b[c], a);
        }
    }
}

static inline __attribute__((always_inline)) void multiply(float *y, const tile *t, const int rows)
{
    float32x4_t sum[ROWS][VECS];
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < VECS; c++)
            sum[r][c] = vdupq_n_f32(0);
    for (int64_t g = 0; g < t->groups; g++) {
        const uint16_t *scales =
            (const uint16_t *)(const void *)(t->w + g * QG_GROUP_BYTES) + t->col;
        int32x4_t dot[ROWS][VECS];
        dots(dot, t, g, rows);
#pragma GCC unroll 4
        for (int c = 0; c < VECS; c++) {
            const float32x4_t sw = vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(scales + 4 * c), 16));
#pragma GCC unroll 4
            for (int r = 0; r < rows; r++)
                sum[r][c] = vfmaq_n_f32(sum[r][c], vmulq_f32(vcvtq_f32_s32(dot[r][c]), sw),
                                        qg_xgroups(t->x[r], t->groups)[g].scale);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < VECS; c++)
            vst1q_f32(y + r * COLS + 4 * c, sum[r][c]);
}

static void some_rows(float *y, const tile *t, int64_t rows)
{
    switch (rows) {
    case 1:
        multiply(y, t, 1);
        break;
    case 2:
        multiply(y, t, 2);
        break;
    case 3:
        multiply(y, t, 3);
        break;
    default:
        multiply(y, t, 4);
    }
}

static void run(float *y, int64_t ldy, const void *xp, const void *wp, int64_t m, int64_t n,
                int64_t k, int64_t p0, int64_t p1)
{
    for (int64_t c = p0 * QG_NR; c < p1 * QG_NR && c < n; c += COLS) {
        const int64_t cols = n - c < COLS ? n - c : COLS;
        tile t = {.groups = qg_groups(k), .col = (int)(c % QG_NR)};
        t.w = (const uint8_t *)wp + c / QG_NR * t.groups * QG_GROUP_BYTES;
        for (int64_t i = 0; i < m; i += ROWS) {
            const int64_t rows = m - i < ROWS ? m - i : ROWS;
            float tmp[ROWS * COLS];
            for (int64_t r = 0; r < rows; r++)
                t.x[r] = (const int8_t *)xp + (size_t)(i + r) * qg_x_i8_bytes(k);
            some_rows(tmp, &t, rows);
            for (int64_t r = 0; r < rows; r++)
                memcpy(y + (i + r) * ldy + c, tmp + r * COLS, (size_t)cols * sizeof *tmp);
        }
    }
}

const qg_gemm qg_gemm_i8_dotprod = {
    .name = "i8_dotprod",
    .need = QG_CPU_NEON | QG_CPU_ARM_DOTPROD,
    .format = QG_W_I8,
    .nr = QG_NR,
    .packed_bytes = qg_panel_i8_bytes,
    .pack = qg_panel_i8_pack,
    .unpack_row = qg_panel_i8_row,
    .x_bytes = qg_x_i8_bytes,
    .prep = qg_x_i8_prep,
    .run = run,
};
