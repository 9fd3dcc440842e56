/* The inner loops of the matrix products, and the loop around them.
 *
 * A tile is a few rows times one or more whole panels, held in registers over all of k:
 *
 *     y[i][c] = (add ? y[i][c] : 0) + sum over u of x[i][u] * w[u][c]      i < rows, c < 32 *
 * panels
 *
 * u counts units: one k step of a float panel or one pair of a bf16 panel, 128 bytes in either.
 * The sum runs over u rising in one float32 accumulator per element whatever the tile's size: this
 * is what makes bits independent of m, of blocking and of the split over threads.  add continues an
 * earlier sum, so cutting k in two calls changes nothing either. */
#ifndef QG_KERN_X86_TILE_H
#define QG_KERN_X86_TILE_H

#include "kern/panel.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QG_UNIT_BYTES = 128, QG_TILE_ROWS = 12 };

typedef struct qg_tile {
    float *y; /* any alignment */
    int64_t ldy;
    const uint8_t *x; /* prepared rows, x_stride bytes apart */
    size_t x_stride;
    const uint8_t *w; /* 64-byte aligned; the next panel is w_stride bytes further */
    size_t w_stride;
    int64_t units;
    size_t ahead; /* prefetch this many bytes ahead of w */
    bool add;
} qg_tile;

typedef void qg_tile_fn(const qg_tile *t);

/* The tiles of one instruction set and format, by number of rows - 1. */
typedef struct qg_tiles {
    int max_rows;
    qg_tile_fn *const *one;     /* [max_rows] one panel */
    qg_tile_fn *const *wide;    /* [max_rows] several panels: few rows need more sums in flight */
    const uint8_t *wide_panels; /* [max_rows] how many */
} qg_tiles;

/* y = x * w for m rows and the panels [p0, p1) of a matrix with n columns. */
typedef struct qg_product {
    float *y;
    int64_t ldy;
    const uint8_t *x;
    size_t x_stride;
    const uint8_t *w; /* panel 0 */
    size_t panel_bytes;
    int64_t m, n, units, p0, p1;
} qg_product;

void qg_tiles_run(const qg_tiles *tiles, const qg_product *product);

/* One panel, any number of rows, all 32 columns written: what attention needs. */
void qg_tiles_panel(const qg_tiles *tiles, const qg_tile *t, int64_t m);

#endif
