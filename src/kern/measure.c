#include "kern/measure.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"

#include <string.h>

/* Shorter than a scheduler slice, so that some windows run undisturbed on a busy machine. */
enum { WINDOW_US = 2000, WINDOWS = 60 };

const qg_peak *qg_peak_pick(qg_wformat format, uint32_t features)
{
    const qg_peak *const *row = qg_peak_rows();
    if (format == QG_W_I4) /* is multiplied as 8 bits */
        format = QG_W_I8;
    while ((*row)->format != format || ((*row)->need & features) != (*row)->need)
        row++;
    return *row;
}

/* One window: each part does the same work; the work is repeated until it lasts long enough. */
typedef struct window {
    const qg_peak *peak;
    int64_t iters;
    const uint8_t *buf; /* [threads][bytes] */
    size_t bytes;
    double *done; /* [threads] operations or bytes */
} window;

static double best_rate(window *w, qg_pool_fn *fn, qg_pool *pool)
{
    double best = 0;
    const int threads = qg_pool_threads(pool);
    for (int n = 0; n < WINDOWS;) {
        int64_t start = qg_clock_us();
        qg_pool_run(pool, fn, w, threads);
        int64_t us = qg_clock_us() - start;
        if (us < WINDOW_US) {
            w->iters = us < WINDOW_US / 8 ? w->iters * 4 : w->iters * WINDOW_US / us + 1;
            if (us < WINDOW_US * 3 / 4)
                continue;
        }
        double sum = 0;
        for (int i = 0; i < threads; i++)
            sum += w->done[i];
        if (sum / (double)us > best)
            best = sum / (double)us;
        n++;
    }
    return best / 1e3;
}

static void peak_part(void *arg, int part, int n_parts)
{
    window *w = arg;
    (void)n_parts;
    w->done[part] = w->peak->run(w->iters);
}

double qg_measure_peak(const qg_peak *row, qg_pool *pool)
{
    double done[QG_MAX_THREADS];
    window w = {.peak = row, .iters = 1000, .done = done};
    return best_rate(&w, peak_part, pool);
}

/* Reads four streams at once, so that more cache lines are under way than one stream asks for. */
static uint64_t read_all(const uint8_t *buf, size_t bytes)
{
    uint64_t sum[8] = {0};
    const size_t quarter = bytes / 4 / 64 * 64;
    for (size_t i = 0; i < quarter; i += 64)
        for (int s = 0; s < 4; s++) {
            const uint64_t *line = (const uint64_t *)(const void *)(buf + (size_t)s * quarter + i);
            for (int j = 0; j < 8; j++)
                sum[j] ^= line[j];
        }
    for (int j = 1; j < 8; j++)
        sum[0] ^= sum[j];
    return sum[0];
}

static void read_part(void *arg, int part, int n_parts)
{
    window *w = arg;
    volatile uint64_t sink = 0;
    (void)n_parts;
    for (int64_t i = 0; i < w->iters; i++)
        sink = sink ^ read_all(w->buf + (size_t)part * w->bytes, w->bytes);
    w->done[part] = (double)w->iters * (double)(w->bytes / 4 / 64 * 64 * 4);
}

qg_status qg_measure_read(double *gb_s, size_t bytes, qg_pool *pool, qg_err *err)
{
    double done[QG_MAX_THREADS];
    size_t all;
    uint8_t *buf = NULL;
    bytes = bytes / 4096 * 4096;
    if (!qg_mul_size(bytes, (size_t)qg_pool_threads(pool), &all) || !(buf = qg_big_alloc(all)))
        return qg_fail(err, QG_ERR_NOMEM, "out of memory for measuring read bandwidth");
    memset(buf, 1, all);
    window w = {.iters = 1, .buf = buf, .bytes = bytes, .done = done};
    *gb_s = best_rate(&w, read_part, pool);
    qg_big_free(buf, all);
    return QG_OK;
}
