/* A page of Prometheus' text format (0.0.4), line by line, and the histograms on it.  A page and a
 * histogram belong to one thread at a time. */
#ifndef QG_SVC_METRICS_TEXT_H
#define QG_SVC_METRICS_TEXT_H

#include "base/buf.h"

#include <stdint.h>

enum { QG_METRICS_BUCKETS = 16 };

/* Seconds, with the bounds of qg_metrics_bounds. */
typedef struct qg_histogram {
    uint64_t count[QG_METRICS_BUCKETS + 1]; /* the last one: above every bound */
    double sum;
} qg_histogram;

extern const double qg_metrics_bounds[QG_METRICS_BUCKETS];
/* Counts one observation. */
void qg_histogram_add(qg_histogram *h, double seconds);

/* Remembers the first failure, so that a page is written without a check at every line. */
typedef struct qg_metrics_text {
    qg_buf *out;
    qg_status rc; /* QG_ERR_NOMEM, QG_ERR_TOO_LONG */
} qg_metrics_text;

/* A line, or a part of one, of at most 511 bytes. */
void qg_metrics_put(qg_metrics_text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The two lines in front of a metric; type: "counter", "gauge", "histogram". */
void qg_metrics_head(qg_metrics_text *t, const char *name, const char *type, const char *help);
/* A metric of one number, with its head. */
void qg_metrics_one(qg_metrics_text *t, const char *name, const char *type, const char *help,
                    double value);
/* A histogram's lines, without the head.  labels: `name="value",` with the comma, or "". */
void qg_metrics_histogram(qg_metrics_text *t, const char *name, const char *labels,
                          const qg_histogram *h);

#endif
