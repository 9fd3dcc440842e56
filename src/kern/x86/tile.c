/* Blocking around the tiles; plain C, shared by all instruction sets. */
#include "kern/x86/tile.h"

#include <string.h>

enum {
    /* Few rows: weights stream from memory and are used once; this much on its way, over all panels
     * of a tile, hides its latency. */
    AHEAD_BYTES = 8192,
    /* Many rows: the panels in use and those to come stay in half of a 1 MiB second-level cache. */
    GROUP_BYTES = 256 * 1024,
};

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Rows of block i when m rows are cut into n nearly equal blocks. */
static int64_t cut(int64_t m, int64_t n, int64_t i)
{
    return m * i / n;
}

static void last_panel(const qg_tiles *tiles, qg_tile t, int64_t rows, int64_t cols)
{
    float tmp[QG_TILE_ROWS * QG_NR];
    float *y = t.y;
    const int64_t ldy = t.ldy;
    t.y = tmp;
    t.ldy = QG_NR;
    tiles->one[rows - 1](&t);
    for (int64_t i = 0; i < rows; i++)
        memcpy(y + i * ldy, tmp + i * QG_NR, (size_t)cols * sizeof *tmp);
}

/* rows <= max_rows times panels [p0, p1); ahead, pace and fetch as in qg_tile. */
static void strip(const qg_tiles *tiles, const qg_product *g, int64_t r0, int64_t rows, int64_t p0,
                  int64_t p1, size_t ahead, size_t pace, bool fetch)
{
    qg_tile t = {.ldy = g->ldy,
                 .x = g->x + (size_t)r0 * g->x_stride,
                 .x_stride = g->x_stride,
                 .tails = g->tails,
                 .w_stride = g->panel_bytes,
                 .units = g->units,
                 .ahead = ahead,
                 .pace = pace,
                 .fetch = fetch};
    const int64_t wide = tiles->wide_panels[rows - 1];
    for (int64_t p = p0; p < p1;) {
        int64_t left = min64(p1, g->n / QG_NR) - p;
        t.y = g->y + r0 * g->ldy + p * QG_NR;
        t.w = g->w + (size_t)p * g->panel_bytes;
        if (left >= wide) {
            tiles->wide[rows - 1](&t);
            p += wide;
        } else if (left > 0) {
            tiles->one[rows - 1](&t);
            p++;
        } else {
            last_panel(tiles, t, rows, g->n - p * QG_NR);
            p++;
        }
    }
}

/* Groups are even, so that the panels fetched ahead are the ones that come next, here or in the
 * next call.  Each block of rows fetches its share of the panels that come next, so that memory is
 * asked evenly all the time: 12 rows times 32 columns take 1.9 us for 33 KB of int8, the whole read
 * bandwidth, and the blocks that follow take nothing. */
void qg_tiles_run(const qg_tiles *tiles, const qg_product *g)
{
    const int64_t blocks = (g->m + tiles->max_rows - 1) / tiles->max_rows;
    const int64_t fit = GROUP_BYTES / (int64_t)g->panel_bytes, panels = g->p1 - g->p0;
    const int64_t groups = fit < 1 ? panels : (panels + fit - 1) / fit;
    const int64_t group = groups < 1 ? 1 : (panels + groups - 1) / groups;
    if (panels < 1)
        return;
    if (g->m <= tiles->stream_rows) {
        strip(tiles, g, 0, g->m, g->p0, g->p1, AHEAD_BYTES / tiles->wide_panels[g->m - 1],
              QG_UNIT_BYTES, false);
        return;
    }
    for (int64_t p = g->p0; p < g->p1; p += group)
        for (int64_t b = 0; b < blocks; b++) {
            const int64_t r0 = cut(g->m, blocks, b), r1 = cut(g->m, blocks, b + 1);
            const size_t share = (size_t)cut((int64_t)g->panel_bytes, blocks, b);
            strip(tiles, g, r0, r1 - r0, p, min64(p + group, g->p1),
                  (size_t)group * g->panel_bytes + share,
                  (size_t)((QG_UNIT_BYTES + blocks - 1) / blocks), true);
        }
}

void qg_tiles_bf16(const qg_tiles *tiles, size_t x_stride, float *y, int64_t ldy, const void *xp,
                   const void *wp, int64_t m, int64_t n, int64_t k, int64_t p0, int64_t p1)
{
    qg_tiles_run(tiles, &(qg_product){.y = y,
                                      .ldy = ldy,
                                      .x = xp,
                                      .x_stride = x_stride,
                                      .w = wp,
                                      .panel_bytes = (size_t)qg_panel_bf16(k) * sizeof(qg_bf16),
                                      .m = m,
                                      .n = n,
                                      .units = qg_k_pad(k) / 2,
                                      .p0 = p0,
                                      .p1 = p1});
}

void qg_tiles_f32(const qg_tiles *tiles, float *y, int64_t ldy, const void *xp, const void *wp,
                  int64_t m, int64_t n, int64_t k, int64_t p0, int64_t p1)
{
    qg_tiles_run(tiles, &(qg_product){.y = y,
                                      .ldy = ldy,
                                      .x = xp,
                                      .x_stride = qg_x_f32_bytes(k),
                                      .w = wp,
                                      .panel_bytes = (size_t)qg_panel_f32(k) * sizeof(float),
                                      .m = m,
                                      .n = n,
                                      .units = k,
                                      .p0 = p0,
                                      .p1 = p1});
}

void qg_tiles_i8(const qg_tiles *tiles, size_t x_stride, size_t x_group, float *y, int64_t ldy,
                 const void *xp, const void *wp, int64_t m, int64_t n, int64_t k, int64_t p0,
                 int64_t p1)
{
    qg_tiles_run(tiles, &(qg_product){.y = y,
                                      .ldy = ldy,
                                      .x = xp,
                                      .x_stride = x_stride,
                                      .tails = (size_t)qg_groups(k) * x_group,
                                      .w = wp,
                                      .panel_bytes = (size_t)qg_groups(k) * QG_GROUP_BYTES,
                                      .m = m,
                                      .n = n,
                                      .units = qg_groups(k),
                                      .p0 = p0,
                                      .p1 = p1});
}

void qg_tiles_i4_few(const qg_tiles *i4, size_t x_stride, size_t x_group, float *y, int64_t ldy,
                     const void *xp, const void *wp, int64_t m, int64_t n, int64_t k, int64_t p0,
                     int64_t p1)
{
    qg_tiles_run(i4, &(qg_product){.y = y,
                                   .ldy = ldy,
                                   .x = xp,
                                   .x_stride = x_stride,
                                   .tails = (size_t)qg_groups(k) * x_group,
                                   .w = wp,
                                   .panel_bytes = (size_t)qg_groups(k) * QG_I4_GROUP_BYTES,
                                   .m = m,
                                   .n = n,
                                   .units = qg_groups(k),
                                   .p0 = p0,
                                   .p1 = p1});
}

void qg_tiles_panel(const qg_tiles *tiles, const qg_tile *tile, int64_t m)
{
    const int64_t blocks = (m + tiles->max_rows - 1) / tiles->max_rows;
    for (int64_t b = 0; b < blocks; b++) {
        int64_t r0 = cut(m, blocks, b), r1 = cut(m, blocks, b + 1);
        qg_tile t = *tile;
        t.y += r0 * t.ldy;
        t.x += (size_t)r0 * t.x_stride;
        tiles->one[r1 - r0 - 1](&t);
    }
}
