/* Matrix products, and what all jobs share. */
#include "kern/kernbench_int.h"

#include "base/clock.h"
#include "base/mem.h"
#include "kern/measure.h"

#include <stdio.h>
#include <string.h>

const char *qg_kernbench_dtype(qg_wformat format)
{
    return format == QG_W_F32  ? "float32"
           : format == QG_W_I8 ? "int8"
           : format == QG_W_I4 ? "int4"
                               : "bfloat16";
}

void qg_kernbench_fill(float *x, int64_t n)
{
    uint32_t s = 1;
    for (int64_t i = 0; i < n; i++) {
        s = s * 1664525u + 1013904223u;
        x[i] = (float)(int32_t)s * 0x1p-31f;
    }
}

double qg_kernbench_us(const kernbench *b, qg_pool_fn *fn, void *arg, int parts)
{
    double best = 1e30;
    int64_t begin = qg_clock_us();
    for (int n = 0; n < 5 || qg_clock_us() - begin < 250000; n++) {
        int64_t start = qg_clock_us();
        qg_pool_run(b->pool, fn, arg, parts);
        double us = (double)(qg_clock_us() - start);
        if (us < best)
            best = us;
    }
    return best < 1 ? 1 : best;
}

typedef struct gemm_case {
    const qg_gemm *g;
    int64_t m, n, k;
    int copies; /* of the weights, so that they come from memory */
    uint8_t *w;
    size_t w_bytes;
    float *x, *y;
    uint8_t *xp;
} gemm_case;

static void gemm_part(void *arg, int part, int n_parts)
{
    gemm_case *c = arg;
    int64_t panels = (c->n + c->g->nr - 1) / c->g->nr;
    for (int i = 0; i < c->copies; i++)
        c->g->run(c->y, c->n, c->xp, c->w + (size_t)i * c->w_bytes, c->m, c->n, c->k,
                  panels * part / n_parts, panels * (part + 1) / n_parts);
}

static bool gemm_make(gemm_case *c)
{
    const qg_gemm *g = c->g;
    float *w = qg_malloc((size_t)(c->n * c->k) * sizeof *w);
    c->w = qg_big_alloc(c->w_bytes * (size_t)c->copies);
    c->x = qg_malloc((size_t)(c->m * c->k) * sizeof *c->x);
    c->y = qg_big_alloc((size_t)(c->m * c->n) * sizeof *c->y);
    c->xp = qg_big_alloc(g->x_bytes(c->k) * (size_t)c->m);
    bool made = w && c->w && c->x && c->y && c->xp;
    if (made) {
        qg_kernbench_fill(c->x, c->m * c->k);
        qg_kernbench_fill(w, c->n * c->k);
        if (g->format == QG_W_BF16)
            for (int64_t i = 0; i < c->n * c->k; i++)
                ((qg_bf16 *)(void *)w)[i] = qg_f32_to_bf16(w[i]);
        g->pack(c->w, w, c->n, c->k, 0, (c->n + g->nr - 1) / g->nr);
        for (int i = 1; i < c->copies; i++)
            memcpy(c->w + (size_t)i * c->w_bytes, c->w, c->w_bytes);
        g->prep(c->xp, c->x, c->k, c->m, c->k, 0, c->k);
    }
    qg_mfree(w);
    return made;
}

static void gemm_free(gemm_case *c)
{
    qg_big_free(c->w, c->w_bytes * (size_t)c->copies);
    qg_mfree(c->x);
    qg_big_free(c->y, (size_t)(c->m * c->n) * sizeof *c->y);
    qg_big_free(c->xp, c->g->x_bytes(c->k) * (size_t)c->m);
}

/* from_memory: enough copies of the weights that no cache holds them. */
static bool gemm_one(const kernbench *b, const qg_gemm *g, int64_t m, int64_t n, int64_t k,
                     bool from_memory)
{
    enum { NO_CACHE_BYTES = 144 << 20 };
    const size_t w_bytes = g->packed_bytes(n, k);
    gemm_case c = {.g = g, .m = m, .n = n, .k = k, .w_bytes = w_bytes};
    char shape[64];

    c.copies = from_memory ? (int)(NO_CACHE_BYTES / w_bytes) + 1 : 1;
    bool made = gemm_make(&c);
    if (made) {
        double us = qg_kernbench_us(b, gemm_part, &c, qg_pool_threads(b->pool));
        double work =
            from_memory ? (double)w_bytes * c.copies : 2 * (double)m * (double)n * (double)k;
        snprintf(shape, sizeof shape, "m=%d n=%d k=%d", (int)m, (int)n, (int)k);
        b->fn(b->ud,
              &(qg_kernbench_row){b->job, g->name, qg_kernbench_dtype(g->format), shape,
                                  work / us / 1e3, b->limit, from_memory ? "GB/s" : "GFLOP/s"});
    }
    gemm_free(&c);
    return made;
}

static bool gemm_many(kernbench *b, const qg_gemm *g)
{
    static const struct {
        int64_t m, n, k;
    } shapes[] = {
        {16, 1024, 1024},  {32, 3072, 1024},  {64, 3072, 1024},   {128, 1024, 1024},
        {128, 3072, 1024}, {128, 1024, 3072}, {171, 3072, 1024},  {256, 1024, 1024},
        {256, 2048, 1024}, {256, 4096, 1024}, {256, 6144, 1024},  {256, 1024, 2048},
        {256, 1024, 3072}, {256, 3072, 3072}, {256, 1024, 12288},
    };
    bool fine = true;
    b->limit = qg_measure_peak(qg_peak_pick(g->format, g->need), b->pool);
    for (size_t i = 0; i < QG_COUNT(shapes) && fine; i++)
        fine = gemm_one(b, g, shapes[i].m, shapes[i].n, shapes[i].k, false);
    return fine;
}

static bool gemm_few(kernbench *b, const qg_gemm *g)
{
    static const int64_t rows[] = {1, 2, 3, 4, 6, 8, 12, 16};
    bool fine = true;
    for (size_t i = 0; i < QG_COUNT(rows) && fine; i++)
        fine = gemm_one(b, g, rows[i], 3072, 1024, true);
    return fine;
}

static qg_status gemm_all(kernbench *b, bool (*fn)(kernbench *, const qg_gemm *))
{
    for (const qg_gemm *const *g = qg_gemm_rows(); *g; g++)
        if (((*g)->need & b->features) == (*g)->need && (*g)->need && !fn(b, *g))
            return QG_ERR_NOMEM;
    return QG_OK;
}

qg_status qg_kernbench(const char *job, uint32_t features, qg_pool *pool, qg_kernbench_fn *fn,
                       void *ud, qg_err *err)
{
    kernbench b = {.pool = pool, .features = features, .job = job, .fn = fn, .ud = ud};
    qg_status rc;

    if (!strcmp(job, "gemm")) {
        rc = gemm_all(&b, gemm_many);
    } else if (!strcmp(job, "few")) {
        QG_TRY(qg_measure_read(&b.limit, (size_t)256 << 20, pool, err));
        rc = gemm_all(&b, gemm_few);
    } else if (!strcmp(job, "attn")) {
        rc = qg_kernbench_attn(&b);
    } else if (!strcmp(job, "vec")) {
        rc = qg_kernbench_vec(&b);
    } else {
        return qg_fail(err, QG_ERR_ARG, "'%s' is none of the kernel jobs gemm, few, attn, vec",
                       job);
    }
    return rc == QG_OK ? rc : qg_fail(err, rc, "out of memory");
}
