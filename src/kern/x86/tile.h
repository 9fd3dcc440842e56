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

#include "kern/quant4.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QG_UNIT_BYTES = 128, QG_TILE_ROWS = 12 };

typedef struct qg_tile {
    float *y; /* any alignment */
    int64_t ldy;
    const uint8_t *x; /* prepared rows, x_stride bytes apart */
    size_t x_stride;
    size_t tails;     /* 8-bit: the first group's qg_xgroup, in bytes from x */
    const uint8_t *w; /* 64-byte aligned; the next panel is w_stride bytes further */
    size_t w_stride;
    int64_t units;
    size_t ahead; /* prefetch from this many bytes ahead of w */
    size_t pace;  /* and move on by this many bytes a unit: 128 with w, less for a share of it */
    bool fetch;   /* prefetch at all (512-bit tiles) */
    bool add;
} qg_tile;

/* Two cache lines on their way into the second-level cache; fetch: a constant.  Into the first they
 * would drive the rows out of there, and be gone before their use.  Always inlined: GCC takes calls
 * of a function that only prefetches for dead code. */
static inline __attribute__((always_inline)) void qg_tile_fetch(const uint8_t *at, const bool fetch)
{
    if (!fetch)
        return;
    __builtin_prefetch(at, 0, 2);
    __builtin_prefetch(at + 64, 0, 2);
}

typedef void qg_tile_fn(const qg_tile *t);

/* The tiles of one instruction set and format, by number of rows - 1. */
typedef struct qg_tiles {
    int max_rows;
    int stream_rows; /* products of so few rows stream through the weights: the processor foresees
                      * that; with more each panel is fetched ahead, evenly */
    qg_tile_fn *one[QG_TILE_ROWS];     /* one panel */
    qg_tile_fn *wide[QG_TILE_ROWS];    /* several panels */
    uint8_t wide_panels[QG_TILE_ROWS]; /* how many */
} qg_tiles;

/* y = x * w for m rows and the panels [p0, p1) of a matrix with n columns. */
typedef struct qg_product {
    float *y;
    int64_t ldy;
    const uint8_t *x;
    size_t x_stride, tails;
    const uint8_t *w; /* panel 0 */
    size_t panel_bytes;
    int64_t m, n, units, p0, p1;
} qg_product;

/* Computes the product, each panel in the tiles that its rows allow. */
void qg_tiles_run(const qg_tiles *tiles, const qg_product *product);

/* The body of qg_gemm.run for the shared layouts; x_stride as prepared. */
void qg_tiles_bf16(const qg_tiles *tiles, size_t x_stride, float *y, int64_t ldy, const void *xp,
                   const void *wp, int64_t m, int64_t n, int64_t k, int64_t p0, int64_t p1);
void qg_tiles_f32(const qg_tiles *tiles, float *y, int64_t ldy, const void *xp, const void *wp,
                  int64_t m, int64_t n, int64_t k, int64_t p0, int64_t p1);

/* The same for quant.h's layout and rows with x_group bytes a group; units count groups, a tile's
 * float sums pass through y. */
void qg_tiles_i8(const qg_tiles *tiles, size_t x_stride, size_t x_group, float *y, int64_t ldy,
                 const void *xp, const void *wp, int64_t m, int64_t n, int64_t k, int64_t p0,
                 int64_t p1);
/* The same for quant4.h's layout: each group is unpacked for the 8-bit tiles. */
void qg_tiles_i4(const qg_tiles *i8, qg_i4_unpack_fn *unpack, size_t x_stride, size_t x_group,
                 float *y, int64_t ldy, const void *xp, const void *wp, int64_t m, int64_t n,
                 int64_t k, int64_t p0, int64_t p1);

/* Tiles that read quant4.h's layout themselves. */
void qg_tiles_i4_few(const qg_tiles *i4, size_t x_stride, size_t x_group, float *y, int64_t ldy,
                     const void *xp, const void *wp, int64_t m, int64_t n, int64_t k, int64_t p0,
                     int64_t p1);

/* One panel, any number of rows, all 32 columns written: what attention needs. */
void qg_tiles_panel(const qg_tiles *tiles, const qg_tile *t, int64_t m);

/* One function per tile size, and the table of them.  tile(t, rows, panels) is inlined with
 * constants.  For 32 registers of 16 floats: up to 12 rows of one panel; few rows take several
 * panels at once, so that at least 8 sums are under way and memory streams in parallel. */
#define QG_TILE(kind, tile, rows, panels)                                                          \
    static void kind##_##rows##x##panels(const qg_tile *t)                                         \
    {                                                                                              \
        tile(t, rows, panels);                                                                     \
    }
/* The same of a tile(t, rows, panels, fetch). */
#define QG_TILE_512(kind, tile, rows, panels)                                                      \
    static void kind##_##rows##x##panels(const qg_tile *t)                                         \
    {                                                                                              \
        if (t->fetch)                                                                              \
            tile(t, rows, panels, true);                                                           \
        else                                                                                       \
            tile(t, rows, panels, false);                                                          \
    }
#define QG_TILES_1_TO_12(kind, tile)                                                               \
    QG_TILE_512(kind, tile, 1, 1)                                                                  \
    QG_TILE_512(kind, tile, 2, 1)                                                                  \
    QG_TILE_512(kind, tile, 3, 1)                                                                  \
    QG_TILE_512(kind, tile, 4, 1)                                                                  \
    QG_TILE_512(kind, tile, 5, 1)                                                                  \
    QG_TILE_512(kind, tile, 6, 1)                                                                  \
    QG_TILE_512(kind, tile, 7, 1)                                                                  \
    QG_TILE_512(kind, tile, 8, 1)                                                                  \
    QG_TILE_512(kind, tile, 9, 1)                                                                  \
    QG_TILE_512(kind, tile, 10, 1)                                                                 \
    QG_TILE_512(kind, tile, 11, 1)                                                                 \
    QG_TILE_512(kind, tile, 12, 1)
#define QG_LIST_1_TO_12(kind)                                                                      \
    {                                                                                              \
        kind##_1x1, kind##_2x1, kind##_3x1, kind##_4x1, kind##_5x1, kind##_6x1, kind##_7x1,        \
            kind##_8x1, kind##_9x1, kind##_10x1, kind##_11x1, kind##_12x1                          \
    }
#define QG_TILES_512(kind, tile, few)                                                              \
    QG_TILES_1_TO_12(kind, tile)                                                                   \
    QG_TILE_512(kind, tile, 1, 4)                                                                  \
    QG_TILE_512(kind, tile, 2, 4)                                                                  \
    QG_TILE_512(kind, tile, 3, 4)                                                                  \
    QG_TILE_512(kind, tile, 4, 2)                                                                  \
    QG_TILE_512(kind, tile, 5, 2)                                                                  \
    QG_TILE_512(kind, tile, 6, 2)                                                                  \
    const qg_tiles qg_tiles_##kind = {                                                             \
        .max_rows = 12,                                                                            \
        .stream_rows = few,                                                                        \
        .one = QG_LIST_1_TO_12(kind),                                                              \
        .wide = {kind##_1x4, kind##_2x4, kind##_3x4, kind##_4x2, kind##_5x2, kind##_6x2,           \
                 kind##_7x1, kind##_8x1, kind##_9x1, kind##_10x1, kind##_11x1, kind##_12x1},       \
        .wide_panels = {4, 4, 4, 2, 2, 2, 1, 1, 1, 1, 1, 1},                                       \
    };
/* One panel at a time. */
#define QG_TILES_512_ONE(kind, tile, few)                                                          \
    QG_TILES_1_TO_12(kind, tile)                                                                   \
    const qg_tiles qg_tiles_##kind = {                                                             \
        .max_rows = 12,                                                                            \
        .stream_rows = few,                                                                        \
        .one = QG_LIST_1_TO_12(kind),                                                              \
        .wide = QG_LIST_1_TO_12(kind),                                                             \
        .wide_panels = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},                                       \
    };

#endif
