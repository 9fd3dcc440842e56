/* Blocks of tiles in bf16; t->units counts pairs, 16 a step. */
#ifndef QG_KERN_X86_AMX_BF16_H
#define QG_KERN_X86_AMX_BF16_H

#include "kern/x86/amx_block.h"

/* 17 to 32 rows, one panel. */
QG_AMX_BODY amx_bf16_two_by_two(qg_amx_soft *s, const qg_tile *t)
{
    const uint8_t *top = t->x, *bottom = t->x + QG_AMX_ROWS * t->x_stride, *w = t->w;
    const size_t ldy = (size_t)t->ldy * sizeof *t->y;
    QG_AMX_ZERO(s, 0);
    QG_AMX_ZERO(s, 1);
    QG_AMX_ZERO(s, 2);
    QG_AMX_ZERO(s, 3);
    for (int64_t u = 0; u < t->units; u += QG_AMX_STEP) {
        if (t->ahead)
            amx_prefetch(w + t->ahead);
        QG_AMX_LOAD(s, 6, w, QG_UNIT_BYTES);
        QG_AMX_LOAD(s, 4, top, t->x_stride);
        QG_AMX_DPBF16PS(s, 0, 4, 6);
        QG_AMX_LOAD(s, 7, w + QG_AMX_ROW_BYTES, QG_UNIT_BYTES);
        QG_AMX_DPBF16PS(s, 1, 4, 7);
        QG_AMX_LOAD(s, 5, bottom, t->x_stride);
        QG_AMX_DPBF16PS(s, 2, 5, 6);
        QG_AMX_DPBF16PS(s, 3, 5, 7);
        top += QG_AMX_ROW_BYTES;
        bottom += QG_AMX_ROW_BYTES;
        w += QG_AMX_STEP_BYTES;
    }
    QG_AMX_STORE(s, 0, t->y, ldy);
    QG_AMX_STORE(s, 1, t->y + 16, ldy);
    QG_AMX_STORE(s, 2, t->y + QG_AMX_ROWS * t->ldy, ldy);
    QG_AMX_STORE(s, 3, t->y + QG_AMX_ROWS * t->ldy + 16, ldy);
}

/* Up to 16 rows, two panels. */
QG_AMX_BODY amx_bf16_one_by_four(qg_amx_soft *s, const qg_tile *t)
{
    const uint8_t *x = t->x, *w = t->w, *v = t->w + t->w_stride;
    const size_t ldy = (size_t)t->ldy * sizeof *t->y;
    QG_AMX_ZERO(s, 0);
    QG_AMX_ZERO(s, 1);
    QG_AMX_ZERO(s, 2);
    QG_AMX_ZERO(s, 3);
    for (int64_t u = 0; u < t->units; u += QG_AMX_STEP) {
        if (t->ahead) {
            amx_prefetch(w + t->ahead);
            amx_prefetch(v + t->ahead);
        }
        QG_AMX_LOAD(s, 4, x, t->x_stride);
        QG_AMX_LOAD(s, 5, w, QG_UNIT_BYTES);
        QG_AMX_DPBF16PS(s, 0, 4, 5);
        QG_AMX_LOAD(s, 6, w + QG_AMX_ROW_BYTES, QG_UNIT_BYTES);
        QG_AMX_DPBF16PS(s, 1, 4, 6);
        QG_AMX_LOAD(s, 7, v, QG_UNIT_BYTES);
        QG_AMX_DPBF16PS(s, 2, 4, 7);
        QG_AMX_LOAD(s, 5, v + QG_AMX_ROW_BYTES, QG_UNIT_BYTES);
        QG_AMX_DPBF16PS(s, 3, 4, 5);
        x += QG_AMX_ROW_BYTES;
        w += QG_AMX_STEP_BYTES;
        v += QG_AMX_STEP_BYTES;
    }
    QG_AMX_STORE(s, 0, t->y, ldy);
    QG_AMX_STORE(s, 1, t->y + 16, ldy);
    QG_AMX_STORE(s, 2, t->y + 32, ldy);
    QG_AMX_STORE(s, 3, t->y + 48, ldy);
}

/* Up to 16 rows, one panel: the odd one out. */
QG_AMX_BODY amx_bf16_one_by_two(qg_amx_soft *s, const qg_tile *t)
{
    const uint8_t *x = t->x, *w = t->w;
    const size_t ldy = (size_t)t->ldy * sizeof *t->y;
    QG_AMX_ZERO(s, 0);
    QG_AMX_ZERO(s, 1);
    for (int64_t u = 0; u < t->units; u += QG_AMX_STEP) {
        if (t->ahead)
            amx_prefetch(w + t->ahead);
        QG_AMX_LOAD(s, 4, x, t->x_stride);
        QG_AMX_LOAD(s, 5, w, QG_UNIT_BYTES);
        QG_AMX_DPBF16PS(s, 0, 4, 5);
        QG_AMX_LOAD(s, 6, w + QG_AMX_ROW_BYTES, QG_UNIT_BYTES);
        QG_AMX_DPBF16PS(s, 1, 4, 6);
        x += QG_AMX_ROW_BYTES;
        w += QG_AMX_STEP_BYTES;
    }
    QG_AMX_STORE(s, 0, t->y, ldy);
    QG_AMX_STORE(s, 1, t->y + 16, ldy);
}

QG_AMX_BODY amx_bf16_whole(qg_amx_soft *s, const qg_tile *t, int64_t rows, int64_t panels)
{
    if (rows > QG_AMX_ROWS)
        amx_bf16_two_by_two(s, t);
    else if (panels == 2)
        amx_bf16_one_by_four(s, t);
    else
        amx_bf16_one_by_two(s, t);
}

/* The first cols columns of one or, up to 16 rows, two panels; one panel if it is not filled. */
QG_AMX_BODY amx_bf16_block(qg_amx_soft *s, const qg_tile *t, int64_t rows, int64_t panels,
                           int64_t cols)
{
    float tmp[QG_AMX_BLOCK * QG_NR];
    qg_tile narrow = *t;
    if (cols == panels * QG_NR) {
        amx_bf16_whole(s, t, rows, panels);
        return;
    }
    narrow.y = tmp;
    narrow.ldy = QG_NR;
    amx_bf16_whole(s, &narrow, rows, 1);
    for (int64_t i = 0; i < rows; i++)
        memcpy(t->y + i * t->ldy, tmp + i * QG_NR, (size_t)cols * sizeof *tmp);
}

#endif
