/* qguard bench: check, bulk, stream, long, load.  Everything goes through the public header, so the
 * figures are what a caller gets.  docs/MEASURING.md tells what each row means. */
#define _GNU_SOURCE /* wait4, environ */
#include "cli/bench.h"

#include "base/cpu.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHECKS = 40, QUICK_CHECKS = 6, LOADS = 3 };

typedef struct bench {
    const cli_args *args;
    bench_out out;
    qg_engine *engine;
    size_t prompt_tokens;
    unsigned next; /* content number, so that no whole prompt comes twice */
    qg_err err;
} bench;

typedef qg_status bench_fn(bench *b);

static size_t repeats(const bench *b)
{
    return b->args->quick ? QUICK_CHECKS : CHECKS;
}

static qg_status reopen(bench *b, bool prefix_cache)
{
    qg_options opt;
    qg_model_info info;

    qg_engine_close(b->engine);
    b->engine = NULL;
    cli_engine_options(b->args, QG_PART_ALL, &opt);
    opt.prefix_cache = prefix_cache && !b->args->no_prefix_cache;
    qg_status rc = qg_engine_open(&b->engine, &opt, &b->err);
    if (rc != QG_OK)
        return rc;
    qg_engine_info(b->engine, &info);
    b->out.dtype = info.dtype;
    b->out.threads = info.n_threads;
    return QG_OK;
}

/* ---- check: one prompt at a time --------------------------------------------------------------
 */

static qg_status judge_one(bench *b, qg_decode decode, int64_t *us)
{
    char *content;
    qg_result *result;
    qg_request req;

    qg_status rc = bench_prompt(b->engine, b->next++, b->prompt_tokens, &content, &b->err);
    if (rc != QG_OK)
        return rc;
    const qg_message m = {"user", {content, strlen(content)}};
    qg_request_init(&req);
    req.messages = &m;
    req.n_messages = 1;
    req.decode = decode;
    req.max_tokens = decode == QG_DECODE_GENERATE ? 8 : 0;
    int64_t start = qg_now_us();
    rc = qg_judge(b->engine, &req, &result, &b->err);
    *us = qg_now_us() - start;
    qg_result_free(result);
    qg_free(content);
    return rc;
}

static qg_status judge_many(bench *b, qg_decode decode, const char *metric, const char *notes)
{
    int64_t us[CHECKS];
    size_t n = repeats(b);

    qg_status rc = judge_one(b, decode, &us[0]); /* warms caches, page tables and the prefix */
    for (size_t i = 0; i < n && rc == QG_OK; i++)
        rc = judge_one(b, decode, &us[i]);
    if (rc == QG_OK)
        bench_latency(&b->out, "check", metric, us, n, notes);
    return rc;
}

static qg_status bench_check(bench *b)
{
    QG_TRY(reopen(b, false));
    QG_TRY(judge_many(b, QG_DECODE_VERDICT, "verdict_cold", "probabilities included"));
    QG_TRY(judge_many(b, QG_DECODE_GENERATE, "generate8_cold", "8 tokens decoded greedily"));
    QG_TRY(reopen(b, true));
    QG_TRY(judge_many(b, QG_DECODE_VERDICT, "verdict_prefix", "probabilities included"));
    return judge_many(b, QG_DECODE_GENERATE, "generate8_prefix", "8 tokens decoded greedily");
}

/* ---- bulk: many prompts at once ---------------------------------------------------------------
 */

typedef struct crowd {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    int left;
    qg_status rc;
} crowd;

static void arrived(void *ud, qg_status rc, qg_result *result, const qg_err *err)
{
    crowd *c = ud;
    (void)err;
    qg_result_free(result);
    pthread_mutex_lock(&c->lock);
    if (rc != QG_OK)
        c->rc = rc;
    c->left--;
    pthread_cond_signal(&c->cond);
    pthread_mutex_unlock(&c->lock);
}

static qg_status submit_all(bench *b, crowd *c, char **contents, int n)
{
    qg_request req;
    qg_request_init(&req);
    req.n_messages = 1;
    req.priority = 1;
    for (int i = 0; i < n; i++) {
        const qg_message m = {"user", {contents[i], strlen(contents[i])}};
        req.messages = &m;
        qg_status rc = qg_submit(b->engine, &req, arrived, c, NULL, &b->err);
        if (rc != QG_OK) {
            pthread_mutex_lock(&c->lock);
            c->left -= n - i;
            c->rc = rc;
            pthread_mutex_unlock(&c->lock);
            break;
        }
    }
    pthread_mutex_lock(&c->lock);
    while (c->left > 0)
        pthread_cond_wait(&c->cond, &c->lock);
    pthread_mutex_unlock(&c->lock);
    return c->rc;
}

static qg_status bench_bulk(bench *b)
{
    char *contents[BENCH_BULK] = {0};
    crowd c = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, BENCH_BULK, QG_OK};
    int64_t us;

    qg_status rc = reopen(b, true);
    if (rc == QG_OK)
        rc = judge_one(b, QG_DECODE_VERDICT, &us); /* the prefix is in the cache, as in a service */
    for (int i = 0; i < BENCH_BULK && rc == QG_OK; i++)
        rc = bench_prompt(b->engine, b->next++, b->prompt_tokens, &contents[i], &b->err);
    int64_t start = qg_now_us();
    if (rc == QG_OK)
        rc = submit_all(b, &c, contents, BENCH_BULK);
    double seconds = (double)(qg_now_us() - start) / 1e6;
    if (rc == QG_OK)
        bench_row(&b->out, "bulk", "verdict_prefix_rate", BENCH_BULK / seconds, "checks/s",
                  "64 prompts at once");
    for (int i = 0; i < BENCH_BULK; i++)
        qg_free(contents[i]);
    return rc;
}

/* ---- stream and long: tokens through the model -------------------------------------------------
 */

/* Feeds n ids in the given pieces and leaves the time of each in us. */
static qg_status feed(bench *b, const int32_t *ids, size_t n, const int32_t *pieces,
                      size_t n_pieces, int64_t *us)
{
    int32_t last = (int32_t)n - 1;
    qg_model_info info;
    qg_engine_info(b->engine, &info);
    float *logits = qg_malloc((size_t)info.vocab_size * sizeof *logits);
    const qg_logits_request req = {
        .ids = ids,
        .n_ids = n,
        .positions = &last,
        .n_positions = 1,
        .splits = pieces,
        .n_splits = n_pieces,
        .split_us = us,
    };
    qg_status rc = logits ? qg_logits(b->engine, &req, logits, &b->err)
                          : qg_fail(&b->err, QG_ERR_NOMEM, "out of memory");
    qg_mfree(logits);
    return rc;
}

static qg_status stream_at(bench *b, const int32_t *ids, int32_t context, int32_t step)
{
    enum { STEPS = 24 };
    int32_t pieces[STEPS + 1] = {context};
    int64_t us[STEPS + 1];
    char metric[64];

    for (int i = 1; i <= STEPS; i++)
        pieces[i] = step;
    QG_TRY(feed(b, ids, (size_t)(context + STEPS * step), pieces, STEPS + 1, us));
    snprintf(metric, sizeof metric, "step%d_context%d", step, context);
    bench_latency(&b->out, "stream", metric, us + 1, STEPS, "KV kept; without output matrix");
    return QG_OK;
}

static qg_status bench_stream(bench *b)
{
    static const int32_t contexts[] = {128, 1024, 4096};
    qg_model_info info;
    int32_t *ids;

    QG_TRY(reopen(b, true));
    qg_engine_info(b->engine, &info);
    QG_TRY(bench_ids(b->engine, 4096 + 24 * 16, &ids, &b->err));
    qg_status rc = QG_OK;
    for (size_t i = 0; i < QG_COUNT(contexts) && rc == QG_OK; i++) {
        if (contexts[i] + 24 * 16 > info.max_model_len)
            break;
        rc = stream_at(b, ids, contexts[i], 1);
        if (rc == QG_OK)
            rc = stream_at(b, ids, contexts[i], 16);
    }
    qg_free(ids);
    return rc;
}

static qg_status bench_long(bench *b)
{
    static const int32_t lengths[] = {4096, 16384};
    qg_model_info info;
    int32_t *ids;

    QG_TRY(reopen(b, true));
    qg_engine_info(b->engine, &info);
    QG_TRY(bench_ids(b->engine, 16384, &ids, &b->err));
    qg_status rc = QG_OK;
    size_t n = b->args->quick ? 1 : QG_COUNT(lengths);
    for (size_t i = 0; i < n && rc == QG_OK && lengths[i] <= info.max_model_len; i++) {
        int64_t us;
        char metric[64];
        rc = feed(b, ids, (size_t)lengths[i], &lengths[i], 1, &us);
        snprintf(metric, sizeof metric, "prefill_%d", lengths[i]);
        if (rc == QG_OK)
            bench_row(&b->out, "long", metric, (double)us / 1e6, "s", "one prompt");
    }
    qg_free(ids);
    return rc;
}

/* ---- load: a process from start to first verdict ------------------------------------------------
 */

/* posix_spawn takes its words as char * and leaves them alone. */
static char *word(const char *text)
{
    return (char *)(uintptr_t)text;
}

static qg_status run_once(bench *b, int64_t *us, double *rss_mib)
{
    extern char **environ;
    char *argv[9] = {word("qguard"), word("check"), word("--quiet"), word("hello")};
    int n = 4, status;
    pid_t pid;
    struct rusage usage;
    posix_spawn_file_actions_t quiet;

    if (b->args->model) {
        argv[n++] = word("--model");
        argv[n++] = word(b->args->model);
    }
    if (b->args->dtype) {
        argv[n++] = word("--dtype");
        argv[n++] = word(b->args->dtype);
    }
    posix_spawn_file_actions_init(&quiet);
    posix_spawn_file_actions_addopen(&quiet, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    int64_t start = qg_now_us();
    int failed = posix_spawn(&pid, "/proc/self/exe", &quiet, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&quiet);
    if (failed)
        return qg_fail(&b->err, QG_ERR_IO, "cannot start qguard: %s", strerror(failed));
    while (wait4(pid, &status, 0, &usage) < 0 && errno == EINTR)
        ;
    *us = qg_now_us() - start;
    *rss_mib = (double)usage.ru_maxrss / 1024;
    return status == 0 ? QG_OK : qg_fail(&b->err, QG_ERR_INTERNAL, "qguard check failed");
}

static qg_status bench_load(bench *b)
{
    int64_t us[LOADS];
    double rss = 0, most = 0;

    for (int i = 0; i < LOADS; i++) {
        QG_TRY(run_once(b, &us[i], &rss));
        most = rss > most ? rss : most;
    }
    bench_latency(&b->out, "load", "first_verdict", us, LOADS,
                  "whole process; files in page cache");
    bench_row(&b->out, "load", "rss_peak", most, "MiB", "process; mapped file pages included");
    return QG_OK;
}

static const struct {
    const char *name;
    bench_fn *run;
} workloads[] = {
    {"check", bench_check}, {"bulk", bench_bulk}, {"stream", bench_stream},
    {"long", bench_long},   {"load", bench_load},
};

int cmd_bench(const cli_args *args)
{
    bench b = {.args = args, .out = {.csv = args->csv, .dtype = "bfloat16"}};
    const char *only = args->n_positional ? args->positional[0] : NULL;
    bool known = false;
    qg_status rc = QG_OK;

    /* what bench_load, which opens no engine here, is about; the others learn it from the engine */
    b.out.threads = args->threads ? args->threads : qg_cpu_count();
    if (args->dtype && strcmp(args->dtype, "auto"))
        b.out.dtype = args->dtype;
    b.prompt_tokens = args->prompt_tokens ? (size_t)args->prompt_tokens : BENCH_PROMPT_TOKENS;
    if (args->csv)
        printf("engine,version,dtype,workload,metric,value,unit,threads,notes\n");
    for (size_t i = 0; i < QG_COUNT(workloads) && rc == QG_OK; i++) {
        if (only && strcmp(only, workloads[i].name))
            continue;
        known = true;
        rc = workloads[i].run(&b);
    }
    qg_engine_close(b.engine);
    if (!known)
        return cli_usage("bench: the workloads are check, bulk, stream, long, load");
    return rc == QG_OK ? EXIT_DONE : cli_fail(&b.err);
}
