/* What the blocks of tiles of all formats share: how registers are used, and fetching ahead.
 *
 * A step is 2 KiB of a packed panel: 16 rows of 64 bytes for columns 0..15 side by side with 16
 * rows for columns 16..31, so a tile of weights is loaded with a stride of QG_UNIT_BYTES.  A tile
 * of activations is 64 bytes of up to 16 prepared rows.
 *
 * An element's sum runs over the steps rising, in one accumulator, whatever the number of rows: few
 * rows take smaller tiles, not other instructions.  Four accumulators are under way at any time,
 * since a product's result comes 52 cycles after its start and the next can start after 16. */
#ifndef QG_KERN_X86_AMX_BLOCK_H
#define QG_KERN_X86_AMX_BLOCK_H

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

#endif
