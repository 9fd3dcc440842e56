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

/* Judges 64 new contents at once; *seconds from the first that is handed in to the last
 * verdict.
 */
static qg_status bulk_round(bench *b, double *seconds)
{
    char *contents[BENCH_BULK] = {0};
    bench_crowd crowd;
    qg_status rc = QG_OK;

    bench_crowd_init(&crowd);
    for (int i = 0; i < BENCH_BULK && rc == QG_OK; i++)
        rc = bench_prompt(b->engine, b->next++, b->prompt_tokens, &contents[i], &b->err);
    int64_t start = qg_now_us();
    if (rc == QG_OK)
        rc = bench_crowd_submit(&crowd, b, contents, BENCH_BULK);
    qg_status all = bench_crowd_wait(&crowd, &b->err);
    *seconds = (double)(qg_now_us() - start) / 1e6;
    bench_crowd_free(&crowd);
    for (int i = 0; i < BENCH_BULK; i++)
        qg_free(contents[i]);
    return rc == QG_OK ? all : rc;
}

/* The second of two rounds, as in a service that has been running: the prefix is in the cache, and
 * KV memory has been used before. */
qg_status bench_bulk(bench *b)
{
    qg_result *warm;
    double seconds;
    int64_t us;

    QG_TRY(bench_open(b, true));
    QG_TRY(bulk_round(b, &seconds));
    QG_TRY(bench_judge(b, QG_DECODE_VERDICT, 0, &us, &warm));
    const double prompt = warm->n_prompt_tokens, cached = warm->n_cached_tokens;
    const double tokens = prompt - cached + BRANCH_TOKENS;
    /* of a token and a position it sees; a branch token sees the prompt and some of its branch */
    const double pairs =
        (prompt * (prompt + 1) - cached * (cached + 1)) / 2 + BRANCH_TOKENS * (prompt + 3);
    char notes[80];
    qg_result_free(warm);
    QG_TRY(bulk_round(b, &seconds));
    snprintf(notes, sizeof notes,
             "64 prompts at once; second round; %.1f %% of the peak with attention",
             BENCH_BULK * bench_compute_ms(&b->limits, tokens, pairs) / seconds / 10);
    bench_row(&b->out, "bulk", "verdict_prefix", BENCH_BULK / seconds, "checks/s",
              1e3 / bench_compute_ms(&b->limits, tokens, 0), notes);
    return QG_OK;
}
