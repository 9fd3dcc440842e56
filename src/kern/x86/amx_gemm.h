/* Matrix product on tiles: the body of the AMX rows, inlined once for the processor (state NULL)
 * and once for the emulation.
 *
 * A step is 16 units of a packed panel, 2 KiB: 16 rows of 64 bytes for columns 0..15 side by side
 * with 16 rows for columns 16..31, so a tile of weights is loaded with a stride of QG_UNIT_BYTES.
 * A tile of activations is 64 bytes of up to 16 prepared rows.
 *
 * An element's sum runs over the steps rising, in one accumulator, whatever the number of rows: few
 * rows take smaller tiles, not other instructions.  Four accumulators are under way at any time,
 * since a product's result comes 52 cycles after its start and the next can start after 16. */
#ifndef QG_KERN_X86_AMX_GEMM_H
#define QG_KERN_X86_AMX_GEMM_H

#include "kern/x86/amx_tile.h"
#include "kern/x86/tile.h"

#include <string.h>

enum {
    QG_AMX_STEP = 16, /* units */
    QG_AMX_STEP_BYTES = QG_AMX_STEP * QG_UNIT_BYTES,
    QG_AMX_BLOCK = 2 * QG_AMX_ROWS, /* rows at a time */
    /* Few rows: weights stream from memory, two steps ahead in each of two panels hide 0.5 us at
     * the 16 GB/s that one core reads. */
    QG_AMX_AHEAD = 2 * QG_AMX_STEP_BYTES,
    /* Panels used together with every block of rows; a quarter of a 2 MiB second-level cache. */
    QG_AMX_GROUP_BYTES = 512 * 1024,
};

#define QG_AMX_BODY static inline __attribute__((always_inline)) void

/* Into the second-level cache: that is where tiles load at full speed from. */
QG_AMX_BODY amx_prefetch(const uint8_t *step)
{
    for (int i = 0; i < QG_AMX_STEP_BYTES; i += 64)
        __builtin_prefetch(step + i, 0, 2);
}

/* Up to 16 rows take tiles 0..3 for sums, 4 for activations, 5..7 for weights; more rows take 0..3
 * for sums (two by two), 4 5 for activations, 6 7 for weights. */
QG_AMX_BODY amx_configure(qg_amx_soft *s, int64_t rows)
{
    const uint8_t top = (uint8_t)(rows < QG_AMX_ROWS ? rows : QG_AMX_ROWS);
    const uint8_t bottom = (uint8_t)(rows - top);
    qg_amx_config c = {.palette = 1, .rows = {top, top, top, top, top, 16, 16, 16}};
    if (bottom)
        c.rows[2] = c.rows[3] = c.rows[5] = bottom;
    for (int t = 0; t < QG_AMX_TILES; t++)
        c.row_bytes[t] = QG_AMX_ROW_BYTES;
    QG_AMX_CONFIG(s, c);
}

/* 17 to 32 rows, one panel. */
QG_AMX_BODY amx_two_by_two(qg_amx_soft *s, const qg_tile *t)
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
QG_AMX_BODY amx_one_by_four(qg_amx_soft *s, const qg_tile *t)
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
QG_AMX_BODY amx_one_by_two(qg_amx_soft *s, const qg_tile *t)
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

QG_AMX_BODY amx_panel(qg_amx_soft *s, const qg_tile *t, int64_t rows)
{
    if (rows > QG_AMX_ROWS)
        amx_two_by_two(s, t);
    else
        amx_one_by_two(s, t);
}

/* The last panel of a matrix whose columns do not fill it. */
QG_AMX_BODY amx_narrow_panel(qg_amx_soft *s, const qg_tile *t, int64_t rows, int64_t cols)
{
    float tmp[QG_AMX_BLOCK * QG_NR];
    qg_tile whole = *t;
    whole.y = tmp;
    whole.ldy = QG_NR;
    amx_panel(s, &whole, rows);
    for (int64_t i = 0; i < rows; i++)
        memcpy(t->y + i * t->ldy, tmp + i * QG_NR, (size_t)cols * sizeof *tmp);
}

/* Rows [r0, r0 + rows) times panels [p0, p1); tiles are configured for rows. */
QG_AMX_BODY amx_strip(qg_amx_soft *s, const qg_product *g, int64_t r0, int64_t rows, int64_t p0,
                      int64_t p1, size_t ahead)
{
    qg_tile t = {.ldy = g->ldy,
                 .x = g->x + (size_t)r0 * g->x_stride,
                 .x_stride = g->x_stride,
                 .w_stride = g->panel_bytes,
                 .units = g->units,
                 .ahead = ahead};
    const int64_t whole = g->n / QG_NR;
    for (int64_t p = p0; p < p1;) {
        t.y = g->y + r0 * g->ldy + p * QG_NR;
        t.w = g->w + (size_t)p * g->panel_bytes;
        if (p >= whole) {
            amx_narrow_panel(s, &t, rows, g->n - p * QG_NR);
            p++;
        } else if (rows <= QG_AMX_ROWS && p + 2 <= p1 && p + 2 <= whole) {
            amx_one_by_four(s, &t);
            p += 2;
        } else {
            amx_panel(s, &t, rows);
            p++;
        }
    }
}

/* The whole product.  Many rows: a group of panels stays in the second-level cache while all rows
 * pass, and the first block of rows fetches each panel while it works on the one before. */
QG_AMX_BODY amx_product(qg_amx_soft *s, const qg_product *g)
{
    const int64_t fit = QG_AMX_GROUP_BYTES / (int64_t)g->panel_bytes;
    const int64_t group = g->m <= QG_AMX_BLOCK ? g->p1 - g->p0 : fit < 1 ? 1 : fit;
    int64_t configured = 0;
    for (int64_t p = g->p0; p < g->p1; p += group)
        for (int64_t r = 0; r < g->m; r += QG_AMX_BLOCK) {
            const int64_t rows = g->m - r < QG_AMX_BLOCK ? g->m - r : QG_AMX_BLOCK;
            const int64_t end = p + group < g->p1 ? p + group : g->p1;
            const size_t ahead = r ? 0 : rows <= QG_AMX_ROWS ? QG_AMX_AHEAD : g->panel_bytes;
            if (rows != configured)
                amx_configure(s, rows);
            configured = rows;
            amx_strip(s, g, r, rows, p, end, ahead);
        }
    QG_AMX_RELEASE(s);
}

/* run of kern.h for rows prepared with qg_x_bf16_bytes. */
QG_AMX_BODY amx_run_bf16(qg_amx_soft *s, float *y, int64_t ldy, const void *xp, const void *wp,
                         int64_t m, int64_t n, int64_t k, int64_t p0, int64_t p1)
{
    amx_product(s, &(qg_product){.y = y,
                                 .ldy = ldy,
                                 .x = xp,
                                 .x_stride = qg_x_bf16_bytes(k),
                                 .w = wp,
                                 .panel_bytes = (size_t)qg_panel_bf16(k) * sizeof(qg_bf16),
                                 .m = m,
                                 .n = n,
                                 .units = qg_k_pad(k) / 2,
                                 .p0 = p0,
                                 .p1 = p1});
}

#endif
