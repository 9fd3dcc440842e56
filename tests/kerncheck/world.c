#include "world.h"

#include "base/mem.h"
#include "kern/kvblock.h"

#include <math.h>
#include <string.h>

static float half(float v)
{
    return qg_bf16_to_f32(qg_f32_to_bf16(v));
}

/* What the cache keeps of n numbers of one token and head; kv8.h says it in words. */
static void keep(qg_wformat format, float *seen, const float *v, int32_t n)
{
    const int32_t group = format == QG_W_I8 ? QG_KV8_GROUP : 1;
    for (int32_t from = 0; from < n; from += group) {
        float most = 0;
        for (int32_t i = from; i < n && i < from + group; i++)
            most = fmaxf(most, fabsf(v[i]));
        const float scale = half(most / 127);
        for (int32_t i = from; i < n && i < from + group; i++) {
            const float q = scale > 0 ? rintf(v[i] * (1 / scale)) : 0;
            seen[i] = format == QG_W_F32    ? v[i]
                      : format == QG_W_BF16 ? half(v[i])
                                            : half(q * scale) + 0.0f; /* no -0 */
        }
    }
}

static float small(rng *r)
{
    return (float)(int32_t)rng_next(r) * 0x1p-31f;
}

void world_open(world *w, const qg_attn *attn, world_shape shape, int32_t n, uint64_t seed)
{
    rng r = {seed};
    const size_t row = (size_t)(shape.kv_heads * shape.head_dim);
    *w = (world){.attn = attn, .n = n};
    w->s = (qg_attn_shape){.n_heads = shape.heads,
                           .n_kv_heads = shape.kv_heads,
                           .head_dim = shape.head_dim,
                           .scale = 1 / sqrtf((float)shape.head_dim)};
    w->n_blocks = n / QG_KV_BLOCK + 3;
    w->block_bytes = qg_kv_head_at(attn->kv_format, shape.head_dim, shape.kv_heads);
    w->k = qg_malloc((size_t)n * row * sizeof(float));
    w->v = qg_malloc((size_t)n * row * sizeof(float));
    w->mem = qg_calloc((size_t)w->n_blocks, sizeof *w->mem);
    w->blocks = qg_calloc((size_t)w->n_blocks, sizeof *w->blocks);
    w->slot = qg_malloc((size_t)n * sizeof *w->slot);
    w->seen_k = qg_malloc((size_t)n * row * sizeof(float));
    w->seen_v = qg_malloc((size_t)n * row * sizeof(float));
    if (!w->k || !w->v || !w->seen_k || !w->seen_v || !w->mem || !w->blocks || !w->slot)
        fail_msg("out of memory");
    for (size_t i = 0; i < (size_t)n * row; i++) {
        w->k[i] = 2 * small(&r);
        w->v[i] = small(&r);
    }
    for (size_t i = 0; i < (size_t)n * row; i += (size_t)shape.head_dim) {
        keep(attn->kv_format, w->seen_k + i, w->k + i, shape.head_dim);
        keep(attn->kv_format, w->seen_v + i, w->v + i, shape.head_dim);
    }
    for (int32_t b = 0; b < w->n_blocks; b++)
        w->mem[b] = guard_alloc(w->block_bytes);
    /* neighbours in a sequence are not neighbours in memory */
    for (int32_t b = 0; b < w->n_blocks; b++)
        w->blocks[b] = w->mem[w->n_blocks - 1 - b];
    for (int32_t j = 0; j < n; j++)
        w->slot[j] = j;
    world_store(w);
}

void world_close(world *w)
{
    for (int32_t b = 0; b < w->n_blocks; b++)
        guard_free(w->mem[b], w->block_bytes);
    qg_mfree(w->k);
    qg_mfree(w->v);
    qg_mfree(w->seen_k);
    qg_mfree(w->seen_v);
    qg_mfree(w->mem);
    qg_mfree(w->blocks);
    qg_mfree(w->slot);
}

void world_store(world *w)
{
    const int32_t d = w->s.head_dim;
    const size_t row = (size_t)(w->s.n_kv_heads * w->s.head_dim);
    for (int32_t b = 0; b < w->n_blocks; b++)
        memset(w->mem[b], 0xff, w->block_bytes); /* NaN in every format */
    for (int32_t j = 0; j < w->n; j++)
        for (int32_t h = 0; h < w->s.n_kv_heads; h++)
            w->attn->store(&w->s, (void *)(uintptr_t)w->blocks[w->slot[j] / QG_KV_BLOCK], h,
                           w->slot[j] % QG_KV_BLOCK, w->k + (size_t)j * row + h * d,
                           w->v + (size_t)j * row + h * d);
}

void world_shuffle(world *w, int32_t from, rng *r)
{
    const int32_t end = w->n_blocks * QG_KV_BLOCK, n = end - from;
    int32_t *all = qg_malloc((size_t)n * sizeof *all);
    if (!all)
        fail_msg("out of memory");
    for (int32_t i = 0; i < n; i++)
        all[i] = from + i;
    for (int32_t i = 0; from + i < w->n; i++) {
        const int32_t pick = i + rng_below(r, n - i), slot = all[pick];
        all[pick] = all[i];
        w->slot[from + i] = slot;
    }
    qg_mfree(all);
    world_store(w);
}

qg_attn_row world_row(const world *w, const float *q, float *out, int32_t n_ctx, int32_t tree_base)
{
    return (qg_attn_row){.q = q,
                         .out = out,
                         .blocks = w->blocks,
                         .n_ctx = n_ctx,
                         .tree_base = tree_base,
                         .path = tree_base < n_ctx ? w->slot + tree_base : NULL};
}
