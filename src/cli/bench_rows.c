/* How figures are printed. */
#include "cli/bench.h"

#include <stdlib.h>
#include <string.h>

static void csv_row(const bench_out *out, const char *workload, const char *metric,
                    const char *suffix, double value, const char *unit, const char *notes)
{
    printf("qguard,%s,%s,%s,%s%s,%.4g,%s,%d,%s\n", QG_VERSION, out->dtype, workload, metric, suffix,
           value, unit, out->threads, notes);
}

/* Times fall towards their limit, rates rise towards it: either way how often the limit fits. */
static double distance(double value, const char *unit, double limit)
{
    return strstr(unit, "/s") ? limit / value : value / limit;
}

void bench_row(const bench_out *out, const char *workload, const char *metric, double value,
               const char *unit, double limit, const char *notes)
{
    char to_limit[60] = "";

    if (out->csv) {
        csv_row(out, workload, metric, "", value, unit, notes);
        if (limit > 0)
            csv_row(out, workload, metric, "_limit", limit, unit, "what the hardware allows");
    } else {
        if (limit > 0)
            snprintf(to_limit, sizeof to_limit, "%.2f x from %.4g", distance(value, unit, limit),
                     limit);
        printf("%-9s %-32s %10.4g %-10s %-20s %s\n", workload, metric, value, unit, to_limit,
               notes);
    }
    fflush(stdout);
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The value q of the way up, between its neighbours. */
static double quantile_ms(const int64_t *us, size_t n, double q)
{
    double at = q * (double)(n - 1);
    size_t lo = (size_t)at, hi = lo + 1 < n ? lo + 1 : lo;
    return ((double)us[lo] + (double)(us[hi] - us[lo]) * (at - (double)lo)) / 1e3;
}

void bench_latency(const bench_out *out, const char *workload, const char *metric, int64_t *us,
                   size_t n, double limit_ms, const char *notes)
{
    char name[80], all[120];

    if (!n)
        return;
    qsort(us, n, sizeof *us, by_value);
    snprintf(all, sizeof all, "n=%zu%s%s", n, *notes ? "; " : "", notes);
    snprintf(name, sizeof name, "%s_p50", metric);
    bench_row(out, workload, name, quantile_ms(us, n, 0.5), "ms", limit_ms, all);
    if (n < 20)
        return;
    snprintf(name, sizeof name, "%s_p99", metric);
    bench_row(out, workload, name, quantile_ms(us, n, 0.99), "ms", 0, all);
}
