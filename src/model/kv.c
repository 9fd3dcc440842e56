#include "model/kv.h"

#include "base/mem.h"
#include "kern/kvblock.h"

#include <string.h>

struct qg_kv {
    qg_kv_shape shape;
    int32_t n_blocks, n_free, n_spare;
    size_t layer_bytes, block_bytes, mem_bytes;
    uint8_t *mem;
    int32_t *refs;        /* [n_blocks], 0 = free */
    bool *cached;         /* [n_blocks] one of the references is a cache's */
    qg_kv_block *free_at; /* [n_free] used as a stack: what was freed last is warm */
    int32_t n_warm;       /* blocks [0, n_warm) stand in memory: taken once, or touched */
};

/* False when a number is not positive or a size does not fit. */
static bool sizes_of(const qg_kv_shape *shape, size_t *layer, size_t *block)
{
    if (shape->n_layers < 1 || shape->n_kv_heads < 1 || shape->head_dim < 1)
        return false;
    return qg_mul_size(qg_kv_half_bytes(shape->format, shape->head_dim),
                       2 * (size_t)shape->n_kv_heads, layer) &&
           qg_mul_size(*layer, (size_t)shape->n_layers, block);
}

size_t qg_kv_block_bytes(const qg_kv_shape *shape)
{
    size_t layer, block;
    return sizes_of(shape, &layer, &block) ? block : 0;
}

qg_status qg_kv_open(qg_kv **out, const qg_kv_shape *shape, int32_t n_blocks, qg_err *err)
{
    *out = NULL;
    qg_kv *kv = qg_calloc(1, sizeof *kv);
    if (!kv)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory for the KV pool");
    kv->shape = *shape;
    if (n_blocks < 1 || !sizes_of(shape, &kv->layer_bytes, &kv->block_bytes) ||
        !qg_mul_size(kv->block_bytes, (size_t)n_blocks, &kv->mem_bytes)) {
        qg_kv_close(kv);
        return qg_fail(err, QG_ERR_ARG, "a KV pool of %d blocks has no valid size", n_blocks);
    }
    kv->mem = qg_big_alloc(kv->mem_bytes);
    kv->refs = qg_calloc((size_t)n_blocks, sizeof *kv->refs);
    kv->free_at = qg_calloc((size_t)n_blocks, sizeof *kv->free_at);
    kv->cached = qg_calloc((size_t)n_blocks, sizeof *kv->cached);
    if (!kv->mem || !kv->refs || !kv->free_at || !kv->cached) {
        size_t mib = kv->mem_bytes >> 20;
        qg_kv_close(kv);
        return qg_fail(err, QG_ERR_NOMEM, "out of memory for %zu MiB of KV", mib);
    }
    for (int32_t i = 0; i < n_blocks; i++)
        kv->free_at[i] = n_blocks - 1 - i; /* block 0 is taken first */
    kv->n_blocks = kv->n_free = n_blocks;
    *out = kv;
    return QG_OK;
}

void qg_kv_close(qg_kv *kv)
{
    if (!kv)
        return;
    qg_big_free(kv->mem, kv->mem_bytes);
    qg_mfree(kv->refs);
    qg_mfree(kv->free_at);
    qg_mfree(kv->cached);
    qg_mfree(kv);
}

qg_kv_shape qg_kv_shape_of(const qg_kv *kv)
{
    return kv->shape;
}

int32_t qg_kv_n_free(const qg_kv *kv)
{
    return kv->n_free;
}

static bool in_use(const qg_kv *kv, qg_kv_block b)
{
    return b >= 0 && b < kv->n_blocks && kv->refs[b] > 0;
}

qg_kv_block qg_kv_take(qg_kv *kv)
{
    if (kv->n_free == 0)
        return -1;
    qg_kv_block b = kv->free_at[--kv->n_free];
    kv->refs[b] = 1;
    if (b >= kv->n_warm) /* new ones lie at the bottom of the stack, in order */
        kv->n_warm = b + 1;
    return b;
}

bool qg_kv_warm(qg_kv *kv, int32_t n)
{
    if (kv->n_warm >= n || kv->n_warm >= kv->n_blocks)
        return false;
    qg_big_touch(qg_kv_layer(kv, kv->n_warm++, 0), kv->block_bytes);
    return true;
}

static int32_t spare(const qg_kv *kv, qg_kv_block b)
{
    return kv->cached[b] && kv->refs[b] == 1;
}

void qg_kv_ref(qg_kv *kv, qg_kv_block b)
{
    if (!in_use(kv, b) || kv->refs[b] == INT32_MAX)
        return;
    kv->n_spare -= spare(kv, b);
    kv->refs[b]++;
}

void qg_kv_unref(qg_kv *kv, qg_kv_block b)
{
    if (!in_use(kv, b))
        return;
    kv->n_spare -= spare(kv, b);
    if (--kv->refs[b] == 0) {
        kv->cached[b] = false;
        kv->free_at[kv->n_free++] = b;
    }
    kv->n_spare += spare(kv, b);
}

void qg_kv_set_cached(qg_kv *kv, qg_kv_block b, bool cached)
{
    if (!in_use(kv, b))
        return;
    kv->n_spare -= spare(kv, b);
    kv->cached[b] = cached;
    kv->n_spare += spare(kv, b);
}

int32_t qg_kv_n_spare(const qg_kv *kv)
{
    return kv->n_spare;
}

int32_t qg_kv_refs(const qg_kv *kv, qg_kv_block b)
{
    return in_use(kv, b) ? kv->refs[b] : 0;
}

void *qg_kv_layer(const qg_kv *kv, qg_kv_block b, int32_t layer)
{
    return kv->mem + (size_t)b * kv->block_bytes + (size_t)layer * kv->layer_bytes;
}

void qg_kv_copy(qg_kv *kv, qg_kv_block to, qg_kv_block from)
{
    if (in_use(kv, to) && in_use(kv, from) && to != from)
        memcpy(qg_kv_layer(kv, to, 0), qg_kv_layer(kv, from, 0), kv->block_bytes);
}

/* ---- sequences ------------------------------------------------------------------------------- */

static int32_t blocks_for(int32_t n_slots)
{
    return n_slots <= 0 ? 0 : (n_slots - 1) / QG_KV_BLOCK + 1;
}

static qg_status seq_reserve(qg_kv_seq *seq, int32_t n_blocks)
{
    if (n_blocks <= seq->cap)
        return QG_OK;
    int32_t cap = seq->cap <= INT32_MAX / 2 ? seq->cap * 2 : INT32_MAX;
    if (cap < n_blocks)
        cap = n_blocks;
    qg_kv_block *p = qg_realloc_array(seq->blocks, (size_t)cap, sizeof *p);
    if (!p)
        return QG_ERR_NOMEM;
    seq->blocks = p;
    seq->cap = cap;
    return QG_OK;
}

qg_status qg_kv_seq_grow(qg_kv_seq *seq, int32_t n_slots)
{
    int32_t want = blocks_for(n_slots);
    if (want <= seq->n_blocks)
        return QG_OK;
    if (want - seq->n_blocks > seq->kv->n_free)
        return QG_ERR_BUSY;
    QG_TRY(seq_reserve(seq, want));
    while (seq->n_blocks < want)
        seq->blocks[seq->n_blocks++] = qg_kv_take(seq->kv);
    return QG_OK;
}

qg_status qg_kv_seq_adopt(qg_kv_seq *seq, qg_kv_block b)
{
    if (!in_use(seq->kv, b) || seq->n_blocks == INT32_MAX)
        return QG_ERR_ARG;
    QG_TRY(seq_reserve(seq, seq->n_blocks + 1));
    seq->blocks[seq->n_blocks++] = b;
    return QG_OK;
}

void qg_kv_seq_replace(qg_kv_seq *seq, int32_t i, qg_kv_block b)
{
    qg_kv_unref(seq->kv, seq->blocks[i]);
    seq->blocks[i] = b;
}

void qg_kv_seq_trim(qg_kv_seq *seq, int32_t n_slots)
{
    int32_t keep = blocks_for(n_slots);
    while (seq->n_blocks > keep)
        qg_kv_unref(seq->kv, seq->blocks[--seq->n_blocks]);
}

void qg_kv_seq_free(qg_kv_seq *seq)
{
    qg_kv_seq_trim(seq, 0);
    qg_mfree(seq->blocks);
    *seq = (qg_kv_seq){.kv = seq->kv};
}
