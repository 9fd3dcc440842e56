/* Speed of every kernel row on shapes of the real models, beside this machine's own peak and read
 * bandwidth measured in the same run.  CSV on stdout; the best of several short windows, so other
 * load on the machine spoils it as little as possible.
 *
 *     bench_kernels [--threads N] [--cpu LIST] [gemm|few|attn|vec]... */
#include "base/clock.h"
#include "base/cpu.h"
#include "base/mem.h"
#include "kern/measure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct bench {
    qg_pool *pool;
    int threads;
    uint32_t features;
    double peak; /* of the row's kind, GFLOP/s */
    double read; /* GB/s from memory */
} bench;

static void row(const bench *b, const char *dtype, const char *workload, const char *metric,
                double value, const char *unit, const char *notes)
{
    printf("qguard,%s,%s,%s,%s,%.2f,%s,%d,%s\n", QG_VERSION, dtype, workload, metric, value, unit,
           b->threads, notes);
    fflush(stdout);
}

static void *must(void *p)
{
    if (!p) {
        fputs("bench_kernels: out of memory\n", stderr);
        exit(1);
    }
    return p;
}

static void fill(float *x, int64_t n)
{
    uint32_t s = 1;
    for (int64_t i = 0; i < n; i++) {
        s = s * 1664525u + 1013904223u;
        x[i] = (float)(int32_t)s * 0x1p-31f;
    }
}

/* Best time of fn in microseconds over at least 0.25 s. */
static double best_us(bench *b, qg_pool_fn *fn, void *arg, int parts)
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

/* ---- matrix products ---- */

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

static void gemm_one(bench *b, const qg_gemm *g, int64_t m, int64_t n, int64_t k, int copies)
{
    gemm_case c = {.g = g, .m = m, .n = n, .k = k, .copies = copies};
    char work[80], notes[120];
    const char *dtype = g->format == QG_W_F32 ? "f32" : g->format == QG_W_I8 ? "int8" : "bf16";
    float *w = must(qg_malloc((size_t)(n * k) * sizeof *w));
    c.w_bytes = g->packed_bytes(n, k);
    c.w = must(qg_big_alloc(c.w_bytes * (size_t)copies));
    c.x = must(qg_malloc((size_t)(m * k) * 4));
    c.y = must(qg_big_alloc((size_t)(m * n) * 4));
    c.xp = must(qg_big_alloc(g->x_bytes(k) * (size_t)m));
    fill(c.x, m * k);
    fill(w, n * k);
    if (g->format == QG_W_BF16)
        for (int64_t i = 0; i < n * k; i++)
            ((qg_bf16 *)(void *)w)[i] = qg_f32_to_bf16(w[i]);
    for (int i = 0; i < copies; i++)
        g->pack(c.w + (size_t)i * c.w_bytes, w, n, k, 0, (n + g->nr - 1) / g->nr);
    g->prep(c.xp, c.x, k, m, k);
    double us = best_us(b, gemm_part, &c, b->threads);
    snprintf(work, sizeof work, "gemm m=%d n=%d k=%d", (int)m, (int)n, (int)k);
    if (copies == 1) {
        double gflops = 2e-3 * (double)m * (double)n * (double)k / us;
        snprintf(notes, sizeof notes, "row %s; %.0f%% of peak %.0f", g->name,
                 100 * gflops / b->peak, b->peak);
        row(b, dtype, work, "speed", gflops, "GFLOP/s", notes);
    } else {
        double gb = (double)c.w_bytes * copies / us / 1e3;
        snprintf(notes, sizeof notes, "row %s; weights from memory; %.0f%% of read bandwidth %.1f",
                 g->name, 100 * gb / b->read, b->read);
        row(b, dtype, work, "weights", gb, "GB/s", notes);
    }
    qg_mfree(w);
    qg_big_free(c.w, c.w_bytes * (size_t)copies);
    qg_mfree(c.x);
    qg_big_free(c.y, (size_t)(m * n) * 4);
    qg_big_free(c.xp, g->x_bytes(k) * (size_t)m);
}

static void gemm_many(bench *b, const qg_gemm *g)
{
    static const struct {
        int64_t m, n, k;
    } shapes[] = {
        {16, 1024, 1024},  {32, 3072, 1024},  {64, 3072, 1024},   {128, 1024, 1024},
        {128, 3072, 1024}, {128, 1024, 3072}, {171, 3072, 1024},  {256, 1024, 1024},
        {256, 2048, 1024}, {256, 4096, 1024}, {256, 6144, 1024},  {256, 1024, 2048},
        {256, 1024, 3072}, {256, 3072, 3072}, {256, 1024, 12288},
    };
    b->peak = qg_measure_peak(qg_peak_pick(g->format, g->need), b->pool);
    for (size_t i = 0; i < QG_COUNT(shapes); i++)
        gemm_one(b, g, shapes[i].m, shapes[i].n, shapes[i].k, 1);
}

static void gemm_few(bench *b, const qg_gemm *g)
{
    static const int64_t rows[] = {1, 2, 3, 4, 6, 8, 12};
    for (size_t i = 0; i < QG_COUNT(rows); i++)
        gemm_one(b, g, rows[i], 3072, 1024,
                 g->format == QG_W_F32  ? 12
                 : g->format == QG_W_I8 ? 48
                                        : 24);
}

/* ---- attention, the shape of the 0.6B model: 16 heads, 8 of K and V, 128 wide ---- */

enum { HEADS = 16, KV_HEADS = 8, HEAD_DIM = 128, BLOCK = 16 };

typedef struct attn_case {
    const qg_attn *a;
    qg_attn_shape s;
    qg_attn_row *rows;
    int64_t n_rows;
    uint8_t *scratch; /* [threads][scratch_bytes] */
    size_t scratch_bytes;
} attn_case;

static void attn_part(void *arg, int part, int n_parts)
{
    attn_case *c = arg;
    for (int64_t r = 0; r < c->n_rows; r += 16)
        for (int32_t h = KV_HEADS * part / n_parts; h < KV_HEADS * (part + 1) / n_parts; h++)
            c->a->run(&c->s, c->rows + r, c->n_rows - r < 16 ? c->n_rows - r : 16, h,
                      c->scratch + (size_t)part * c->scratch_bytes);
}

/* The last n_rows rows of a sequence of n_ctx tokens. */
static void attn_one(bench *b, const qg_attn *a, int32_t n_rows, int32_t n_ctx)
{
    attn_case c = {.a = a, .n_rows = n_rows};
    const size_t elem = a->kv_format == QG_W_F32 ? 4 : 2;
    const int64_t width = KV_HEADS * HEAD_DIM, blocks = (n_ctx + BLOCK - 1) / BLOCK;
    const size_t block_bytes = 2 * (size_t)(width * BLOCK) * elem;
    char work[80], notes[120];
    c.s = (qg_attn_shape){HEADS, KV_HEADS, HEAD_DIM, BLOCK, width * BLOCK, 0.088f};
    c.scratch_bytes = (a->scratch_bytes(&c.s, n_ctx) + 63) / 64 * 64;
    c.scratch = must(qg_big_alloc(c.scratch_bytes * (size_t)b->threads));
    uint8_t *mem = must(qg_big_alloc(block_bytes * (size_t)blocks));
    const void **at = must(qg_calloc((size_t)blocks, sizeof *at));
    float *kv = must(qg_malloc((size_t)width * sizeof *kv));
    float *q = must(qg_malloc(2 * (size_t)(n_rows * HEADS * HEAD_DIM) * sizeof *q));
    c.rows = must(qg_calloc((size_t)n_rows, sizeof *c.rows));
    fill(kv, width);
    fill(q, n_rows * HEADS * HEAD_DIM);
    for (int32_t i = 0; i < n_ctx; i++) {
        at[i / BLOCK] = mem + block_bytes * (size_t)(i / BLOCK);
        a->store(&c.s, mem + block_bytes * (size_t)(i / BLOCK), i % BLOCK, kv, kv);
    }
    double pairs = 0;
    for (int32_t i = 0; i < n_rows; i++) {
        float *mine = q + (int64_t)i * HEADS * HEAD_DIM;
        c.rows[i] = (qg_attn_row){.q = mine,
                                  .out = mine + (int64_t)n_rows * HEADS * HEAD_DIM,
                                  .blocks = at,
                                  .n_ctx = n_ctx - n_rows + 1 + i,
                                  .tree_base = INT32_MAX};
        pairs += c.rows[i].n_ctx;
    }
    const double us = best_us(b, attn_part, &c, b->threads);
    const double gflops = 4 * pairs * HEADS * HEAD_DIM / us / 1e3;
    snprintf(work, sizeof work, "attn rows=%d context=%d", n_rows, n_ctx);
    snprintf(notes, sizeof notes, "row %s; %.0f us a layer; %.0f%% of peak %.0f", a->name, us,
             100 * gflops / b->peak, b->peak);
    row(b, a->kv_format == QG_W_F32 ? "f32" : "bf16", work, "speed", gflops, "GFLOP/s", notes);
    qg_big_free(c.scratch, c.scratch_bytes * (size_t)b->threads);
    qg_big_free(mem, block_bytes * (size_t)blocks);
    qg_mfree(at);
    qg_mfree(kv);
    qg_mfree(q);
    qg_mfree(c.rows);
}

static void attn_all(bench *b)
{
    for (const qg_attn *const *a = qg_attn_rows(); *a; a++) {
        if (((*a)->need & b->features) != (*a)->need || !(*a)->need)
            continue;
        /* of float arithmetic: the weighted sum is float in every row */
        b->peak = qg_measure_peak(qg_peak_pick(QG_W_F32, (*a)->need), b->pool);
        attn_one(b, *a, 371, 371);
        attn_one(b, *a, 256, 4096);
        attn_one(b, *a, 1, 371);
        attn_one(b, *a, 1, 4096);
    }
}

/* ---- vector jobs, on rows in the first-level cache ---- */

typedef struct vec_case {
    const qg_vec *v;
    int job;
    float *x; /* [3][3072] */
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

static void vec_all(bench *b)
{
    static const char *const jobs[] = {"rmsnorm", "rope", "silu_mul", "add"};
    float *x = must(qg_malloc((size_t)VEC_K * 3 * sizeof *x));
    for (const qg_vec *const *v = qg_vec_rows(); *v; v++)
        for (int j = 0; ((*v)->need & b->features) == (*v)->need && j < (int)QG_COUNT(jobs); j++) {
            char notes[80];
            fill(x, (int64_t)VEC_K * 3);
            for (int i = 0; i < HEAD_DIM; i++) { /* a rotation that keeps x in its range */
                x[VEC_K + i] = 0.6f;
                x[VEC_K + HEAD_DIM + i] = 0.8f;
            }
            const double us = best_us(b, vec_part, &(vec_case){*v, j, x}, 1) / VEC_TIMES;
            snprintf(notes, sizeof notes, "row %s; %d floats, one thread", (*v)->name, VEC_K);
            row(b, "f32", jobs[j], "speed", VEC_K / us / 1e3, "10^9 floats/s", notes);
        }
    qg_mfree(x);
}

static void gemm_all(bench *b, void (*fn)(bench *, const qg_gemm *))
{
    for (const qg_gemm *const *g = qg_gemm_rows(); *g; g++)
        if (((*g)->need & b->features) == (*g)->need && (*g)->need)
            fn(b, *g);
}

int main(int argc, char **argv)
{
    bench b = {.threads = 1, .features = qg_cpu_detect()};
    qg_err err = {{0}};
    uint32_t mask = UINT32_MAX;
    bool all = true, many = false, few = false, attn = false, vec = false;
    for (int i = 1; i < argc; i++) {
        bool value = i + 1 < argc;
        if (!strcmp(argv[i], "--threads") && value) {
            b.threads = (int)strtol(argv[++i], NULL, 10);
        } else if (!strcmp(argv[i], "--cpu") && value) {
            if (qg_cpu_parse(argv[++i], &mask, &err) != QG_OK)
                goto fail;
        } else {
            all = false;
            many |= !strcmp(argv[i], "gemm");
            few |= !strcmp(argv[i], "few");
            attn |= !strcmp(argv[i], "attn");
            vec |= !strcmp(argv[i], "vec");
        }
    }
    b.features &= mask;
    if (qg_pool_open(&b.pool, b.threads, &err) != QG_OK ||
        qg_measure_read(&b.read, (size_t)256 << 20, b.pool, &err) != QG_OK)
        goto fail;
    puts("engine,version,dtype,workload,metric,value,unit,threads,notes");
    row(&b, "-", "limit", "read", b.read, "GB/s", "256 MiB a thread");
    if (all || many)
        gemm_all(&b, gemm_many);
    if (all || few)
        gemm_all(&b, gemm_few);
    if (all || attn)
        attn_all(&b);
    if (all || vec)
        vec_all(&b);
    qg_pool_close(b.pool);
    return 0;
fail:
    fprintf(stderr, "bench_kernels: %s\n", err.msg);
    return 1;
}
