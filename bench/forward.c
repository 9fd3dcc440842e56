/* Speed of the forward pass:
 *
 *     bench_forward MODEL-DIR [THREADS [f32|int8|int4|bf16 [ROWS [CONTEXT [RUNS]]]]]
 *
 * Prints the time to open the model, its size and the process's peak memory, and for growing
 * numbers of rows in one pass, behind nothing or a context, milliseconds, rows per second, and
 * 10^9 float operations per second beside the peak measured in the same run.  Operations are those
 * of the matrix products and of attention; only the last row is wanted, as in a verdict. */
#include "base/clock.h"
#include "base/cpu.h"
#include "base/mem.h"
#include "kern/measure.h"
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static const char usage[] =
    "bench_forward MODEL-DIR [THREADS [f32|int8|int4|bf16 [ROWS [CONTEXT [RUNS]]]]]";

enum { MAX_ROWS = 512, MAX_CTX = 16384 + MAX_ROWS, RUNS = 5 };

typedef struct bench {
    qg_modeldir *dir;
    qg_pool *pool;
    qg_model *model;
    qg_scratch *scratch;
    qg_kv *kv;
    float *hidden;
} bench;

/* Multiplications and additions for rows at positions [context, context + rows). */
static double operations(const qg_config *c, int32_t rows, int32_t context)
{
    double q = (double)c->n_heads * c->head_dim, kv = (double)c->n_kv_heads * c->head_dim;
    double keep_all = (double)c->hidden * 2 * kv;
    double wanted = c->hidden * q * 2 + 3.0 * c->hidden * c->intermediate;
    double pairs =
        rows * (rows + 1.0) / 2 + (double)rows * context; /* of a row and a position it sees */
    double last = keep_all * rows + wanted + 2 * q * (rows + context);
    return 2 * ((c->n_layers - 1) * ((keep_all + wanted) * rows + 2 * q * pairs) + last);
}

static double peak_mib(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_maxrss / 1024;
}

static qg_status open_all(bench *b, const char *path, int threads, qg_dtype dtype, qg_err *err)
{
    qg_model_options opt = {.dtype = dtype, .features = qg_cpu_detect()};
    QG_TRY(qg_pool_open(&b->pool, threads, err));
    QG_TRY(qg_modeldir_open(&b->dir, path, QG_MODELDIR_TENSORS, err));
    int64_t start = qg_clock_us();
    QG_TRY(qg_model_open(&b->model, b->dir, &opt, b->pool, err));
    double ms = (double)(qg_clock_us() - start) / 1e3;
    QG_TRY(qg_scratch_open(&b->scratch, b->model, MAX_ROWS, MAX_CTX, threads, err));
    qg_kv_shape shape = qg_model_kv_shape(b->model);
    QG_TRY(qg_kv_open(&b->kv, &shape, MAX_CTX / QG_KV_BLOCK, err));
    b->hidden = qg_malloc((size_t)qg_model_config(b->model)->hidden * sizeof(float));
    if (!b->hidden)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    printf("%s: %s, %d threads, opened in %.0f ms, weights %.0f MiB, peak memory %.0f MiB\n",
           qg_modeldir_name(b->dir), qg_model_kernel(b->model), threads, ms,
           (double)qg_model_weight_bytes(b->model) / (1 << 20), peak_mib());
    return QG_OK;
}

static void close_all(bench *b)
{
    qg_mfree(b->hidden);
    qg_kv_close(b->kv);
    qg_scratch_close(b->scratch);
    qg_model_close(b->model);
    qg_modeldir_close(b->dir);
    qg_pool_close(b->pool);
}

/* Best time of several passes, microseconds; negative when a pass fails. */
static double pass_us(bench *b, int32_t n_rows, int32_t context, int runs)
{
    static const qg_row blank = {.tree_base = INT32_MAX};
    qg_row rows[MAX_ROWS];
    qg_kv_seq seq = {.kv = b->kv};
    double best = -1;
    const qg_kv_shape shape = qg_model_kv_shape(b->model);
    if (qg_kv_seq_grow(&seq, context + n_rows) != QG_OK)
        return -1;
    for (int32_t i = 0; i < context / QG_KV_BLOCK; i++) /* something small and finite */
        memset(qg_kv_layer(b->kv, seq.blocks[i], 0), 0x3c, qg_kv_block_bytes(&shape));
    for (int32_t i = 0; i < n_rows; i++) {
        rows[i] = blank;
        rows[i].id = (i * 7919 + 13) % qg_model_config(b->model)->vocab_size;
        rows[i].pos = rows[i].slot = context + i;
        rows[i].seq = &seq;
        rows[i].want = i == n_rows - 1;
    }
    for (int run = 0; run <= runs; run++) { /* the first one warms up */
        int64_t start = qg_clock_us();
        if (qg_model_forward(b->model, b->scratch, b->pool, rows, n_rows, b->hidden, NULL, NULL) !=
            QG_OK)
            return -1;
        double us = (double)(qg_clock_us() - start);
        if (run > 0 && (best < 0 || us < best))
            best = us;
    }
    qg_kv_seq_free(&seq);
    return best;
}

static void one_case(bench *b, qg_wformat format, int32_t n, int32_t context, int runs)
{
    double us = pass_us(b, n, context, runs);
    if (us < 0)
        return;
    /* beside each other in time: another process on this machine then slows both */
    double peak = qg_measure_peak(qg_peak_pick(format, qg_cpu_detect()), b->pool);
    double rate = operations(qg_model_config(b->model), n, context) / us / 1e3;
    printf("%4d rows at %4d %9.2f ms %8.0f rows/s %7.1f GFLOP/s %5.1f %% of %.0f\n", n, context,
           us / 1e3, n / us * 1e6, rate, 100 * rate / peak, peak);
    fflush(stdout);
}

static int32_t number(int argc, char **argv, int at, int32_t otherwise, int32_t most)
{
    long v = argc > at ? strtol(argv[at], NULL, 10) : otherwise;
    return v < 0 ? 0 : v > most ? most : (int32_t)v;
}

int main(int argc, char **argv)
{
    static const struct {
        int32_t rows, context;
    } cases[] = {{1, 0},   {4, 0},   {16, 0},   {64, 0},    {128, 0},
                 {256, 0}, {512, 0}, {1, 4080}, {16, 4080}, {256, 4080}};
    bench b = {0};
    qg_err err = {""};
    int threads = argc > 2 ? (int)strtol(argv[2], NULL, 10) : qg_cpu_count();
    const char *word = argc > 3 ? argv[3] : "bf16";
    qg_dtype dtype = strcmp(word, "f32") == 0    ? QG_DTYPE_F32
                     : strcmp(word, "int8") == 0 ? QG_DTYPE_INT8
                     : strcmp(word, "int4") == 0 ? QG_DTYPE_INT4
                                                 : QG_DTYPE_BF16;
    if (argc < 2 || open_all(&b, argv[1], threads, dtype, &err) != QG_OK) {
        fprintf(stderr, "%s\n", argc < 2 ? usage : err.msg);
        close_all(&b);
        return 1;
    }
    qg_wformat format = dtype == QG_DTYPE_F32    ? QG_W_F32
                        : dtype == QG_DTYPE_INT8 ? QG_W_I8
                        : dtype == QG_DTYPE_INT4 ? QG_W_I4
                                                 : QG_W_BF16;
    if (argc > 4)
        one_case(&b, format, number(argc, argv, 4, 1, MAX_ROWS),
                 number(argc, argv, 5, 0, MAX_CTX - MAX_ROWS),
                 number(argc, argv, 6, RUNS, 1000000));
    for (size_t i = 0; argc <= 4 && i < QG_COUNT(cases); i++)
        one_case(&b, format, cases[i].rows, cases[i].context, RUNS);
    printf("peak memory %.0f MiB\n", peak_mib());
    close_all(&b);
    return 0;
}
