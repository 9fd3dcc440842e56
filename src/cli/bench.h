/* qguard bench: the workloads of docs/MEASURING.md, each a row of one table. */
#ifndef QG_CLI_BENCH_H
#define QG_CLI_BENCH_H

#include "cli/io.h"

/* Prompts of the workload: contents drawn from a word list with a fixed seed, cut so that the
 * rendered prompt has exactly n_tokens.  cli_bench_prompt gives content number i (any i; the same i
 * is the same text) in *content (caller frees with qg_free). */
enum { BENCH_PROMPT_TOKENS = 371, BENCH_BULK = 64 };
qg_status bench_prompt(const qg_engine *engine, unsigned number, size_t n_tokens, char **content,
                       qg_err *err);
/* n ids of plain words, for contexts of a given length. */
qg_status bench_ids(const qg_engine *engine, size_t n, int32_t **ids, qg_err *err);

/* One CSV row, or a line for people. */
typedef struct bench_out {
    bool csv;
    const char *dtype;
    int32_t threads;
} bench_out;
void bench_row(const bench_out *out, const char *workload, const char *metric, double value,
               const char *unit, const char *notes);
/* Rows metric_p50 and (from 20 samples) metric_p99 in milliseconds; sorts us. */
void bench_latency(const bench_out *out, const char *workload, const char *metric, int64_t *us,
                   size_t n, const char *notes);

#endif
