/* Paged KV memory: fixed blocks of tokens with reference counts, and sequences that are lists of
 * blocks.  One thread (the scheduler) owns a pool and its sequences; compute threads only read
 * block pointers during a pass. */
#ifndef QG_MODEL_KV_H
#define QG_MODEL_KV_H

#include "base/status.h"
#include "kern/kern.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct qg_kv_shape {
    int32_t n_layers, n_kv_heads, head_dim;
    qg_wformat format;
} qg_kv_shape;

typedef struct qg_kv qg_kv;
typedef int32_t qg_kv_block; /* index, -1 = none */

/* Bytes of one block of QG_KV_BLOCK tokens: layers x heads x (K, V), each as kern/kvblock.h has it.
 * 0 when that does not fit or a number is not positive. */
size_t qg_kv_block_bytes(const qg_kv_shape *shape);
/* n_blocks >= 1.  Memory is reserved, not touched. */
qg_status qg_kv_open(qg_kv **out, const qg_kv_shape *shape, int32_t n_blocks, qg_err *err);
void qg_kv_close(qg_kv *kv);
qg_kv_shape qg_kv_shape_of(const qg_kv *kv);
int32_t qg_kv_n_free(const qg_kv *kv);

/* A block that is out of range or free is left alone by all of these: a double unref cannot harm
 * another owner's bookkeeping. */
qg_kv_block qg_kv_take(qg_kv *kv); /* refs = 1; -1 when none is free */
/* Blocks are taken that were freed last, new ones in order when there are no others.  The first use
 * of a new one costs a page fault in the middle of a pass, so it may be had beforehand: touches one
 * of the first n blocks; false when all of them have been. */
bool qg_kv_warm(qg_kv *kv, int32_t n);
void qg_kv_ref(qg_kv *kv, qg_kv_block b);
void qg_kv_unref(qg_kv *kv, qg_kv_block b); /* free at 0 */
int32_t qg_kv_refs(const qg_kv *kv, qg_kv_block b);
/* One of the block's references is a cache's, which gives it up when others need the block.  Such a
 * block is spare while nobody else holds it. */
void qg_kv_set_cached(qg_kv *kv, qg_kv_block b, bool cached);
int32_t qg_kv_n_spare(const qg_kv *kv);
/* Copies block from into block to: all layers, all tokens. */
void qg_kv_copy(qg_kv *kv, qg_kv_block to, qg_kv_block from);
/* A block's part for one layer: what attention kernels call a block. */
void *qg_kv_layer(const qg_kv *kv, qg_kv_block b, int32_t layer);

/* A sequence's block list; slot s lies in blocks[s / QG_KV_BLOCK].  Born as {.kv = kv}. */
typedef struct qg_kv_seq {
    qg_kv *kv;
    qg_kv_block *blocks; /* [n_blocks], each holds one reference */
    int32_t n_blocks, cap;
} qg_kv_seq;

/* Makes slots [0, n_slots) backed by blocks; all of them, or QG_ERR_BUSY (the pool has too few) or
 * QG_ERR_NOMEM and what was there stays. */
qg_status qg_kv_seq_grow(qg_kv_seq *seq, int32_t n_slots);
/* Appends a block, taking over the caller's reference.  On failure (QG_ERR_NOMEM; QG_ERR_ARG: the
 * block is free) the reference stays the caller's. */
qg_status qg_kv_seq_adopt(qg_kv_seq *seq, qg_kv_block b);
/* Puts another block in place i of the list, taking over the caller's reference; the old one's is
 * given back. */
void qg_kv_seq_replace(qg_kv_seq *seq, int32_t i, qg_kv_block b);
/* Gives back blocks beyond those that back [0, n_slots). */
void qg_kv_seq_trim(qg_kv_seq *seq, int32_t n_slots);
void qg_kv_seq_free(qg_kv_seq *seq);

#endif
