/* The report as tables for a terminal. */
#define _GNU_SOURCE
#include "batch/eval_report.h"

#include <math.h>
#include <stdio.h>

enum { FLIPS_SHOWN = 20 };

static void cell(qg_pen *pen, double x)
{
    if (isnan(x))
        qg_put(pen, "      -");
    else
        qg_put(pen, "%7.1f", 100 * x);
}

static void rates_line(qg_pen *pen, const char *name, const qg_rates *r)
{
    qg_put(pen, "  %-8s", name);
    for (int i = 0; i < QG_N_RATES; i++)
        cell(pen, qg_rate(r, i));
    qg_put(pen, "   %6lld %6lld %6lld %6lld\n", (long long)r->tp, (long long)r->fp,
           (long long)r->fn, (long long)r->tn);
}

static void interval_line(qg_pen *pen, const qg_interval *around)
{
    qg_put(pen, "    95 %%  ");
    for (int i = 0; i < QG_N_RATES; i++) {
        if (isnan(around[i].low))
            qg_put(pen, "      - ");
        else
            qg_put(pen, " %4.1f–%.1f", 100 * around[i].low, 100 * around[i].high);
    }
    qg_put(pen, "\n");
}

static void levels_table(qg_pen *pen, const int64_t n[QG_EVAL_LEVELS][QG_EVAL_LEVELS],
                         const char *title)
{
    qg_put(pen, "  %-16s %13s %13s %13s\n", title, "Safe", "Controversial", "Unsafe");
    for (int i = 0; i < QG_EVAL_LEVELS; i++) {
        qg_put(pen, "    %-14s", qg_severity_name((qg_severity)i));
        for (int k = 0; k < QG_EVAL_LEVELS; k++)
            qg_put(pen, " %13lld", (long long)n[i][k]);
        qg_put(pen, "\n");
    }
}

static void categories_table(qg_pen *pen, const qg_scores *s)
{
    qg_put(pen, "  %-10s %6s %6s %6s %6s   said to be:", "category", "rows", "F1", "P", "R");
    for (int k = 0; k <= QG_EVAL_NONE; k++)
        qg_put(pen, " %.6s", qg_category_short(k));
    qg_put(pen, "\n");
    for (int i = 0; i <= QG_EVAL_NONE; i++) {
        int64_t rows = 0;
        for (int k = 0; k <= QG_EVAL_NONE; k++)
            rows += s->categories[i][k];
        qg_put(pen, "    %-9s%6lld", qg_category_short(i), (long long)rows);
        const qg_category_score *c = i < QG_EVAL_NONE ? &s->category[i] : NULL;
        cell(pen, c ? c->f1 : NAN);
        cell(pen, c ? c->precision : NAN);
        cell(pen, c ? c->recall : NAN);
        qg_put(pen, "             ");
        for (int k = 0; k <= QG_EVAL_NONE; k++)
            qg_put(pen, " %*lld", (int)strnlen(qg_category_short(k), 6),
                   (long long)s->categories[i][k]);
        qg_put(pen, "\n");
    }
}

static void set_text(qg_pen *pen, const qg_report *r, size_t i)
{
    const qg_eval_set *set = &r->sets[i];
    const qg_scores *s = &r->scores[i];
    const qg_rates *strict = &s->rates[QG_STRICT];
    qg_put(pen, "\n%s: %zu rows, %lld unsafe", set->name, set->n,
           (long long)(strict->tp + strict->fn));
    if (set->failed)
        qg_put(pen, "; %lld could not be used (line %lld: %s)", (long long)set->failed,
               (long long)set->failed_line, set->failed_err.msg);
    qg_put(pen, "\n  %-8s%7s%7s%7s%7s   %6s %6s %6s %6s\n", "", "F1", "P", "R", "FPR", "tp", "fp",
           "fn", "tn");
    for (int m = 0; m < QG_N_MODES; m++) {
        rates_line(pen, m ? "loose" : "strict", &s->rates[m]);
        if (s->bootstrap)
            interval_line(pen, s->around[m]);
    }
    if (s->has_policy)
        rates_line(pen, "policy", &s->policy);
    if (s->has_p) {
        qg_put(pen, "  area under ROC ");
        cell(pen, s->curve[QG_STRICT].auroc);
        qg_put(pen, ", average precision ");
        cell(pen, s->curve[QG_STRICT].ap);
        qg_put(pen, " (strict); calibration error %.1f, Brier %.3f\n", 100 * s->ece, s->brier);
    }
    if (s->asked_again)
        qg_put(pen, "  second opinions: %lld (%.1f %%), %lld with another severity, %lld failed\n",
               (long long)s->asked_again, 100 * (double)s->asked_again / (double)set->n,
               (long long)s->changed, (long long)s->not_answered);
    if (s->p50_us)
        qg_put(pen, "  latency, %d at a time: p50 %.1f ms, p99 %.1f ms; %.1f rows/s\n",
               r->concurrency, (double)s->p50_us / 1e3, (double)s->p99_us / 1e3,
               (double)set->n / set->seconds);
    if (s->has_severity)
        levels_table(pen, s->levels, "so \\ said");
    if (s->has_category)
        categories_table(pen, s);
}

static void tuning_text(qg_pen *pen, const qg_tuning *t)
{
    qg_put(pen,
           "\nsuggested thresholds (best F1 on these rows, at most %.0f %% false alarms): unsafe "
           "%.4f\n",
           100 * t->max_fpr, t->unsafe.threshold);
    for (int k = 0; k < QG_EVAL_NONE; k++)
        if (t->category[k].threshold > 0)
            qg_put(pen, "  %-30s %.4f  (%lld rows)\n", qg_category_name((size_t)k),
                   t->category[k].threshold, (long long)t->category[k].rows);
    rates_line(pen, "labels", &t->before);
    rates_line(pen, "so", &t->after);
}

static void flip_text(qg_pen *pen, const qg_eval_row *a, const qg_eval_row *b)
{
    qg_put(pen, "    line %lld%s%.60s: %s (%.2f) -> %s (%.2f), is %s\n", (long long)a->line,
           a->id[0] ? ", " : "", a->id, qg_severity_name((qg_severity)a->said.severity),
           qg_eval_p(a, QG_STRICT), qg_severity_name((qg_severity)b->said.severity),
           qg_eval_p(b, QG_STRICT), a->unsafe[QG_STRICT] ? "unsafe" : "safe");
}

static void compared_text(qg_pen *pen, const qg_report *r)
{
    const qg_compared *c = r->compared;
    const qg_eval_set *a = &r->sets[r->n - 1], *b = &r->other_sets[r->n - 1];
    qg_put(pen, "\n%s beside %s: %zu of %zu rows have the same severity, %zu flips\n", r->model,
           r->other, c->same, c->n, c->n_flips);
    rates_line(pen, "A strict", &r->scores[r->n - 1].rates[QG_STRICT]);
    rates_line(pen, "B strict", &r->other_scores[r->n - 1].rates[QG_STRICT]);
    rates_line(pen, "A loose", &r->scores[r->n - 1].rates[QG_LOOSE]);
    rates_line(pen, "B loose", &r->other_scores[r->n - 1].rates[QG_LOOSE]);
    levels_table(pen, c->moves, "A \\ B");
    qg_put(pen, "  right alone (strict): A %lld, B %lld; p = %.3g\n", (long long)c->only_a,
           (long long)c->only_b, c->p_value);
    for (size_t i = 0; i < c->n_flips && i < FLIPS_SHOWN; i++)
        flip_text(pen, &a->rows[c->flips[i]], &b->rows[c->flips[i]]);
    if (c->n_flips > FLIPS_SHOWN)
        qg_put(pen, "    and %zu more (all of them with --json)\n", c->n_flips - FLIPS_SHOWN);
}

qg_status qg_report_text(const qg_report *r, qg_buf *out)
{
    qg_pen pen = {.out = out};
    qg_put(&pen, "model %s; percent; strict: Controversial counts as unsafe, loose: as safe\n",
           r->model);
    for (size_t i = 0; i < r->n; i++)
        set_text(&pen, r, i);
    if (r->tuning)
        tuning_text(&pen, r->tuning);
    if (r->compared)
        compared_text(&pen, r);
    return pen.rc;
}
