/* qguard bench: the workloads of docs/MEASURING.md, each a row of one table. */
#ifndef QG_CLI_BENCH_H
#define QG_CLI_BENCH_H

#include "cli/io.h"

#include <pthread.h>

enum { BENCH_PROMPT_TOKENS = 371, BENCH_BULK = 64, BENCH_CHECKS = 40, BENCH_MAX_CHECKS = 1000 };

/* ---- rows ---- */

typedef struct bench_out {
    bool csv;
    const char *dtype;
    int32_t threads;
} bench_out;

/* A figure: one CSV row, or a line for people.  limit, where it is not 0, is the best that the
 * hardware allows, in the same unit: a CSV row of its own (metric_limit), and the distance on the
 * line. */
void bench_row(const bench_out *out, const char *workload, const char *metric, double value,
               const char *unit, double limit, const char *notes);
/* Rows metric_p50 and (from 20 samples) metric_p99 in milliseconds; sorts us. */
void bench_latency(const bench_out *out, const char *workload, const char *metric, int64_t *us,
                   size_t n, double limit_ms, const char *notes);

/* ---- what the hardware allows ---- */

/* A model's work for one token, and what this machine does at most in a second, measured now. */
typedef struct bench_limits {
    double layer_ops;            /* operations in the layers' matrices; a multiply-add counts two */
    double pair_ops;             /* in attention, for each position a token sees */
    double layer_bytes;          /* of the layers' matrices in the format asked for */
    double output_bytes;         /* of the output matrix in that format */
    double resident_bytes;       /* of all weights as qguard keeps them: embedding 16 or 32 bits */
    double kv_bytes;             /* of one token */
    double ops, pair_rate, read; /* a second: format's peak, attention's, bytes from memory */
} bench_limits;

qg_status bench_limits_open(bench_limits *l, const cli_args *args, const char *dtype, qg_err *err);
/* Milliseconds that `tokens` take through the layers, attention over `pairs` pairs of a token and a
 * position it sees included (0 = not counted). */
double bench_compute_ms(const bench_limits *l, double tokens, double pairs);
/* Milliseconds to read the layers' weights once, and the KV of `context` tokens. */
double bench_read_ms(const bench_limits *l, double context);

/* ---- texts ---- */

/* Prompts of the workload: contents drawn from a word list with a fixed seed, cut so that the
 * rendered prompt has exactly n_tokens.  Gives content number i (any i; the same i is the same
 * text) in *content (caller frees with qg_free). */
qg_status bench_prompt(const qg_engine *engine, unsigned number, size_t n_tokens, char **content,
                       qg_err *err);
/* n plain words, drawn from the same list, behind what text holds. */
qg_status bench_words(qg_buf *text, unsigned number, size_t n);
/* At least n ids of plain words, for contexts of a given length. */
qg_status bench_ids(const qg_engine *engine, size_t n, int32_t **ids, qg_err *err);
/* A conversation of n messages as the template sees it; ids and *n_ids as qg_render gives them. */
qg_status bench_render(const qg_engine *engine, const qg_message *messages, size_t n, int32_t **ids,
                       size_t *n_ids, qg_err *err);

/* ---- workloads ---- */

typedef struct bench {
    const cli_args *args;
    bench_out out;
    bench_limits limits;
    qg_engine *engine;
    size_t prompt_tokens, repeat;
    unsigned next; /* content number, so that no whole prompt comes twice */
    qg_err err;
} bench;

/* Opens the engine anew, with an empty prefix cache or none, and gives it two seconds of rest. */
qg_status bench_open(bench *b, bool prefix_cache);
/* Judges the next content; *us gets the time and, when not NULL, *result the verdict. */
qg_status bench_judge(bench *b, qg_decode decode, int32_t max_tokens, int64_t *us,
                      qg_result **result);

/* Jobs under way beside what else is measured. */
typedef struct bench_crowd {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    int left;
    qg_status rc; /* of the first that failed */
} bench_crowd;

void bench_crowd_init(bench_crowd *crowd);
/* n more (or less) will arrive; one of them has. */
void bench_crowd_add(bench_crowd *crowd, int n);
void bench_crowd_arrived(bench_crowd *crowd, qg_status rc);
/* Queues n contents as bulk jobs. */
qg_status bench_crowd_submit(bench_crowd *crowd, bench *b, char **contents, int n);
int bench_crowd_left(bench_crowd *crowd);
/* Waits for all that were queued. */
qg_status bench_crowd_wait(bench_crowd *crowd, qg_err *err);
void bench_crowd_free(bench_crowd *crowd);

/* Sessions of a Stream model: `step` ids at a time behind `context` ids; 32 sessions, an id each.
 */
qg_status bench_session_steps(bench *b, const int32_t *ids, int32_t context, int32_t step,
                              double limit_ms);
qg_status bench_sessions_at_once(bench *b, const int32_t *ids, int32_t context, double limit_ms);

typedef qg_status bench_fn(bench *b);
bench_fn bench_check, bench_bulk, bench_mixed, bench_growing;
bench_fn bench_stream, bench_long, bench_load, bench_text, bench_kernels;

#endif
