/* qguard bench load: a process from start to first verdict. */
#define _GNU_SOURCE /* wait4, environ */
#include "cli/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LOADS = 5 };

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

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

qg_status bench_load(bench *b)
{
    int64_t us[LOADS];
    double rss = 0, most = 0;

    QG_TRY(run_once(b, &us[0], &rss)); /* the first one brings the files into the page cache */
    for (int i = 0; i < LOADS; i++) {
        QG_TRY(run_once(b, &us[i], &rss));
        most = rss > most ? rss : most;
    }
    qsort(us, LOADS, sizeof *us, by_value);
    bench_row(&b->out, "load", "first_verdict", (double)us[LOADS / 2] / 1e6, "s", 0,
              "median of 5; whole process; files in page cache");
    bench_row(&b->out, "load", "rss_peak", most, "MiB", b->limits.resident_bytes / (1 << 20),
              "process; mapped file pages included; limit: the weights");
    return QG_OK;
}
