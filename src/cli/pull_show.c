#define _POSIX_C_SOURCE 200809L
#include "cli/pull_show.h"

#include "base/clock.h"
#include "base/mem.h"
#include "cli/io.h"
#include "hub/pull.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

qg_hub_kind cli_hub(const cli_args *args)
{
    if (!args->hub)
        return qg_hub_default();
    return strcmp(args->hub, "modelscope") ? QG_HUB_HF : QG_HUB_MODELSCOPE;
}

typedef struct show {
    bool quiet, tty, open; /* open: a line is not ended yet */
    int64_t start_us, last_us;
} show;

static void end_line(show *s)
{
    if (s->open)
        fputs("\r\033[K", stderr);
    s->open = false;
}

static void note(void *ud, const char *sentence)
{
    show *s = ud;
    if (s->quiet)
        return;
    end_line(s);
    fprintf(stderr, "qguard: %s\n", sentence);
}

static void put_bar(show *s, const qg_fetch_progress *now, double seconds)
{
    const double have = (double)now->have, total = (double)now->total;
    const double rate = seconds > 0.5 && now->came > 0 ? (double)now->came / seconds : 0;
    const int cells = total > 0 ? (int)(24 * have / total) : 24;
    char left[32] = "";

    if (rate > 0 && now->have < now->total) {
        long s_left = (long)((total - have) / rate);
        snprintf(left, sizeof left, "%ld:%02ld left", s_left / 60, s_left % 60);
    }
    fprintf(stderr, "\r\033[K[%.*s%*s] %5.1f %% of %.1f MB  %.1f MB/s  %s", cells,
            "########################", 24 - cells, "", total > 0 ? 100 * have / total : 100,
            total / 1e6, rate / 1e6, left);
    fflush(stderr);
    s->open = true;
}

/* On a terminal one line that changes; elsewhere a line for each file, and one every ten seconds.
 */
static void progress(void *ud, const qg_fetch_progress *now)
{
    show *s = ud;
    const int64_t us = qg_clock_us();

    if (s->quiet)
        return;
    if (s->tty) {
        put_bar(s, now, (double)(us - s->start_us) / 1e6);
    } else if (now->file || us - s->last_us > 10000000) {
        fprintf(stderr, "qguard: %s%s%.1f of %.1f MB, %zu of %zu files\n",
                now->file ? now->file : "", now->file ? ": " : "", (double)now->have / 1e6,
                (double)now->total / 1e6, now->files, now->n_files);
        s->last_us = us;
    }
}

/* What came is on the disk with a table of how far it goes: nothing is left to do. */
static void interrupted(int signal_number)
{
    static const char words[] =
        "\nqguard: interrupted; what came is kept, the same command goes on from there\n";
    (void)signal_number;
    ssize_t n = write(STDERR_FILENO, words, sizeof words - 1);
    _exit(n < 0 ? 130 : 130);
}

int cli_pull(const cli_args *args, const char *repo, char **path)
{
    show s = {.quiet = args->quiet, .tty = isatty(STDERR_FILENO), .start_us = qg_clock_us()};
    const qg_pull_options opt = {
        .hub = cli_hub(args),
        .repo = repo,
        .revision = args->revision,
        .dir = args->dir,
        .include = {args->include.at, (size_t)args->include.n},
        .connections = args->connections,
        .ud = &s,
        .note = note,
        .progress = progress,
    };
    qg_err err;

    s.last_us = s.start_us;
    void (*before)(int) = signal(SIGINT, interrupted);
    qg_status rc = qg_hub_pull(&opt, path, &err);
    signal(SIGINT, before == SIG_ERR ? SIG_DFL : before);
    end_line(&s);
    return rc == QG_OK ? EXIT_DONE : cli_fail(&err);
}
