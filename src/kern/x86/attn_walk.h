/* Attention over the paged cache on top of the matrix tiles; plain C, shared by all instruction
 * sets, which give the few inner steps below.
 *
 * Positions are taken in chunks of 64 by their logical number j, whatever slot they lie in:
 *
 *     S = q * K^T     K of the chunk packed into two panels, the product's own layout and tile
 *     online softmax  running maximum and sum per query row and head
 *     O += P * V      V of the chunk packed into float panels, over j rising
 *
 * A packed chunk serves all query rows that see the same positions there, so prefill is a matrix
 * product; what a row computes does not depend on how many share it. */
#ifndef QG_KERN_X86_ATTN_WALK_H
#define QG_KERN_X86_ATTN_WALK_H

#include "kern/kern.h"
#include "kern/x86/tile.h"

enum { QG_ATTN_CHUNK = 64, QG_ATTN_LANES = 16 };

typedef struct qg_attn_ops {
    qg_wformat format;
    const qg_gemm *score;        /* prepares q; its layout is what K is packed into */
    const qg_tiles *score_tiles; /* S */
    const qg_tiles *value_tiles; /* O; float */
    /* to[i] (16 words), 128 bytes apart, = word i of the 16 rows: 64 bytes of each row. */
    void (*transpose)(void *to, const void *const *rows);
    /* to[p][j][0..32) = columns 32p.. of row j, as floats, zeros beyond d; p rises by
     * QG_ATTN_CHUNK * 32 floats, for n rows. */
    void (*widen)(float *to, const void *const *rows, int32_t n, int32_t d);
    /* s[0..64) scores of which the first n count, n >= 1.  In: raw products; out: exponentials of
     * scale * s - max, zeros behind.  Updates *max and sum[16]; returns the factor by which all
     * that was added up before must be multiplied (sum already is).  NaN goes through. */
    float (*softmax)(float *s, int32_t n, float scale, float *max, float *sum);
    void (*multiply)(float *x, int64_t n, float by); /* n a multiple of 32 */
} qg_attn_ops;

size_t qg_attn_walk_bytes(const qg_attn_ops *ops, const qg_attn_shape *s);
/* Contract of qg_attn.run. */
void qg_attn_walk(const qg_attn_ops *ops, const qg_attn_shape *s, const qg_attn_row *rows,
                  int64_t n_rows, int32_t kvh, void *scratch);

#endif
