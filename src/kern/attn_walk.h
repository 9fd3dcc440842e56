/* Attention over the paged cache; plain C, shared by all instruction sets, which give the inner
 * steps (made of attn_tiles.inc).
 *
 * Positions are taken in chunks of 64, four blocks, by their logical number j:
 *
 *     S = q * K^T     straight from the blocks
 *     online softmax  running maximum and sum per query row and head
 *     O += P * V      straight from the blocks, over j rising
 *
 * A chunk serves all query rows that see the same positions there, so prefill is a matrix product;
 * what a row computes does not depend on how many share it.  Where a path of a token tree leaves
 * the order of slots, sixteen positions are first gathered into a block of the scratch.  Blocks in
 * 8 bits are expanded into bf16 there, once for all query rows of a chunk. */
#ifndef QG_KERN_ATTN_WALK_H
#define QG_KERN_ATTN_WALK_H

#include "kern/kv8.h"

enum {
    QG_ATTN_BLOCKS = 4, /* of a chunk */
    QG_ATTN_CHUNK = QG_ATTN_BLOCKS * QG_KV_BLOCK,
    QG_ATTN_STRIP = 6, /* query rows times heads that a step takes at once */
    QG_ATTN_LANES = 16 /* partial sums of a softmax */
};

/* s[i][64] = q[i] * K of the first n_blocks blocks, for the strip's i.  next: what the following
 * chunk will read, prefetched; the same as k when there is nothing to come. */
typedef struct qg_attn_score {
    float *s;
    const uint8_t *q; /* prepared rows, q_stride bytes apart */
    size_t q_stride;
    const uint8_t *const *k, *const *next; /* [QG_ATTN_BLOCKS], all readable */
    int32_t n_blocks, units;
} qg_attn_score;

/* o[i][0..d) = o[i] * factor[i] + sum over positions [from, to) of the chunk of p[i] * V.  factor
 * NULL: 1.  With bf16, from is even; V of position `to` is not multiplied when `to` is odd. */
typedef struct qg_attn_weigh {
    float *o;
    int64_t d; /* multiple of 16; also the distance of rows of o */
    const float *p;
    const uint8_t *const *v, *const *next;
    const float *factor;
    int32_t from, to;
} qg_attn_weigh;

typedef struct qg_attn_ops {
    qg_wformat format; /* that the steps read: F32 or BF16 */
    qg_kv8_expand_fn
        *expand;         /* NULL: blocks are stored so; else they are I8, the steps read BF16 */
    const qg_gemm *prep; /* its prep and x_bytes make the rows of q */
    void (*score[QG_ATTN_STRIP])(const qg_attn_score *t); /* by size of the strip - 1 */
    void (*weigh[QG_ATTN_STRIP])(const qg_attn_weigh *t);
    /* s[0..64) scores of which the first n count, n >= 1.  In: raw products; out: exponentials of
     * scale * (s - max), zeros behind, as weigh reads them.  Updates *max and sum[16]; returns the
     * factor by which all that was added up before must be multiplied (sum already is).  NaN goes
     * through. */
    float (*soften)(float *s, int32_t n, float scale, float *max, float *sum);
} qg_attn_ops;

/* Contracts of qg_attn.scratch_bytes and qg_attn.run. */
size_t qg_attn_walk_bytes(const qg_attn_ops *ops, const qg_attn_shape *s);
void qg_attn_walk(const qg_attn_ops *ops, const qg_attn_shape *s, const qg_attn_row *rows,
                  int64_t n_rows, int32_t kvh, void *scratch);

/* The two functions of a row that has `ops`. */
#define QG_ATTN_OF_OPS QG_ATTN_FUNCTIONS(ops, scratch_bytes, run)
#define QG_ATTN_FUNCTIONS(ops, scratch_bytes, run)                                                 \
    static size_t scratch_bytes(const qg_attn_shape *s, int32_t n_ctx)                             \
    {                                                                                              \
        (void)n_ctx;                                                                               \
        return qg_attn_walk_bytes(&ops, s);                                                        \
    }                                                                                              \
    static void run(const qg_attn_shape *s, const qg_attn_row *rows, int64_t n_rows, int32_t kvh,  \
                    void *scratch)                                                                 \
    {                                                                                              \
        qg_attn_walk(&ops, s, rows, n_rows, kvh, scratch);                                         \
    }

/* A second row of a file whose ops are for bf16: the same steps over blocks in 8 bits, which its
 * `expand` reads. */
#define QG_ATTN_I8_ROW(row_symbol, row_name, row_need, bf16_prep)                                  \
    static const qg_attn_ops ops_i8 = {                                                            \
        .format = QG_W_BF16,                                                                       \
        .expand = expand,                                                                          \
        .prep = bf16_prep,                                                                         \
        .score = STRIPS(score),                                                                    \
        .weigh = STRIPS(weigh),                                                                    \
        .soften = soften,                                                                          \
    };                                                                                             \
    QG_ATTN_FUNCTIONS(ops_i8, scratch_bytes_i8, run_i8)                                            \
    const qg_attn row_symbol = {                                                                   \
        .name = row_name,                                                                          \
        .need = row_need,                                                                          \
        .kv_format = QG_W_I8,                                                                      \
        .scratch_bytes = scratch_bytes_i8,                                                         \
        .run = run_i8,                                                                             \
        .store = qg_attn_store_i8,                                                                 \
    };

#endif
