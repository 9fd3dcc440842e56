/* qguard bench load: a process from start to first verdict, from the model's files and, where a
 * directory is named for them, from packed weights. */
#define _GNU_SOURCE /* wait4, environ */
#include "cli/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LOADS = 5, TOKENS = 311 }; /* of the prompt and the answer tree, whose KV is in memory */

/* posix_spawn takes its words as char * and leaves them alone. */
static char *word(const char *text)
{
    return (char *)(uintptr_t)text;
}

/* cache: as --cache. */
static qg_status run_once(bench *b, const char *cache, int64_t *us, double *rss_mib)
{
    extern char **environ;
    char *argv[13] = {word("qguard"), word("check"),   word("--quiet"),
                      word("hello"),  word("--cache"), word(cache)};
    int n = 6, status;
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
    if (b->args->kv_dtype) {
        argv[n++] = word("--kv-cache-dtype");
        argv[n++] = word(b->args->kv_dtype);
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

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static qg_status measure(bench *b, const char *cache, const char *verdict, const char *resident,
                         const char *notes)
{
    int64_t us[LOADS];
    double rss = 0, most = 0;

    /* the first one brings the files into the page cache, and writes the packed weights */
    QG_TRY(run_once(b, cache, &us[0], &rss));
    for (int i = 0; i < LOADS; i++) {
        QG_TRY(run_once(b, cache, &us[i], &rss));
        most = rss > most ? rss : most;
    }
    qsort(us, LOADS, sizeof *us, by_value);
    bench_row(&b->out, "load", verdict, (double)us[LOADS / 2] / 1e6, "s", 0, notes);
    bench_row(&b->out, "load", resident, most, "MiB",
              (b->limits.resident_bytes + TOKENS * b->limits.kv_bytes) / (1 << 20),
              "process; mapped file pages included; limit: weights and the KV in use");
    return QG_OK;
}

qg_status bench_load(bench *b)
{
    const char *cache = b->args->cache ? b->args->cache : getenv("QGUARD_CACHE");

    QG_TRY(measure(b, "none", "first_verdict", "rss_peak",
                   "median of 5; whole process; files in page cache"));
    if (!cache || !*cache || !strcmp(cache, "none") || !b->args->model) {
        fprintf(stderr, "qguard: bench load: with --model and --cache DIR also from packed "
                        "weights\n");
        return QG_OK;
    }
    return measure(b, cache, "first_verdict_packed", "rss_peak_packed",
                   "the same from packed weights");
}
