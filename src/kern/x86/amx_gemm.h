/* Matrix product on tiles: the body of the AMX rows, inlined once for the processor (state NULL)
 * and once for the emulation.  format is a constant too. */
#ifndef QG_KERN_X86_AMX_GEMM_H
#define QG_KERN_X86_AMX_GEMM_H

#include "kern/x86/amx_bf16.h"
#include "kern/x86/amx_i8.h"

QG_AMX_BODY amx_block(qg_amx_soft *s, qg_wformat format, const qg_tile *t, int64_t rows,
                      int64_t panels, int64_t cols)
{
    if (format == QG_W_I8)
        amx_i8_block(s, t, rows, panels, cols);
    else
        amx_bf16_block(s, t, rows, panels, cols);
}

/* Rows [r0, r0 + rows) times panels [p0, p1); tiles are configured for rows. */
QG_AMX_BODY amx_strip(qg_amx_soft *s, qg_wformat format, const qg_product *g, int64_t r0,
                      int64_t rows, int64_t p0, int64_t p1, size_t ahead)
{
    qg_tile t = {.ldy = g->ldy,
                 .x = g->x + (size_t)r0 * g->x_stride,
                 .x_stride = g->x_stride,
                 .w_stride = g->panel_bytes,
                 .units = g->units,
                 .ahead = ahead};
    const int64_t whole = g->n / QG_NR < p1 ? g->n / QG_NR : p1; /* panels filled with columns */
    for (int64_t p = p0, panels; p < p1; p += panels) {
        panels = rows <= QG_AMX_ROWS && p + 2 <= whole ? 2 : 1;
        t.y = g->y + r0 * g->ldy + p * QG_NR;
        t.w = g->w + (size_t)p * g->panel_bytes;
        amx_block(s, format, &t, rows, panels, p < whole ? panels * QG_NR : g->n - p * QG_NR);
    }
}

/* The whole product.  Many rows: a group of panels stays in the second-level cache while all rows
 * pass, and the first block of rows fetches each panel while it works on the one before. */
QG_AMX_BODY amx_product(qg_amx_soft *s, qg_wformat format, const qg_product *g)
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
            amx_strip(s, format, g, r, rows, p, end, ahead);
        }
    QG_AMX_RELEASE(s);
}

/* run of kern.h for rows prepared with qg_x_bf16_bytes. */
QG_AMX_BODY amx_run_bf16(qg_amx_soft *s, float *y, int64_t ldy, const void *xp, const void *wp,
                         int64_t m, int64_t n, int64_t k, int64_t p0, int64_t p1)
{
    amx_product(s, QG_W_BF16,
                &(qg_product){.y = y,
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

/* run of kern.h for rows prepared with qg_x_i8_bytes. */
QG_AMX_BODY amx_run_i8(qg_amx_soft *s, float *y, int64_t ldy, const void *xp, const void *wp,
                       int64_t m, int64_t n, int64_t k, int64_t p0, int64_t p1)
{
    amx_product(s, QG_W_I8,
                &(qg_product){.y = y,
                              .ldy = ldy,
                              .x = xp,
                              .x_stride = qg_x_i8_bytes(k),
                              .w = wp,
                              .panel_bytes = (size_t)qg_groups(k) * QG_GROUP_BYTES,
                              .m = m,
                              .n = n,
                              .units = qg_groups(k),
                              .p0 = p0,
                              .p1 = p1});
}

#endif
