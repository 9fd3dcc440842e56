/* qguard label: a data set with verdicts. */
#include "batch/label.h"
#include "cli/batch_open.h"
#include "cli/check_rows.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINES_EVERY_US = 10000000 }; /* where stderr is no terminal */

typedef struct screen {
    const cli_args *args;
    bool terminal;
    int64_t told_us;
} screen;

static void duration(int64_t us, char *out, size_t n)
{
    long long s = us / 1000000;
    if (us < 0)
        snprintf(out, n, "?");
    else if (s < 3600)
        snprintf(out, n, "%lld:%02lld", s / 60, s % 60);
    else
        snprintf(out, n, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
}

static void tell(void *ud, const qg_label_progress *p)
{
    screen *s = ud;
    char left[32], part[16] = "";
    if (s->args->quiet || (!s->terminal && p->elapsed_us - s->told_us < LINES_EVERY_US))
        return;
    s->told_us = p->elapsed_us;
    duration(p->left_us, left, sizeof left);
    if (p->part >= 0)
        snprintf(part, sizeof part, ", %.1f %%", 100 * p->part);
    fprintf(stderr, "%sqguard: label: %lld rows%s, %.1f rows/s, %s left, %lld not judged%s",
            s->terminal ? "\r\033[K" : "", (long long)p->counts.lines, part,
            1e6 * (double)p->lines / (double)p->elapsed_us, left, (long long)p->counts.failed,
            s->terminal ? "" : "\n");
}

static void wrong(void *ud, const char *line)
{
    (void)ud;
    fprintf(stderr, "%s\n", line);
}

/* "i/n" */
static bool read_shard(const char *text, uint32_t *shard, uint32_t *n)
{
    char *end;
    *shard = 0;
    *n = 1;
    if (!text)
        return true;
    if (text[0] < '0' || text[0] > '9')
        return false;
    unsigned long a = strtoul(text, &end, 10);
    if (*end != '/' || end[1] < '0' || end[1] > '9')
        return false;
    unsigned long b = strtoul(end + 1, &end, 10);
    *shard = (uint32_t)a;
    *n = (uint32_t)b;
    return *end == 0 && a < b && b <= 1000000;
}

static qg_status read_where(const cli_args *args, qg_label_options *o, qg_err *err)
{
    o->where_text = args->where ? args->where : args->keep;
    if (args->where)
        return qg_where_parse(&o->where, args->where, err);
    return args->keep ? qg_where_keep(&o->where, args->keep, err) : QG_OK;
}

static void summarize(const cli_args *args, const qg_label_summary *s)
{
    const qg_counts *c = &s->counts;
    const double seconds = (double)s->judging_us / 1e6;
    const double rate = seconds > 0 ? (double)(c->lines - s->before) / seconds : 0;
    if (args->quiet)
        return;
    fprintf(stderr,
            "qguard: label: %lld rows: %lld Safe, %lld Controversial, %lld Unsafe; %lld not judged",
            (long long)c->lines, (long long)c->severity[QG_SAFE],
            (long long)c->severity[QG_CONTROVERSIAL], (long long)c->severity[QG_UNSAFE],
            (long long)c->failed);
    if (c->kept != c->judged)
        fprintf(stderr, "; %lld kept", (long long)c->kept);
    if (s->nothing_left)
        fprintf(stderr, "; nothing was left to do\n");
    else if (s->resumed)
        fprintf(stderr, "; %lld of them by earlier runs, the rest in %.1f s (%.1f rows/s)\n",
                (long long)s->before, seconds, rate);
    else
        fprintf(stderr, "; %.1f s (%.1f rows/s)\n", seconds, rate);
    if (s->asked_again)
        fprintf(stderr, "qguard: label: a second opinion for %lld texts, not to be had for %lld\n",
                (long long)s->asked_again, (long long)s->not_answered);
    if (c->failed && s->errors[0])
        fprintf(stderr, "qguard: label: %s: why rows were not judged\n", s->errors);
}

static int label(const cli_args *args, qg_label_options *o)
{
    screen s = {.args = args, .terminal = isatty(STDERR_FILENO)};
    qg_label_summary summary;
    qg_err err;
    o->tell = tell;
    o->wrong = wrong;
    o->ud = &s;
    qg_status rc = qg_label(o, &summary, &err);
    if (s.terminal && s.told_us)
        fprintf(stderr, "\r\033[K");
    if (rc != QG_OK)
        return cli_fail(&err);
    summarize(args, &summary);
    return summary.counts.failed ? EXIT_FAILED : EXIT_DONE;
}

int cmd_label(const cli_args *args)
{
    cli_rows rows;
    qg_err err;
    qg_label_options o = {
        .errors = args->errors,
        .fields = {args->prompt_field, args->response_field},
        .concurrency = args->concurrency,
        .checkpoint_ms = args->checkpoint_ms,
        .cache = args->verdict_cache,
        .resume = args->resume,
        .force = args->force,
    };
    if (args->n_positional != 2)
        return cli_usage("label: expected: qguard label IN OUT");
    if (!read_shard(args->shard, &o.shard, &o.n_shards))
        return cli_usage("label: --shard: expected i/n with i from 0 to n-1");
    if (args->keep && args->where)
        return cli_usage("label: --keep or --where, not both");
    if (args->resume && (args->force || !strcmp(args->positional[1], "-")))
        return cli_usage("label: --resume goes with neither --force nor standard output");
    if (read_where(args, &o, &err) != QG_OK)
        return cli_usage(err.msg);
    o.in = args->positional[0];
    o.out = args->positional[1];
    int code = cli_rows_open(args, &rows);
    if (code == EXIT_DONE) {
        o.engine = rows.engine;
        o.opened = rows.opened;
        o.decode = cli_decode(args);
        o.special = rows.special;
        o.policy = rows.policy;
        code = label(args, &o);
        qg_engine_close(rows.engine);
    }
    return code;
}
