/* Attention, on the shape of the 0.6B model (16 heads, 8 of K and V, 128 wide), and the row-wise
 * vector jobs. */
#include "kern/kernbench_int.h"

#include "base/mem.h"
#include "kern/kvblock.h"
#include "kern/measure.h"

#include <stdio.h>

enum { HEADS = 16, KV_HEADS = 8, HEAD_DIM = 128 };

typedef struct attn_case {
    const qg_attn *a;
    qg_attn_shape s;
    qg_attn_row *rows;
    int64_t n_rows;
    uint8_t *scratch; /* [threads][scratch_bytes] */
    size_t scratch_bytes, all_scratch, block_bytes;
    int64_t n_blocks;
    uint8_t *mem;    /* [n_blocks][block_bytes] */
    const void **at; /* [n_blocks] */
    float *kv;       /* [HEAD_DIM], every head's and token's */
    float *q;        /* [2][n_rows][HEADS][HEAD_DIM]: queries, results */
    double pairs;    /* of a row and a position it sees */
} attn_case;

static void attn_part(void *arg, int part, int n_parts)
{
    attn_case *c = arg;
    for (int64_t r = 0; r < c->n_rows; r += 16)
        for (int32_t h = KV_HEADS * part / n_parts; h < KV_HEADS * (part + 1) / n_parts; h++)
            c->a->run(&c->s, c->rows + r, c->n_rows - r < 16 ? c->n_rows - r : 16, h,
                      c->scratch + (size_t)part * c->scratch_bytes);
}

static bool attn_alloc(attn_case *c, int32_t n_ctx, int threads)
{
    c->n_blocks = (n_ctx + QG_KV_BLOCK - 1) / QG_KV_BLOCK;
    c->block_bytes = qg_kv_head_at(c->a->kv_format, HEAD_DIM, KV_HEADS);
    c->s = (qg_attn_shape){HEADS, KV_HEADS, HEAD_DIM, 0.088f};
    c->scratch_bytes = (c->a->scratch_bytes(&c->s, n_ctx) + 63) / 64 * 64;
    c->all_scratch = c->scratch_bytes * (size_t)threads;
    c->scratch = qg_big_alloc(c->all_scratch);
    c->mem = qg_big_alloc(c->block_bytes * (size_t)c->n_blocks);
    c->at = qg_calloc((size_t)c->n_blocks, sizeof *c->at);
    c->kv = qg_malloc(HEAD_DIM * sizeof *c->kv);
    c->q = qg_malloc(2 * (size_t)(c->n_rows * HEADS * HEAD_DIM) * sizeof *c->q);
    c->rows = qg_calloc((size_t)c->n_rows, sizeof *c->rows);
    return c->scratch && c->mem && c->at && c->kv && c->q && c->rows;
}

static void attn_free(attn_case *c)
{
    qg_big_free(c->scratch, c->all_scratch);
    qg_big_free(c->mem, c->block_bytes * (size_t)c->n_blocks);
    qg_mfree(c->at);
    qg_mfree(c->kv);
    qg_mfree(c->q);
    qg_mfree(c->rows);
}

/* The last n_rows rows of a sequence of n_ctx tokens. */
static void attn_fill(attn_case *c, int32_t n_ctx)
{
    qg_kernbench_fill(c->kv, HEAD_DIM);
    qg_kernbench_fill(c->q, c->n_rows * HEADS * HEAD_DIM);
    for (int32_t i = 0; i < n_ctx; i++) {
        uint8_t *block = c->mem + c->block_bytes * (size_t)(i / QG_KV_BLOCK);
        c->at[i / QG_KV_BLOCK] = block;
        for (int32_t h = 0; h < KV_HEADS; h++)
            c->a->store(&c->s, block, h, i % QG_KV_BLOCK, c->kv, c->kv);
    }
    for (int32_t i = 0; i < c->n_rows; i++) {
        float *mine = c->q + (int64_t)i * HEADS * HEAD_DIM;
        c->rows[i] = (qg_attn_row){.q = mine,
                                   .out = mine + c->n_rows * HEADS * HEAD_DIM,
                                   .blocks = c->at,
                                   .n_ctx = n_ctx - (int32_t)c->n_rows + 1 + i,
                                   .tree_base = INT32_MAX};
        c->pairs += c->rows[i].n_ctx;
    }
}

static bool attn_one(const kernbench *b, const qg_attn *a, int32_t n_rows, int32_t n_ctx)
{
    attn_case c = {.a = a, .n_rows = n_rows};
    char shape[64];
    bool made = attn_alloc(&c, n_ctx, qg_pool_threads(b->pool));

    if (made) {
        attn_fill(&c, n_ctx);
        double us = qg_kernbench_us(b, attn_part, &c, qg_pool_threads(b->pool));
        snprintf(shape, sizeof shape, "rows=%d context=%d", n_rows, n_ctx);
        b->fn(b->ud,
              &(qg_kernbench_row){b->job, a->name, qg_kernbench_dtype(a->kv_format), shape,
                                  4 * c.pairs * HEADS * HEAD_DIM / us / 1e3, b->limit, "GFLOP/s"});
    }
    attn_free(&c);
    return made;
}

qg_status qg_kernbench_attn(kernbench *b)
{
    for (const qg_attn *const *a = qg_attn_rows(); *a; a++) {
        if (((*a)->need & b->features) != (*a)->need || !(*a)->need)
            continue;
        const qg_wformat math = (*a)->kv_format == QG_W_I8 ? QG_W_BF16 : (*a)->kv_format;
        b->limit = qg_measure_peak(qg_peak_pick(math, (*a)->need), b->pool);
        if (!attn_one(b, *a, 371, 371) || !attn_one(b, *a, 256, 4096) || !attn_one(b, *a, 1, 371) ||
            !attn_one(b, *a, 1, 4096))
            return QG_ERR_NOMEM;
    }
    return QG_OK;
}

/* ---- vector jobs, on rows in the first-level cache ---- */

typedef struct vec_case {
    const qg_vec *v;
    int job;
    float *x; /* [3][VEC_K] */
} vec_case;

enum { VEC_K = 3072, VEC_TIMES = 200 };

static void vec_part(void *arg, int part, int n_parts)
{
    const vec_case *c = arg;
    float *x = c->x, *w = x + VEC_K, *y = w + VEC_K;
    (void)part;
    (void)n_parts;
    for (int i = 0; i < VEC_TIMES; i++)
        switch (c->job) {
        case 0:
            c->v->rmsnorm(y, x, w, VEC_K, 1e-6f);
            break;
        case 1:
            c->v->rope(x, VEC_K / HEAD_DIM, HEAD_DIM, w, w + HEAD_DIM);
            break;
        case 2:
            c->v->silu_mul(y, x, w, VEC_K);
            break;
        default:
            c->v->add(y, x, VEC_K);
        }
}

qg_status qg_kernbench_vec(kernbench *b)
{
    static const char *const jobs[] = {"rmsnorm", "rope", "silu_mul", "add"};
    float *x = qg_malloc((size_t)VEC_K * 3 * sizeof *x);
    char shape[64];

    if (!x)
        return QG_ERR_NOMEM;
    for (const qg_vec *const *v = qg_vec_rows(); *v; v++)
        for (int j = 0; ((*v)->need & b->features) == (*v)->need && j < (int)QG_COUNT(jobs); j++) {
            qg_kernbench_fill(x, (int64_t)VEC_K * 3);
            for (int i = 0; i < HEAD_DIM; i++) { /* a rotation that keeps x in its range */
                x[VEC_K + i] = 0.6f;
                x[VEC_K + HEAD_DIM + i] = 0.8f;
            }
            double us = qg_kernbench_us(b, vec_part, &(vec_case){*v, j, x}, 1) / VEC_TIMES;
            snprintf(shape, sizeof shape, "%s n=%d", jobs[j], VEC_K);
            b->fn(b->ud, &(qg_kernbench_row){b->job, (*v)->name, "float32", shape, VEC_K / us / 1e3,
                                             0, "10^9 floats/s"});
        }
    qg_mfree(x);
    return QG_OK;
}
