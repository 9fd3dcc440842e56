/* Compute kernels: one contract per job, one row per instruction set, plain C (ref) last.
 *
 * Batch-invariant bits: for a given row of the table, the result of one output element depends only
 * on its own inputs.  Neither the number of rows m, the split of n over threads, nor tiling may
 * change the order of its additions.  tests/kerncheck holds every row to this by equality.
 *
 * Rounding: format BF16 rounds activations to bf16 (nearest even) before the product in every row,
 * so rows differ from each other only in the order of float32 additions.  Formats I8 and
 * I4 (quant.h, quant4.h) multiply 8-bit integers exactly and prescribe the few float operations
 * that remain, so all their rows give the same bits. */
#ifndef QG_KERN_KERN_H
#define QG_KERN_KERN_H

#include <stddef.h>
#include <stdint.h>

typedef uint16_t qg_bf16; /* upper half of a float32 */

enum { QG_X_PART = 128 }; /* columns of an activation row that are prepared together */

typedef enum qg_wformat { QG_W_F32, QG_W_BF16, QG_W_I8, QG_W_I4 } qg_wformat;

static inline float qg_bf16_to_f32(qg_bf16 v)
{
    union {
        uint32_t u;
        float f;
    } c = {.u = (uint32_t)v << 16};
    return c.f;
}

/* Nearest even; NaN stays NaN. */
static inline qg_bf16 qg_f32_to_bf16(float v)
{
    union {
        float f;
        uint32_t u;
    } c = {.f = v};
    if ((c.u & 0x7fffffffu) > 0x7f800000u)
        return (qg_bf16)((c.u >> 16) | 0x40u);
    return (qg_bf16)((c.u + 0x7fffu + ((c.u >> 16) & 1u)) >> 16);
}

/* Matrix product y[m,n] = x[m,k] * w[n,k]^T, float32 accumulation.
 *
 * Weights are packed once, in panels of nr output columns; the layout belongs to the row.
 * Activations are prepared once per input (prep) into rows of x_bytes(k) bytes that all products
 * with this input share.  The work is split over threads by panels [p0, p1) and by rows (pointers).
 */
typedef struct qg_gemm {
    const char *name; /* "bf16_avx512bf16": shown by `qguard cpu` and in bench rows */
    uint32_t need;    /* QG_CPU_* bits, all required */
    qg_wformat format;
    uint16_t nr;                                  /* columns per panel */
    size_t (*packed_bytes)(int64_t n, int64_t k); /* multiple of 64; of the panels before one: where
                                                     it begins */
    /* w [n][k] row-major of src element type (bf16 for QG_W_BF16, else f32); writes panels
     * [p0, p1) of wp (64-byte aligned), padding with zeros.  Of bf16 and f32, w may be at any
     * address: files promise no alignment. */
    void (*pack)(void *wp, const void *w, int64_t n, int64_t k, int64_t p0, int64_t p1);
    /* dst [k] float32 = row `row` of the matrix that was packed (exact, except QG_W_I8 and
     * QG_W_I4: as quantised): the embedding look-up. */
    void (*unpack_row)(float *dst, const void *wp, int64_t k, int64_t row);
    size_t (*x_bytes)(int64_t k); /* bytes of one prepared row; multiple of 64 */
    /* Columns [k0, k1) of m rows of k: k0 is a multiple of QG_X_PART, k1 is too or is k.  x points
     * at column k0 of the first row.  Threads may prepare parts of a row at the same time. */
    void (*prep)(void *xp, const float *x, int64_t ldx, int64_t m, int64_t k, int64_t k0,
                 int64_t k1);
    /* y[i*ldy + j] for i in [0,m), j in the columns of panels [p0,p1) below n.  y is never read and
     * may hold NaN.  xp 64-byte aligned rows from prep.  ldy, ldx in elements. */
    void (*run)(float *y, int64_t ldy, const void *xp, const void *wp, int64_t m, int64_t n,
                int64_t k, int64_t p0, int64_t p1);
} qg_gemm;

enum { QG_KV_BLOCK = 16 }; /* tokens in a block of the paged KV cache */

/* Attention of one query row and one kv head group over a paged KV cache.
 *
 * Logical position j in [0, n_ctx) of the row lies in slot  s = j < tree_base ? j : path[j -
 * tree_base]. Slot s is token s % QG_KV_BLOCK of block blocks[s / QG_KV_BLOCK]; how a block is laid
 * out is told in kvblock.h.  Elements are f32, bf16 or i8 (qg_attn.kv_format), i8 with scales; with
 * the latter two, q and the weights of V are rounded to bf16, and so is what i8 stands for. Softmax
 * in float32; the sum runs over j rising with results that depend only on (q, the K and V values by
 * j, n_ctx): never on slots, tree or batch.
 */
typedef struct qg_attn_row {
    const float *q;            /* [n_heads][head_dim], rotated and normed */
    float *out;                /* [n_heads][head_dim] */
    const void *const *blocks; /* block base pointers of this layer */
    int32_t n_ctx;             /* positions seen, this row's own included; >= 1 */
    int32_t tree_base;         /* >= n_ctx when the row is linear */
    const int32_t *path;       /* slots of positions tree_base.., n_ctx - tree_base of them */
} qg_attn_row;

typedef struct qg_attn_shape {
    int32_t n_heads, n_kv_heads, head_dim;
    float scale; /* 1/sqrt(head_dim), > 0 */
} qg_attn_shape;

typedef struct qg_attn {
    const char *name;
    uint32_t need;
    qg_wformat kv_format;
    /* Bytes of scratch one thread needs for contexts up to n_ctx. */
    size_t (*scratch_bytes)(const qg_attn_shape *s, int32_t n_ctx);
    /* Rows [0, n_rows) share blocks only if they say so; heads of kv head `kvh` are computed. */
    void (*run)(const qg_attn_shape *s, const qg_attn_row *rows, int64_t n_rows, int32_t kvh,
                void *scratch);
    /* Stores K and V (head_dim floats each) of kv head kvh of one token as token `at` of block
     * (aligned to 64).  Other tokens and heads of the block are not touched: threads may store them
     * at the same time. */
    void (*store)(const qg_attn_shape *s, void *block, int32_t kvh, int32_t at, const float *k,
                  const float *v);
} qg_attn;

/* Row-wise vector jobs, float32. */
typedef struct qg_vec {
    const char *name;
    uint32_t need;
    /* y[k] = x[k] * rsqrt(mean(x^2) + eps) * w[k]; y may be x. */
    void (*rmsnorm)(float *y, const float *x, const float *w, int64_t k, float eps);
    /* Half-split rotation of n heads of dim d in place; cosv, sinv [d/2]. */
    void (*rope)(float *x, int64_t n, int64_t d, const float *cosv, const float *sinv);
    /* y[k] = silu(g[k]) * u[k]; y may be g. */
    void (*silu_mul)(float *y, const float *g, const float *u, int64_t k);
    /* y[k] += x[k]. */
    void (*add)(float *y, const float *x, int64_t k);
} qg_vec;

/* The best row whose needs are all in features; ref always fits. */
const qg_gemm *qg_gemm_pick(qg_wformat format, uint32_t features);
const qg_attn *qg_attn_pick(qg_wformat kv_format, uint32_t features);
const qg_vec *qg_vec_pick(uint32_t features);

/* All rows, best first, NULL-terminated (for kerncheck, bench and reports). */
const qg_gemm *const *qg_gemm_rows(void);
const qg_attn *const *qg_attn_rows(void);
const qg_vec *const *qg_vec_rows(void);

/* Rows on instructions done in software, NULL-terminated: slow, in no table above, never picked.
 * For kerncheck on machines without these instructions. */
const qg_gemm *const *qg_gemm_emulated_rows(void);

#endif
