/* One matrix product over the pool's threads. */
#include "model/model_int.h"

enum {
    ROW_BLOCK = 256,     /* most rows per call: prepared, they stay near the core meanwhile */
    ITEMS_PER_THREAD = 4 /* enough that a thread that was late does not hold up the others */
};

typedef struct product_job {
    const qg_gemm *gemm;
    const qg_matrix *w;
    const uint8_t *xp;
    float *y;
    int64_t ldy, rows, blocks, p0, p1, step, per_block;
} product_job;

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void multiply(void *arg, int64_t item, int part)
{
    const product_job *j = arg;
    (void)part;
    const int64_t b = item / j->per_block, row = j->rows * b / j->blocks;
    int64_t p0 = j->p0 + item % j->per_block * j->step, p1 = smaller(p0 + j->step, j->p1);
    j->gemm->run(j->y + row * j->ldy, j->ldy, j->xp + (size_t)row * j->gemm->x_bytes(j->w->k),
                 j->w->wp, j->rows * (b + 1) / j->blocks - row, j->w->n, j->w->k, p0, p1);
}

int64_t qg_panels(const qg_matrix *w)
{
    return (w->n + w->gemm->nr - 1) / w->gemm->nr;
}

void qg_product_part(float *y, int64_t ldy, const uint8_t *xp, const qg_matrix *w, int64_t rows,
                     int64_t p0, int64_t p1)
{
    if (rows < 1)
        return;
    const int64_t before = p0 * w->gemm->nr;
    const uint8_t *wp = before ? w->wp + w->gemm->packed_bytes(before, w->k) : w->wp;
    w->gemm->run(y, ldy, xp, wp, rows, w->n - before, w->k, 0, p1 - p0);
}

void qg_product(qg_scratch *s, qg_pool *pool, float *y, int64_t ldy, const uint8_t *xp,
                const qg_matrix *w, int64_t rows, int64_t blocks, int64_t p0, int64_t p1)
{
    if (rows < 1 || p0 >= p1)
        return;
    if (blocks * ROW_BLOCK < rows)
        blocks = (rows + ROW_BLOCK - 1) / ROW_BLOCK;
    int64_t shares = s->parts == 1 ? 1 : (s->parts * ITEMS_PER_THREAD + blocks - 1) / blocks;
    int64_t step = (p1 - p0 + shares - 1) / shares;
    product_job j = {.gemm = w->gemm,
                     .w = w,
                     .xp = xp,
                     .y = y,
                     .ldy = ldy,
                     .rows = rows,
                     .blocks = blocks,
                     .p0 = p0,
                     .p1 = p1,
                     .step = step,
                     .per_block = (p1 - p0 + step - 1) / step};
    qg_items_run(pool, s->parts, multiply, &j, blocks * j.per_block);
}
