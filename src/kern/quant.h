/* 8-bit weights and activations with scales for groups of 128 steps along k.
 *
 *     y[i][n] = sum over groups g, rising, of  sx[i][g] * (sw[n][g] * sum over k in g of qx * qw)
 *
 * qx, qw in [-127, 127].  The inner sum is an exact integer (below 2^21, so exact as a float too);
 * then t = float(dot) * sw and y = fmaf(t, sx, y) from y = 0: all rows give the same bits.
 *
 *   weights   [ceil(n/32)] panels of [groups] x { sw [32] bf16, qw + 128 as [32][32 columns][4] u8
 * } A group takes 65 cache lines, read from front to back. prepared  [groups][128] int8 qx, then
 * [groups] { float sx, int32 -128 * sum(qx) }
 *
 * Weights are stored with 128 added because VPDPBUSD multiplies unsigned by signed bytes: each dot
 * starts at -128 * sum(qx), which the row brings along, so no column sums are kept.  Four steps of
 * a column stand side by side in a 32-bit word: 16 words by 16 such quads are an AMX tile
 * (TDPBSUD). Padding along k has qx = 0; padding columns have qw = 0, sw = 0.
 *
 * Why 128: the error and the speed of other sizes are in docs/decisions/0009-int8.md. */
#ifndef QG_KERN_QUANT_H
#define QG_KERN_QUANT_H

#include "kern/panel.h"

enum {
    QG_GROUP = 128,          /* steps of k with one scale */
    QG_QUADS = QG_GROUP / 4, /* a quad: four steps of all 32 columns */
    QG_QUAD_BYTES = QG_NR * 4,
    QG_SW_BYTES = QG_NR * 2,                        /* the group's weight scales */
    QG_GROUP_BYTES = QG_SW_BYTES + QG_GROUP * QG_NR /* 4160 */
};

/* Behind the bytes of a prepared row, one for each group. */
typedef struct qg_xgroup {
    float scale;    /* NaN when the group holds a NaN or an infinity */
    int32_t offset; /* -128 * sum of the group's qx */
} qg_xgroup;

static inline int64_t qg_groups(int64_t k)
{
    return (k + QG_GROUP - 1) / QG_GROUP;
}

static inline const qg_xgroup *qg_xgroups(const void *row, int64_t groups)
{
    return (const qg_xgroup *)(const void *)((const uint8_t *)row + groups * QG_GROUP);
}

/* The scale of values whose largest magnitude has these float bits (compared as integers, NaN is
 * above infinity), and what to multiply by.  Below 2^-100 everything counts as zero. */
static inline float qg_x_scale(uint32_t largest, float *inverse)
{
    union {
        uint32_t u;
        float f;
    } c = {.u = largest};
    *inverse = 0;
    if (largest < 0x0d800000u)
        return 0;
    if (largest >= 0x7f800000u) {
        c.u = 0x7fc00000u;
        return c.f;
    }
    *inverse = 127.0f / c.f;
    return c.f / 127.0f;
}

/* v [128] = group g of a row of k floats at any address, padded with zeros. */
void qg_group_take(float v[QG_GROUP], const void *row, int64_t k, int64_t g);
/* Float bits of the largest magnitude. */
uint32_t qg_group_largest(const float v[QG_GROUP]);

/* Table functions; contracts in kern.h.  pack reads float32; a weight group that holds a NaN or an
 * infinity gets the scale NaN. */
size_t qg_panel_i8_bytes(int64_t n, int64_t k);
void qg_panel_i8_pack(void *wp, const void *w, int64_t n, int64_t k, int64_t p0, int64_t p1);
void qg_panel_i8_row(float *dst, const void *wp, int64_t k, int64_t row);

/* Prepared rows as above; an odd number of cache lines. */
size_t qg_x_i8_bytes(int64_t k);
void qg_x_i8_prep(void *xp, const float *x, int64_t ldx, int64_t m, int64_t k, int64_t k0,
                  int64_t k1);

#endif
