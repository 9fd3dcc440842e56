/* A made-up paged cache for the attention checks: known K and V by logical position, put into
 * blocks wherever a test likes. */
#ifndef QG_TESTS_WORLD_H
#define QG_TESTS_WORLD_H

#include "kerncheck.h"

#include "kern/kern.h"

typedef struct world {
    const qg_attn *attn;
    qg_attn_shape s;
    int32_t n;              /* positions */
    float *k, *v;           /* [n][n_kv_heads * head_dim], as they are stored */
    float *seen_k, *seen_v; /* the same, as attention must see them */
    int32_t n_blocks;
    size_t block_bytes;
    void **mem;          /* [n_blocks] each ends at an unmapped page */
    const void **blocks; /* the same, in an order of its own */
    int32_t *slot;       /* [n] where position j lies */
} world;

typedef struct world_shape {
    int32_t heads, kv_heads, head_dim;
} world_shape;

/* n positions, stored linearly (slot j = j). */
void world_open(world *w, const qg_attn *attn, world_shape shape, int32_t n, uint64_t seed);
void world_close(world *w);
/* Fills every slot with NaN, then stores position j at slot[j]. */
void world_store(world *w);
/* Makes slot[from..n) a random choice of the slots from `from` up to the end of the blocks. */
void world_shuffle(world *w, int32_t from, rng *r);

/* A row that sees n_ctx positions; from tree_base on through the world's slots. */
qg_attn_row world_row(const world *w, const float *q, float *out, int32_t n_ctx, int32_t tree_base);

#endif
