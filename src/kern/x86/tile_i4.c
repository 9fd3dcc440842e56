/* 4-bit weights and many rows: eight groups of a panel at a time are unpacked into 8-bit tiles'
 * layout, beside the first-level cache, and meet all rows of a block. */
#include "kern/x86/tile.h"

#include <string.h>

enum {
    BLOCK = 192, /* rows: their sums are 24 KB */
    GROUPS = 8,  /* 33 KB unpacked */
};

typedef struct block {
    const qg_tiles *tiles;
    const uint8_t *x; /* the first row's groups */
    size_t x_stride, x_group, tails;
    int64_t m;
} block;

/* The rows of b times one panel of groups; the first cols of its columns are written. */
static void panel(const block *b, qg_i4_unpack_fn *unpack, float *y, int64_t ldy, const uint8_t *w,
                  int64_t groups, int64_t cols)
{
    _Alignas(64) uint8_t bytes[GROUPS * QG_GROUP_BYTES];
    _Alignas(64) float sum[BLOCK * QG_NR];
    for (int64_t g = 0; g < groups; g += GROUPS) {
        qg_tile t = {.y = sum,
                     .ldy = QG_NR,
                     .x = b->x + (size_t)g * b->x_group,
                     .x_stride = b->x_stride,
                     .tails = b->tails - (size_t)g * (b->x_group - sizeof(qg_xgroup)),
                     .w = bytes,
                     .units = groups - g < GROUPS ? groups - g : GROUPS,
                     .add = g > 0};
        for (int64_t i = 0; i < t.units; i++)
            unpack(bytes + i * QG_GROUP_BYTES, w + (g + i) * QG_I4_GROUP_BYTES);
        qg_tiles_panel(b->tiles, &t, b->m);
    }
    for (int64_t i = 0; i < b->m; i++)
        memcpy(y + i * ldy, sum + i * QG_NR, (size_t)cols * sizeof *sum);
}

void qg_tiles_i4(const qg_tiles *i8, qg_i4_unpack_fn *unpack, size_t x_stride, size_t x_group,
                 float *y, int64_t ldy, const void *xp, const void *wp, int64_t m, int64_t n,
                 int64_t k, int64_t p0, int64_t p1)
{
    const int64_t groups = qg_groups(k);
    for (int64_t p = p0; p < p1; p++)
        for (int64_t r = 0; r < m; r += BLOCK) {
            const block b = {.tiles = i8,
                             .x = (const uint8_t *)xp + (size_t)r * x_stride,
                             .x_stride = x_stride,
                             .x_group = x_group,
                             .tails = (size_t)groups * x_group,
                             .m = m - r < BLOCK ? m - r : BLOCK};
            const int64_t cols = n - p * QG_NR < QG_NR ? n - p * QG_NR : QG_NR;
            panel(&b, unpack, y + r * ldy + p * QG_NR, ldy,
                  (const uint8_t *)wp + p * groups * QG_I4_GROUP_BYTES, groups, cols);
        }
}
