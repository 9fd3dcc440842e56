/* 4-bit weights with 8-bit activations: quant.h's product, whose weights are multiples that few
 * bits can name.
 *
 *     w8[n][k] = m * (q - z)      q in [0, 15], in [-127, 127]
 *
 * w8 is what quant.h multiplies, its bf16 scale stands for 128 steps of k.  m in [0, 15] and z in
 * [0, 15] are a column's own for 32 steps.  So 4-bit weights are unpacked to quant.h's bytes with
 * one small product and one sum each, and then every row, the order of its additions and the
 * prepared activations are those of 8-bit weights: all rows give the same bits.
 *
 *   [ceil(n/32)] panels of [groups] x {
 *     sw [32] bf16
 *     steps [4][32] u8           m | z << 4
 *     q [16 pairs of quads][32 columns][4] u8    the even quad in the low half of each byte
 *   }
 *
 * 35 cache lines a group, 4.375 bits a weight, read from front to back.  Why so: docs/decisions/
 * 0012-int4.md. */
#ifndef QG_KERN_QUANT4_H
#define QG_KERN_QUANT4_H

#include "kern/quant.h"

enum {
    QG_STEP = 32, /* steps of k with one m and z */
    QG_STEPS = QG_GROUP / QG_STEP,
    QG_QUAD_PAIRS = QG_QUADS / 2,
    QG_I4_STEPS_AT = QG_SW_BYTES,
    QG_I4_Q_AT = QG_I4_STEPS_AT + QG_STEPS * QG_NR,
    QG_I4_GROUP_BYTES = QG_I4_Q_AT + QG_QUAD_PAIRS * QG_QUAD_BYTES, /* 2240 */
};

/* Table functions; contracts in kern.h.  pack reads float32; a group that holds a NaN or an
 * infinity gets the scale NaN. */
size_t qg_panel_i4_bytes(int64_t n, int64_t k);
void qg_panel_i4_pack(void *wp, const void *w, int64_t n, int64_t k, int64_t p0, int64_t p1);
void qg_panel_i4_row(float *dst, const void *wp, int64_t k, int64_t row);

/* to [QG_GROUP_BYTES] = a group of one panel as quant.h stores it; 64-byte aligned, both. */
typedef void qg_i4_unpack_fn(uint8_t *to, const uint8_t *group);
void qg_i4_unpack(uint8_t *to, const uint8_t *group);

#endif
