/* qguard bench: picks the workloads.  Everything goes through the public header, so the figures are
 * what a caller gets.  docs/MEASURING.md tells what each row means. */
#define _POSIX_C_SOURCE 200809L /* nanosleep */
#include "cli/bench.h"

#include "base/cpu.h"

#include <string.h>
#include <time.h>

enum { QUICK_CHECKS = 6 };

/* Idle time, as a service has before its first request: the engine touches KV memory, up to 512 MiB
 * or the weights' size, at 0.1 to 4.7 s a GiB. */
static void rest(const qg_model_info *info)
{
    const uint64_t mib = info->weight_bytes >> 20, most = 512;
    const long ms = (long)(mib < most ? mib : most) * 4;
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

qg_status bench_open(bench *b, bool prefix_cache)
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
    rest(&info);
    return QG_OK;
}

qg_status bench_judge(bench *b, qg_decode decode, int32_t max_tokens, int64_t *us,
                      qg_result **result)
{
    char *content;
    qg_result *own;
    qg_request req;

    qg_status rc = bench_prompt(b->engine, b->next++, b->prompt_tokens, &content, &b->err);
    if (rc != QG_OK)
        return rc;
    const qg_message m = {"user", {content, strlen(content)}};
    qg_request_init(&req);
    req.messages = &m;
    req.n_messages = 1;
    req.decode = decode;
    req.max_tokens = max_tokens;
    int64_t start = qg_now_us();
    rc = qg_judge(b->engine, &req, &own, &b->err);
    *us = qg_now_us() - start;
    if (result)
        *result = own;
    else
        qg_result_free(own);
    qg_free(content);
    return rc;
}

static const struct {
    const char *name;
    bench_fn *run;
} workloads[] = {
    {"check", bench_check}, {"bulk", bench_bulk},       {"stream", bench_stream},
    {"long", bench_long},   {"load", bench_load},       {"text", bench_text},
    {"mixed", bench_mixed}, {"growing", bench_growing}, {"kernels", bench_kernels},
};

static bool known(const char *name)
{
    for (size_t i = 0; i < QG_COUNT(workloads); i++)
        if (!strcmp(name, workloads[i].name))
            return true;
    return false;
}

/* The rows that the limits were computed from. */
static void limit_rows(const bench *b)
{
    bench_row(&b->out, "limit", "compute", b->limits.ops / 1e9, "GFLOP/s", 0,
              "peak of this format; measured now");
    bench_row(&b->out, "limit", "memory_read", b->limits.read / 1e9, "GB/s", 0, "measured now");
    bench_row(&b->out, "limit", "token", b->limits.layer_ops / 1e9, "GFLOP", 0,
              "of one token; attention aside");
}

static qg_status run(bench *b, const char *only)
{
    bool all = !only, needs_limits = all || strcmp(only, "kernels");

    if (needs_limits) {
        QG_TRY(bench_limits_open(&b->limits, b->args, b->out.dtype, &b->err));
        limit_rows(b);
    }
    for (size_t i = 0; i < QG_COUNT(workloads); i++)
        if (all || !strcmp(only, workloads[i].name))
            QG_TRY(workloads[i].run(b));
    return QG_OK;
}

int cmd_bench(const cli_args *args)
{
    bench b = {.args = args, .out = {.csv = args->csv, .dtype = "bfloat16"}};
    const char *only = args->n_positional ? args->positional[0] : NULL;

    if (only && !known(only))
        return cli_usage("bench: the workloads are check, bulk, stream, long, load, text, mixed, "
                         "growing, kernels");
    /* what rows before the first engine are about */
    b.out.threads = args->threads ? args->threads : qg_cpu_count();
    if (args->dtype && strcmp(args->dtype, "auto"))
        b.out.dtype = args->dtype;
    b.prompt_tokens = args->prompt_tokens ? (size_t)args->prompt_tokens : BENCH_PROMPT_TOKENS;
    b.repeat = args->repeat ? (size_t)args->repeat : args->quick ? QUICK_CHECKS : BENCH_CHECKS;
    if (args->csv)
        printf("engine,version,dtype,workload,metric,value,unit,threads,notes\n");
    qg_status rc = run(&b, only);
    qg_engine_close(b.engine);
    return rc == QG_OK ? EXIT_DONE : cli_fail(&b.err);
}
