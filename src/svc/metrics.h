/* What is counted, and how Prometheus reads it (text format 0.0.4).
 *
 * Belongs to one thread, the server's.  No text of users and no ids ever become labels: endpoints
 * are the route table's own words, categories the taxonomy's. */
#ifndef QG_SVC_METRICS_H
#define QG_SVC_METRICS_H

#include "svc/metrics_text.h"
#include "svc/policy.h"

typedef struct qg_metrics qg_metrics;

/* QG_ERR_NOMEM. */
qg_status qg_metrics_open(qg_metrics **out, qg_err *err);
/* NULL is fine. */
void qg_metrics_close(qg_metrics *m);

/* A request has ended. endpoint: lives for ever ("/v1/chat/completions"), NULL = no route. */
void qg_metrics_request(qg_metrics *m, const char *endpoint, int code, double seconds);

/* Second opinions that were asked for. */
typedef struct qg_second_count {
    int32_t same, changed, failed; /* the severity stayed, became another, could not be had */
    double seconds;                /* that they took */
} qg_second_count;
/* Adds what result says of one; nothing where none was asked for. */
void qg_second_count_add(qg_second_count *count, const qg_result *result);

/* What one judgement came to. */
typedef struct qg_metrics_verdict {
    qg_phase phase;
    qg_severity severity;
    const char *category; /* NULL = none */
    qg_action action;     /* allow when it was no hit */
    bool by_rule, shadow;
    int32_t prompt_tokens, cached_tokens, generated_tokens;
    double queue_seconds, compute_seconds;
    qg_second_count second;
} qg_metrics_verdict;
void qg_metrics_verdict_add(qg_metrics *m, const qg_metrics_verdict *v);

/* A text could not be judged: why (a status's short name), and whether it passed all the same. */
void qg_metrics_failure(qg_metrics *m, qg_phase phase, qg_status why, bool open);

/* Turned away before judging: why is a fixed word ("rate", "concurrency", "queue", "draining"). */
void qg_metrics_refusal(qg_metrics *m, const char *why);

/* The figures that are read when asked. */
typedef struct qg_metrics_now {
    const char *model, *version, *dtype, *kernel;
    qg_stats engine;
    int64_t start_seconds; /* since 1970 */
    bool healthy;
} qg_metrics_now;

/* Appends the whole page.  QG_ERR_NOMEM, QG_ERR_TOO_LONG. */
qg_status qg_metrics_write(const qg_metrics *m, const qg_metrics_now *now, qg_buf *out);

#endif
