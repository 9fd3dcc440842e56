/* The body of the rows with 8-bit activations on Arm, around one group's exact sums.  A file that
 * includes this defines dots() afterwards.  Bits equal plain C's.
 *
 * Weights are stored with 128 added (quant.h); flipping the upper bit takes it off again, so the
 * sums need no correction.  4-bit weights are unpacked to that, eight groups of a panel at a time.
 */
#ifndef QG_KERN_ARM_I8_BODY_H
#define QG_KERN_ARM_I8_BODY_H

#include "kern/quant4.h"

#include <arm_neon.h>
#include <stdbool.h>
#include <string.h>

enum {
    ROWS = 4,
    COLS = 16,
    VECS = COLS / 4,
    BLOCK = 64, /* rows that meet unpacked groups: their sums are 8 KB */
    GROUPS = 8, /* unpacked at a time: 33 KB */
};

typedef struct tile {
    const int8_t *x[ROWS]; /* prepared rows, from the first group on */
    const qg_xgroup *tail[ROWS];
    const uint8_t *w; /* the panel's first group */
    int64_t groups;
    bool add; /* to what is in y */
    int col;  /* first column in the panel: 0 or 16 */
} tile;

/* dot [row][4 columns] = sums of group g over 128 steps. */
static inline __attribute__((always_inline)) void dots(int32x4_t dot[ROWS][VECS], const tile *t,
                                                       int64_t g, const int rows);

static inline __attribute__((always_inline)) void multiply(float *y, int64_t ldy, const tile *t,
                                                           const int rows)
{
    float32x4_t sum[ROWS][VECS];
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < VECS; c++)
            sum[r][c] = t->add ? vld1q_f32(y + r * ldy + 4 * c) : vdupq_n_f32(0);
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
                                        t->tail[r][g].scale);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < VECS; c++)
            vst1q_f32(y + r * ldy + 4 * c, sum[r][c]);
}

static void some_rows(float *y, int64_t ldy, const tile *t, int64_t rows)
{
    switch (rows) {
    case 1:
        multiply(y, ldy, t, 1);
        break;
    case 2:
        multiply(y, ldy, t, 2);
        break;
    case 3:
        multiply(y, ldy, t, 3);
        break;
    default:
        multiply(y, ldy, t, 4);
    }
}

/* Prepared rows [i, i + rows) from group g on. */
static void take_rows(tile *t, const void *xp, int64_t k, int64_t i, int64_t rows, int64_t g)
{
    for (int64_t r = 0; r < rows; r++) {
        const int8_t *x = (const int8_t *)xp + (size_t)(i + r) * qg_x_i8_bytes(k);
        t->x[r] = x + g * QG_GROUP;
        t->tail[r] = qg_xgroups(x, qg_groups(k)) + g;
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
            take_rows(&t, xp, k, i, rows, 0);
            some_rows(tmp, COLS, &t, rows);
            for (int64_t r = 0; r < rows; r++)
                memcpy(y + (i + r) * ldy + c, tmp + r * COLS, (size_t)cols * sizeof *tmp);
        }
    }
}

/* ---- 4 bits ---------------------------------------------------------------------------------- */

/* As qg_i4_unpack: four columns of a quad are a vector. */
static void unpack(uint8_t *to, const uint8_t *group)
{
    const uint8_t *q = group + QG_I4_Q_AT;
    memcpy(to, group, QG_SW_BYTES);
    to += QG_SW_BYTES;
    for (int pair = 0; pair < QG_QUAD_PAIRS; pair++, to += 2 * QG_QUAD_BYTES, q += QG_QUAD_BYTES) {
        const uint8_t *steps = group + QG_I4_STEPS_AT + pair / (QG_STEP / 8) * QG_NR;
        for (int c = 0; c < QG_NR; c += 4) {
            uint32_t four; /* steps of 4 columns, each to be repeated 4 times */
            memcpy(&four, steps + c, 4);
            const uint8x16_t spread = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3};
            const uint8x16_t step = vqtbl1q_u8(vreinterpretq_u8_u32(vdupq_n_u32(four)), spread);
            const uint8x16_t m = vandq_u8(step, vdupq_n_u8(15));
            const uint8x16_t base = vmlsq_u8(vdupq_n_u8(128), m, vshrq_n_u8(step, 4));
            const uint8x16_t v = vld1q_u8(q + c * 4);
            vst1q_u8(to + c * 4, vmlaq_u8(base, vandq_u8(v, vdupq_n_u8(15)), m));
            vst1q_u8(to + QG_QUAD_BYTES + c * 4, vmlaq_u8(base, vshrq_n_u8(v, 4), m));
        }
    }
}

/* sum [rows][32] (+)= rows [r0, r0 + rows) times n groups from g on, unpacked in bytes. */
static void add_groups(float *sum, const void *xp, int64_t k, int64_t r0, int64_t rows,
                       const uint8_t *bytes, int64_t g, int64_t n)
{
    for (int64_t i = 0; i < rows; i += ROWS)
        for (int c = 0; c < QG_NR; c += COLS) {
            const int64_t some = rows - i < ROWS ? rows - i : ROWS;
            tile t = {.w = bytes, .groups = n, .col = c, .add = g > 0};
            take_rows(&t, xp, k, r0 + i, some, g);
            some_rows(sum + i * QG_NR + c, QG_NR, &t, some);
        }
}

static void run_i4(float *y, int64_t ldy, const void *xp, const void *wp, int64_t m, int64_t n,
                   int64_t k, int64_t p0, int64_t p1)
{
    const int64_t groups = qg_groups(k);
    uint8_t bytes[GROUPS * QG_GROUP_BYTES];
    float sum[BLOCK * QG_NR];
    for (int64_t p = p0; p < p1; p++)
        for (int64_t r = 0; r < m; r += BLOCK) {
            const uint8_t *w = (const uint8_t *)wp + p * groups * QG_I4_GROUP_BYTES;
            const int64_t cols = n - p * QG_NR < QG_NR ? n - p * QG_NR : QG_NR;
            const int64_t rows = m - r < BLOCK ? m - r : BLOCK;
            for (int64_t g = 0; g < groups; g += GROUPS) {
                const int64_t some = groups - g < GROUPS ? groups - g : GROUPS;
                for (int64_t i = 0; i < some; i++)
                    unpack(bytes + i * QG_GROUP_BYTES, w + (g + i) * QG_I4_GROUP_BYTES);
                add_groups(sum, xp, k, r, rows, bytes, g, some);
            }
            for (int64_t i = 0; i < rows; i++)
                memcpy(y + (r + i) * ldy + p * QG_NR, sum + i * QG_NR, (size_t)cols * sizeof *sum);
        }
}

#endif
