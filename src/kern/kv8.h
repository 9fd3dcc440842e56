/* K and V in 8 bits: stored by the token, read by the block.
 *
 * Each group of 32 dimensions of a token's K, or V, has a scale s, which is the largest magnitude
 * over 127 rounded to bf16; a number is q = round(x / s) in [-127, 127].  What attention computes
 * with is bf16(q * s), the same in all rows: a stored block means the same on every machine, and a
 * token's bytes depend on that token alone.  A group that holds a NaN or an infinity has the scale
 * NaN, one whose numbers all lie below 2^-100 the scale 0. */
#ifndef QG_KERN_KV8_H
#define QG_KERN_KV8_H

#include "kern/kvblock.h"

/* The number that element stands for; half: a head's K, or V, of dim dimensions; element: by
 * qg_k_element or qg_v_element of token t, dimension c. */
float qg_kv8_value(const void *half, int64_t dim, int64_t t, int64_t c, int64_t element);

/* tile = a head's K and V in a block as bf16 has them (both 64-byte aligned); tokens that are not
 * stored may become NaN. */
typedef void qg_kv8_expand_fn(uint8_t *tile, const uint8_t *head, int64_t dim);
void qg_kv8_expand_ref(uint8_t *tile, const uint8_t *head, int64_t dim);

/* Token t of head `to` = token `in` of head `from`, scales included. */
void qg_kv8_copy_token(uint8_t *to, int64_t t, const uint8_t *from, int64_t in, int64_t dim);

#endif
