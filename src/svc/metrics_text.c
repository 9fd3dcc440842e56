#include "svc/metrics_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* From a cached verdict of a tiny model to a long prompt behind a queue. */
const double qg_metrics_bounds[QG_METRICS_BUCKETS] = {
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 10, 30, 60};

void qg_histogram_add(qg_histogram *h, double seconds)
{
    int i = 0;
    while (i < QG_METRICS_BUCKETS && seconds > qg_metrics_bounds[i])
        i++;
    h->count[i]++;
    h->sum += seconds;
}

void qg_metrics_put(qg_metrics_text *p, const char *fmt, ...)
{
    char line[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    if (p->rc == QG_OK)
        p->rc = qg_buf_adds(p->out, line);
}

void qg_metrics_head(qg_metrics_text *p, const char *name, const char *type, const char *help)
{
    qg_metrics_put(p, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void qg_metrics_histogram(qg_metrics_text *p, const char *name, const char *labels,
                          const qg_histogram *h)
{
    uint64_t n = 0;
    for (int i = 0; i < QG_METRICS_BUCKETS; i++) {
        n += h->count[i];
        qg_metrics_put(p, "%s_bucket{%sle=\"%g\"} %llu\n", name, labels, qg_metrics_bounds[i],
                       (unsigned long long)n);
    }
    n += h->count[QG_METRICS_BUCKETS];
    qg_metrics_put(p, "%s_bucket{%sle=\"+Inf\"} %llu\n", name, labels, (unsigned long long)n);
    size_t cut = strlen(labels) ? strlen(labels) - 1 : 0; /* without the comma */
    const char *open = cut ? "{" : "", *close = cut ? "}" : "";
    qg_metrics_put(p, "%s_sum%s%.*s%s %.9g\n", name, open, (int)cut, labels, close, h->sum);
    qg_metrics_put(p, "%s_count%s%.*s%s %llu\n", name, open, (int)cut, labels, close,
                   (unsigned long long)n);
}

void qg_metrics_one(qg_metrics_text *p, const char *name, const char *type, const char *help,
                    double value)
{
    qg_metrics_head(p, name, type, help);
    qg_metrics_put(p, "%s %.15g\n", name, value);
}
