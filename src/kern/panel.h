/* The packed layouts that the rows of this house share.
 *
 *   bf16:  [ceil(n/32)] panels of [k/2][32 columns][2] bf16, k padded to a multiple of 32
 *   f32:   [ceil(n/32)] panels of [k][32 columns] float
 *
 * A pair of k steps stands side by side in one 32-bit word: that is what VDPBF16PS multiplies and,
 * 16 words by 16 pairs, what an AMX tile holds; rows without bf16 arithmetic take the word apart
 * with a shift and a mask.  Padding is zero.
 *
 * A prepared activation row has an odd number of cache lines: rows an even number apart would all
 * fall into a few sets of the first-level cache (12 rows of 4096 bytes into one of its 64). */
#ifndef QG_KERN_PANEL_H
#define QG_KERN_PANEL_H

#include "kern/kern.h"

enum { QG_NR = 32 }; /* columns of a panel */

static inline int64_t qg_round_up(int64_t v, int64_t to)
{
    return (v + to - 1) / to * to;
}

/* k as stored: bf16 panels and rows prepared for them. */
static inline int64_t qg_k_pad(int64_t k)
{
    return qg_round_up(k, 32);
}

/* Elements of one panel. */
static inline int64_t qg_panel_bf16(int64_t k)
{
    return qg_k_pad(k) * QG_NR;
}

static inline int64_t qg_panel_f32(int64_t k)
{
    return k * QG_NR;
}

/* Table functions; contracts in kern.h.  n, k >= 1; w needs no alignment. */
size_t qg_panel_bf16_bytes(int64_t n, int64_t k);
size_t qg_panel_f32_bytes(int64_t n, int64_t k);
void qg_panel_bf16_pack(void *wp, const void *w, int64_t n, int64_t k, int64_t p0, int64_t p1);
void qg_panel_f32_pack(void *wp, const void *w, int64_t n, int64_t k, int64_t p0, int64_t p1);
void qg_panel_bf16_row(float *dst, const void *wp, int64_t k, int64_t row);
void qg_panel_f32_row(float *dst, const void *wp, int64_t k, int64_t row);

/* Prepared rows: bf16 (2 bytes an element, for VDPBF16PS and tiles), float rounded to bf16 (4
 * bytes, for rows that multiply in float), plain float.  All padded with zeros to qg_k_pad(k). */
size_t qg_x_bf16_bytes(int64_t k);
size_t qg_x_f32_bytes(int64_t k);
void qg_x_rounded_prep(void *xp, const float *x, int64_t ldx, int64_t m, int64_t k, int64_t k0,
                       int64_t k1);
void qg_x_f32_prep(void *xp, const float *x, int64_t ldx, int64_t m, int64_t k, int64_t k0,
                   int64_t k1);

#endif
