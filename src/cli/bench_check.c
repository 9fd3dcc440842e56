/* qguard bench check, bulk: single checks, and many at once. */
#include "cli/bench.h"

/* The answer tree of a prompt's verdict, beside the prompt's own tokens. */
enum { BRANCH_TOKENS = 14 };

typedef struct check_mode {
    const char *metric;
    qg_decode decode;
    int32_t max_tokens;
    const char *notes;
} check_mode;

static const check_mode modes[] = {
    {"verdict", QG_DECODE_VERDICT, 0, "probabilities included"},
    {"generate8", QG_DECODE_GENERATE, 8, "8 tokens decoded greedily"},
    {"generate14", QG_DECODE_GENERATE, 14, "14 tokens decoded greedily"},
};

/* Of a check that computes `tokens` of its prompt: all of them at the peak, and for each token that
 * is decoded behind the first the weights read once more. */
static double check_limit(const bench *b, const check_mode *mode, double tokens, double decoded)
{
    if (mode->decode == QG_DECODE_VERDICT)
        return bench_compute_ms(&b->limits, tokens + BRANCH_TOKENS, 0);
    double step = bench_read_ms(&b->limits, 0) + 1e3 * b->limits.output_bytes / b->limits.read;
    return bench_compute_ms(&b->limits, tokens, 0) + (decoded - 1) * step;
}

static qg_status check_mode_rows(bench *b, const check_mode *mode, bool prefix)
{
    int64_t us[BENCH_MAX_CHECKS];
    qg_result *warm;
    char metric[40];

    QG_TRY(bench_judge(b, mode->decode, mode->max_tokens, &us[0], NULL)); /* fills the caches */
    QG_TRY(bench_judge(b, mode->decode, mode->max_tokens, &us[0], &warm));
    double tokens = warm->n_prompt_tokens - warm->n_cached_tokens;
    double decoded = (double)warm->n_ids + warm->finished; /* a model may end before the limit */
    qg_result_free(warm);
    for (size_t i = 0; i < b->repeat; i++)
        QG_TRY(bench_judge(b, mode->decode, mode->max_tokens, &us[i], NULL));
    snprintf(metric, sizeof metric, "%s%s", mode->metric, prefix ? "_prefix" : "");
    bench_latency(&b->out, "check", metric, us, b->repeat, check_limit(b, mode, tokens, decoded),
                  mode->notes);
    return QG_OK;
}

qg_status bench_check(bench *b)
{
    for (int prefix = 0; prefix < 2; prefix++) {
        QG_TRY(bench_open(b, prefix));
        for (size_t i = 0; i < QG_COUNT(modes); i++)
            QG_TRY(check_mode_rows(b, &modes[i], prefix));
    }
    return QG_OK;
}

qg_status bench_bulk(bench *b)
{
    char *contents[BENCH_BULK] = {0};
    bench_crowd crowd;
    qg_result *warm = NULL;
    int64_t us;

    bench_crowd_init(&crowd);
    qg_status rc = bench_open(b, true);
    for (int i = 0; i < 2 && rc == QG_OK; i++) { /* the prefix is in the cache, as in a service */
        qg_result_free(warm);
        rc = bench_judge(b, QG_DECODE_VERDICT, 0, &us, &warm);
    }
    for (int i = 0; i < BENCH_BULK && rc == QG_OK; i++)
        rc = bench_prompt(b->engine, b->next++, b->prompt_tokens, &contents[i], &b->err);
    int64_t start = qg_now_us();
    if (rc == QG_OK)
        rc = bench_crowd_submit(&crowd, b, contents, BENCH_BULK);
    qg_status all = bench_crowd_wait(&crowd, &b->err);
    double seconds = (double)(qg_now_us() - start) / 1e6;
    rc = rc == QG_OK ? all : rc;
    if (rc == QG_OK) {
        double tokens = warm->n_prompt_tokens - warm->n_cached_tokens + BRANCH_TOKENS;
        bench_row(&b->out, "bulk", "verdict_prefix", BENCH_BULK / seconds, "checks/s",
                  1e3 / bench_compute_ms(&b->limits, tokens, 0), "64 prompts at once");
    }
    qg_result_free(warm);
    bench_crowd_free(&crowd);
    for (int i = 0; i < BENCH_BULK; i++)
        qg_free(contents[i]);
    return rc;
}
