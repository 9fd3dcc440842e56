/* Blocks of tiles in 8 bits with grouped scales (quant.h); t->units counts groups, two steps each.
 *
 * A group's dots are exact in int32, so the tiles may add them in any order; they are stored, and
 * ordinary float arithmetic adds them up with their scales in the order of i8_ref: equal bits. */
#ifndef QG_KERN_X86_AMX_I8_H
#define QG_KERN_X86_AMX_I8_H

#include "kern/quant.h"
#include "kern/x86/amx_block.h"

#include <math.h>

enum { QG_AMX_DOT_BYTES = QG_NR * sizeof(int32_t) }; /* a row of dot */

QG_AMX_BODY amx_i8_prefetch(const uint8_t *group)
{
    __builtin_prefetch(group, 0, 2);
    amx_prefetch(group + QG_SW_BYTES);
    amx_prefetch(group + QG_SW_BYTES + QG_AMX_STEP_BYTES);
}

/* dot [rows][32] = a group of one panel, 17 to 32 rows. */
QG_AMX_BODY amx_i8_two_by_two(qg_amx_soft *s, int32_t *dot, const uint8_t *x, size_t x_stride,
                              const uint8_t *w)
{
    QG_AMX_ZERO(s, 0);
    QG_AMX_ZERO(s, 1);
    QG_AMX_ZERO(s, 2);
    QG_AMX_ZERO(s, 3);
    w += QG_SW_BYTES;
    for (int step = 0; step < QG_QUADS / QG_AMX_STEP; step++) {
        QG_AMX_LOAD(s, 6, w, QG_UNIT_BYTES);
        QG_AMX_LOAD(s, 4, x, x_stride);
        QG_AMX_DPBSUD(s, 0, 4, 6);
        QG_AMX_LOAD(s, 7, w + QG_AMX_ROW_BYTES, QG_UNIT_BYTES);
        QG_AMX_DPBSUD(s, 1, 4, 7);
        QG_AMX_LOAD(s, 5, x + QG_AMX_ROWS * x_stride, x_stride);
        QG_AMX_DPBSUD(s, 2, 5, 6);
        QG_AMX_DPBSUD(s, 3, 5, 7);
        x += QG_AMX_ROW_BYTES;
        w += QG_AMX_STEP_BYTES;
    }
    QG_AMX_STORE(s, 0, dot, QG_AMX_DOT_BYTES);
    QG_AMX_STORE(s, 1, dot + 16, QG_AMX_DOT_BYTES);
    QG_AMX_STORE(s, 2, dot + QG_AMX_ROWS * QG_NR, QG_AMX_DOT_BYTES);
    QG_AMX_STORE(s, 3, dot + QG_AMX_ROWS * QG_NR + 16, QG_AMX_DOT_BYTES);
}

/* dot [2 panels][16][32] = a group of two panels, up to 16 rows. */
QG_AMX_BODY amx_i8_one_by_four(qg_amx_soft *s, int32_t *dot, const uint8_t *x, size_t x_stride,
                               const uint8_t *w, size_t w_stride)
{
    QG_AMX_ZERO(s, 0);
    QG_AMX_ZERO(s, 1);
    QG_AMX_ZERO(s, 2);
    QG_AMX_ZERO(s, 3);
    w += QG_SW_BYTES;
    for (int step = 0; step < QG_QUADS / QG_AMX_STEP; step++) {
        QG_AMX_LOAD(s, 4, x, x_stride);
        QG_AMX_LOAD(s, 5, w, QG_UNIT_BYTES);
        QG_AMX_DPBSUD(s, 0, 4, 5);
        QG_AMX_LOAD(s, 6, w + QG_AMX_ROW_BYTES, QG_UNIT_BYTES);
        QG_AMX_DPBSUD(s, 1, 4, 6);
        QG_AMX_LOAD(s, 7, w + w_stride, QG_UNIT_BYTES);
        QG_AMX_DPBSUD(s, 2, 4, 7);
        QG_AMX_LOAD(s, 5, w + w_stride + QG_AMX_ROW_BYTES, QG_UNIT_BYTES);
        QG_AMX_DPBSUD(s, 3, 4, 5);
        x += QG_AMX_ROW_BYTES;
        w += QG_AMX_STEP_BYTES;
    }
    QG_AMX_STORE(s, 0, dot, QG_AMX_DOT_BYTES);
    QG_AMX_STORE(s, 1, dot + 16, QG_AMX_DOT_BYTES);
    QG_AMX_STORE(s, 2, dot + QG_AMX_ROWS * QG_NR, QG_AMX_DOT_BYTES);
    QG_AMX_STORE(s, 3, dot + QG_AMX_ROWS * QG_NR + 16, QG_AMX_DOT_BYTES);
}

/* dot [rows][32] = a group of one panel, up to 16 rows. */
QG_AMX_BODY amx_i8_one_by_two(qg_amx_soft *s, int32_t *dot, const uint8_t *x, size_t x_stride,
                              const uint8_t *w)
{
    QG_AMX_ZERO(s, 0);
    QG_AMX_ZERO(s, 1);
    w += QG_SW_BYTES;
    for (int step = 0; step < QG_QUADS / QG_AMX_STEP; step++) {
        QG_AMX_LOAD(s, 4, x, x_stride);
        QG_AMX_LOAD(s, 5, w, QG_UNIT_BYTES);
        QG_AMX_DPBSUD(s, 0, 4, 5);
        QG_AMX_LOAD(s, 6, w + QG_AMX_ROW_BYTES, QG_UNIT_BYTES);
        QG_AMX_DPBSUD(s, 1, 4, 6);
        x += QG_AMX_ROW_BYTES;
        w += QG_AMX_STEP_BYTES;
    }
    QG_AMX_STORE(s, 0, dot, QG_AMX_DOT_BYTES);
    QG_AMX_STORE(s, 1, dot + 16, QG_AMX_DOT_BYTES);
}

/* sum [32] += dot [32] of a row; the compiler makes vectors of it. */
QG_AMX_BODY amx_i8_scale(float *restrict sum, const int32_t *restrict dot, const float *sw,
                         qg_xgroup x)
{
    for (int c = 0; c < QG_NR; c++)
        sum[c] = fmaf((float)(dot[c] + x.offset) * sw[c], x.scale, sum[c]);
}

/* sum [rows][32] += dot [rows][32]: group g of one panel. */
QG_AMX_BODY amx_i8_add(float *sum, const int32_t *dot, const qg_tile *t, int64_t rows, int64_t g,
                       const uint8_t *w)
{
    float sw[QG_NR];
    const qg_bf16 *stored = (const qg_bf16 *)(const void *)w;
    for (int c = 0; c < QG_NR; c++)
        sw[c] = qg_bf16_to_f32(stored[c]);
    for (int64_t i = 0; i < rows; i++)
        amx_i8_scale(sum + i * QG_NR, dot + i * QG_NR, sw,
                     qg_xgroups(t->x + (size_t)i * t->x_stride, t->units)[g]);
}

/* The first cols columns of one or, up to 16 rows, two panels. */
QG_AMX_BODY amx_i8_block(qg_amx_soft *s, const qg_tile *t, int64_t rows, int64_t panels,
                         int64_t cols)
{
    enum { PANEL = QG_AMX_ROWS * QG_NR }; /* where the second panel's rows begin */
    _Alignas(64) int32_t dot[QG_AMX_BLOCK * QG_NR];
    _Alignas(64) float sum[QG_AMX_BLOCK * QG_NR] = {0};
    for (int64_t g = 0; g < t->units; g++) {
        const uint8_t *x = t->x + g * QG_GROUP, *w = t->w + g * QG_GROUP_BYTES;
        for (int64_t p = 0; t->ahead && p < panels; p++)
            amx_i8_prefetch(w + (size_t)p * t->w_stride + t->ahead);
        if (rows > QG_AMX_ROWS)
            amx_i8_two_by_two(s, dot, x, t->x_stride, w);
        else if (panels == 2)
            amx_i8_one_by_four(s, dot, x, t->x_stride, w, t->w_stride);
        else
            amx_i8_one_by_two(s, dot, x, t->x_stride, w);
        for (int64_t p = 0; p < panels; p++)
            amx_i8_add(sum + p * PANEL, dot + p * PANEL, t, rows, g, w + (size_t)p * t->w_stride);
    }
    for (int64_t p = 0; p < panels; p++, cols -= QG_NR)
        for (int64_t i = 0; i < rows; i++)
            memcpy(t->y + i * t->ldy + p * QG_NR, sum + p * PANEL + i * QG_NR,
                   (size_t)(cols < QG_NR ? cols : QG_NR) * sizeof *sum);
}

#endif
