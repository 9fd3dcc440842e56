/* qguard bench mixed, growing: what one caller notices of others, and of its own past. */
#include "cli/bench.h"

#include "base/limits.h"

#include <string.h>

enum { LONG_TOKENS = 16384, QUICK_LONG_TOKENS = 4096 };

/* At most n checks one after the other, while the crowd is under way when there is one; no rows
 * when metric is NULL. */
static qg_status checks(bench *b, bench_crowd *until, size_t n, const char *metric,
                        const char *notes)
{
    int64_t us[BENCH_MAX_CHECKS];
    char slowest[64];
    size_t i = 0;
    while (i < n && (!until || bench_crowd_left(until)))
        QG_TRY(bench_judge(b, QG_DECODE_VERDICT, 0, &us[i++], NULL));
    if (!metric || !i)
        return QG_OK;
    bench_latency(&b->out, "mixed", metric, us, i, 0, notes);
    snprintf(slowest, sizeof slowest, "%s_max", metric);
    bench_row(&b->out, "mixed", slowest, (double)us[i - 1] / 1e3, "ms", 0, "the slowest");
    return QG_OK;
}

static qg_status beside_bulk(bench *b)
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
    if (rc == QG_OK)
        rc = checks(b, &crowd, BENCH_MAX_CHECKS, "check_beside_bulk", "64 bulk jobs under way");
    qg_status all = bench_crowd_wait(&crowd, &b->err);
    double seconds = (double)(qg_now_us() - start) / 1e6;
    rc = rc == QG_OK ? all : rc;
    if (rc == QG_OK)
        bench_row(&b->out, "mixed", "bulk_beside_checks", BENCH_BULK / seconds, "checks/s", 0,
                  "64 bulk jobs; an interactive check always under way");
    bench_crowd_free(&crowd);
    for (int i = 0; i < BENCH_BULK; i++)
        qg_free(contents[i]);
    return rc;
}

typedef struct long_job {
    bench_crowd crowd;
    qg_job *job;
} long_job;

static void long_done(void *ud, qg_status rc, qg_result *result, const qg_err *err)
{
    long_job *l = ud;
    (void)rc; /* cancelled when the checks are through */
    (void)err;
    qg_result_free(result);
    bench_crowd_arrived(&l->crowd, QG_OK);
}

static qg_status long_submit(bench *b, long_job *l, size_t tokens)
{
    qg_request req;
    char *content;

    QG_TRY(bench_prompt(b->engine, b->next++, tokens, &content, &b->err));
    const qg_message m = {"user", {content, strlen(content)}};
    qg_request_init(&req);
    req.messages = &m;
    req.n_messages = 1;
    bench_crowd_add(&l->crowd, 1);
    qg_status rc = qg_submit(b->engine, &req, long_done, l, &l->job, &b->err);
    if (rc != QG_OK)
        bench_crowd_add(&l->crowd, -1);
    qg_free(content);
    return rc;
}

static qg_status beside_long(bench *b)
{
    long_job l = {.job = NULL};
    qg_stats before, after;
    qg_model_info info;
    char notes[64];
    size_t tokens = b->args->quick ? QUICK_LONG_TOKENS : LONG_TOKENS;

    qg_engine_info(b->engine, &info);
    if ((int64_t)tokens + 64 > info.max_model_len)
        return QG_OK;
    bench_crowd_init(&l.crowd);
    qg_status rc = long_submit(b, &l, tokens);
    qg_engine_stats(b->engine, &before);
    int64_t start = qg_now_us();
    snprintf(notes, sizeof notes, "a job of %zu tokens under way", tokens);
    if (rc == QG_OK)
        rc = checks(b, &l.crowd, b->repeat, "check_beside_long", notes);
    double seconds = (double)(qg_now_us() - start) / 1e6;
    qg_engine_stats(b->engine, &after);
    if (l.job)
        qg_cancel(l.job);
    bench_crowd_wait(&l.crowd, &b->err);
    if (l.job)
        qg_job_release(l.job);
    bench_crowd_free(&l.crowd);
    if (rc == QG_OK)
        bench_row(&b->out, "mixed", "rows_beside_long",
                  (double)(after.tokens_computed - before.tokens_computed) / seconds, "tokens/s", 0,
                  "of the long job and the checks together");
    return rc;
}

qg_status bench_mixed(bench *b)
{
    QG_TRY(bench_open(b, true));
    QG_TRY(checks(b, NULL, 2, NULL, NULL)); /* fills the caches */
    QG_TRY(checks(b, NULL, b->repeat, "check_alone", "nothing else under way"));
    QG_TRY(beside_bulk(b));
    return beside_long(b);
}

/* ---- growing: a reply judged again and again while it is written, each time sent whole ----------
 */

enum { GROWTHS = 16, GROWTH_WORDS = 64, GROWTH_BRANCH_TOKENS = 14 };

typedef struct growth {
    qg_buf text;
    int32_t *ids; /* of the prompt before; [n_ids] */
    size_t n_ids;
    double computed, needed, cold; /* tokens so far */
    int64_t us[GROWTHS];
    size_t n;
} growth;

/* Tokens of the conversation that are not the beginning of the one before. */
static qg_status new_tokens(bench *b, growth *g, const qg_message *messages, size_t *n)
{
    int32_t *ids;
    size_t n_ids, same = 0;
    QG_TRY(bench_render(b->engine, messages, 2, &ids, &n_ids, &b->err));
    while (same < n_ids && same < g->n_ids && ids[same] == g->ids[same])
        same++;
    qg_free(g->ids);
    g->ids = ids;
    g->n_ids = n_ids;
    *n = n_ids - same;
    return QG_OK;
}

static qg_status grow_once(bench *b, growth *g, bool counts)
{
    qg_stats before, after;
    qg_request req;
    qg_result *result;
    size_t fresh;

    QG_TRY(bench_words(&g->text, b->next++, GROWTH_WORDS));
    const qg_message messages[] = {{"user", {"Tell me a long story.", 21}},
                                   {"assistant", {g->text.p, g->text.n}}};
    QG_TRY(new_tokens(b, g, messages, &fresh));
    qg_request_init(&req);
    req.messages = messages;
    req.n_messages = 2;
    qg_engine_stats(b->engine, &before);
    int64_t start = qg_now_us();
    QG_TRY(qg_judge(b->engine, &req, &result, &b->err));
    int64_t us = qg_now_us() - start;
    qg_engine_stats(b->engine, &after);
    if (counts) {
        g->us[g->n++] = us;
        g->computed += (double)(after.tokens_computed - before.tokens_computed);
        g->needed += (double)fresh + GROWTH_BRANCH_TOKENS;
        g->cold += result->n_prompt_tokens + GROWTH_BRANCH_TOKENS;
    }
    qg_result_free(result);
    return QG_OK;
}

qg_status bench_growing(bench *b)
{
    growth g = {.n = 0};
    char notes[80];

    qg_status rc = bench_open(b, true);
    qg_buf_init(&g.text, QG_MAX_TEXT_BYTES);
    for (int i = -2; i < GROWTHS && rc == QG_OK; i++)
        rc = grow_once(b, &g, i >= 0);
    if (rc == QG_OK) {
        double n = (double)g.n;
        snprintf(notes, sizeof notes, "a check; of %.0f tokens sent; limit: new ones and suffix",
                 g.cold / n);
        bench_row(&b->out, "growing", "computed", g.computed / n, "tokens", g.needed / n, notes);
        bench_latency(&b->out, "growing", "check", g.us, g.n,
                      bench_compute_ms(&b->limits, g.needed / n, 0),
                      "a reply sent whole after every 64 words");
    }
    qg_free(g.ids);
    qg_buf_free(&g.text);
    return rc;
}
