/* How K and V lie in a block of the paged cache: as attention reads them, so that nothing is
 * rearranged at each use.  A block holds 16 tokens of one layer; each kv head has its K, then V:
 *
 *   bf16  K [d/2][16 tokens][2 of d]     V [8 pairs of tokens][d][2 of the pair]
 *   f32   K [d][16 tokens]               V [16 tokens][d]
 *   i8    as bf16, but bytes, and in front of them scales (bf16): [d/32][16 tokens]
 *
 * with d = head_dim rounded up to 16.  A unit of K is 64 bytes, 16 words, one a token; a unit of V
 * is d words.  A word is what one multiply-add of a lane takes: a pair of bf16 (VDPBF16PS, BFDOT)
 * or a float.  K beyond head_dim is zero for stored tokens; V there and tokens not stored may hold
 * NaN.  docs/decisions/0013 tells why, 0022 about i8: attention expands such a block (kv8.h). */
#ifndef QG_KERN_KVBLOCK_H
#define QG_KERN_KVBLOCK_H

#include "kern/kern.h"

enum { QG_KV_UNIT_BYTES = QG_KV_BLOCK * 4 };

static inline int64_t qg_kv_dim(int64_t head_dim)
{
    return (head_dim + 15) / 16 * 16;
}

static inline size_t qg_kv_element(qg_wformat format)
{
    return format == QG_W_F32 ? sizeof(float) : sizeof(qg_bf16);
}

enum { QG_KV8_GROUP = 32 }; /* dimensions of a token's K, or V, with one scale in i8 */

/* Bytes of the scales in front of one head's K, or V; dim as of qg_kv_dim. */
static inline size_t qg_kv8_scale_bytes(int64_t dim)
{
    const size_t groups = (size_t)(dim + QG_KV8_GROUP - 1) / QG_KV8_GROUP;
    return (groups * QG_KV_BLOCK * sizeof(qg_bf16) + 63) / 64 * 64;
}

/* Bytes of one head's K, or V, in a block. */
static inline size_t qg_kv_half_bytes(qg_wformat format, int64_t head_dim)
{
    if (format == QG_W_I8)
        return (size_t)qg_kv_dim(head_dim) * QG_KV_BLOCK + qg_kv8_scale_bytes(qg_kv_dim(head_dim));
    return (size_t)qg_kv_dim(head_dim) * QG_KV_BLOCK * qg_kv_element(format);
}

/* Where K of a kv head begins in a block; V is qg_kv_half_bytes further. */
static inline size_t qg_kv_head_at(qg_wformat format, int64_t head_dim, int32_t kvh)
{
    return 2 * (size_t)kvh * qg_kv_half_bytes(format, head_dim);
}

/* Element of K in a head's half: token t, dimension c; and of V.  In i8 counted behind the scales.
 */
static inline int64_t qg_k_element(qg_wformat format, int64_t t, int64_t c)
{
    return format == QG_W_F32 ? c * QG_KV_BLOCK + t : (c / 2 * QG_KV_BLOCK + t) * 2 + c % 2;
}

static inline int64_t qg_v_element(qg_wformat format, int64_t dim, int64_t t, int64_t c)
{
    return format == QG_W_F32 ? t * dim + c : (t / 2 * dim + c) * 2 + t % 2;
}

#endif
