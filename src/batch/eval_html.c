/* The report as one page: no scripts, nothing fetched, light and dark. */
#define _GNU_SOURCE
#include "batch/eval_report.h"

#include <math.h>
#include <stdio.h>

enum { FLIPS_SHOWN = 500 };

static const char style[] =
    ":root{color-scheme:light dark;--fg:#1c1e21;--bg:#fff;--dim:#666;--line:#ddd;--a:#1668c4;"
    "--b:#c2410c;--card:#f6f7f9}"
    "@media(prefers-color-scheme:dark){:root{--fg:#e6e6e6;--bg:#15171a;--dim:#9aa0a6;--line:#"
    "33373d;"
    "--a:#6cb0ff;--b:#ff9a62;--card:#1d2025}}"
    "body{font:15px/1.45 system-ui,sans-serif;color:var(--fg);background:var(--bg);margin:2rem "
    "auto;max-width:70rem;padding:0 1rem}h1{font-size:1.5rem;margin-bottom:.2rem}"
    "h2{font-size:1.15rem;margin:2.2rem 0 .4rem;border-bottom:1px solid var(--line)}"
    "h3{font-size:1rem;margin:1.2rem 0 .3rem}p,.dim{color:var(--dim)}p{margin:.3rem 0}"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:.5rem 0}"
    "th,td{padding:.22rem .6rem;text-align:right;border-bottom:1px solid var(--line)}"
    "th{font-weight:600}th:first-child,td:first-child,.l{text-align:left}"
    "td small{color:var(--dim);margin-left:.35rem}.wide{overflow-x:auto}"
    ".plots{display:flex;flex-wrap:wrap;gap:1rem}.plots figure{margin:0;background:var(--card);"
    "border-radius:8px;padding:.6rem;width:20.5rem}figcaption{font-size:.85rem;color:var(--dim)}"
    "svg{width:100%;height:auto;display:block}svg text{font-size:11px;fill:var(--dim)}"
    ".grid{stroke:var(--line);fill:none}.chance{stroke:var(--dim);stroke-dasharray:4 4;fill:none}"
    "path.a{stroke:var(--a);stroke-width:2;fill:none}path.b{stroke:var(--b);stroke-width:2;"
    "fill:none}path.loose{stroke-dasharray:6 3;stroke-width:1.5}circle.a{fill:var(--a)}"
    "circle.b{fill:var(--b)}circle.loose{fill:var(--bg);stroke:var(--a);stroke-width:2}"
    "circle.b.loose{stroke:var(--b)}.bar{fill:var(--a);opacity:.22}.ka{color:var(--a)}"
    ".kb{color:var(--b)}";

static void rate_cell(qg_pen *pen, double x, const qg_interval *around)
{
    qg_put(pen, "<td>");
    qg_put_percent(pen, x);
    if (around && !isnan(around->low))
        qg_put(pen, "<small>%.1f–%.1f</small>", 100 * around->low, 100 * around->high);
    qg_put(pen, "</td>");
}

static void rates_row(qg_pen *pen, const char *name, const qg_rates *r, const qg_interval *around)
{
    qg_put(pen, "<tr><td>%s</td>", name);
    for (int i = 0; i < QG_N_RATES; i++)
        rate_cell(pen, qg_rate(r, i), around ? &around[i] : NULL);
    qg_put(pen, "<td>%lld</td><td>%lld</td><td>%lld</td><td>%lld</td></tr>\n", (long long)r->tp,
           (long long)r->fp, (long long)r->fn, (long long)r->tn);
}

static void rates_head(qg_pen *pen)
{
    qg_put(pen,
           "<div class=\"wide\"><table><tr><th></th><th>F1</th><th>precision</th><th>recall</th>"
           "<th>false alarms</th><th>tp</th><th>fp</th><th>fn</th><th>tn</th></tr>\n");
}

/* Shaded by the share of its line. */
static void count_cell(qg_pen *pen, int64_t n, int64_t of)
{
    int share = of ? (int)(60 * n / of) : 0;
    qg_put(pen, "<td style=\"background:color-mix(in srgb,var(--a) %d%%,transparent)\">%lld</td>",
           share, (long long)n);
}

static void levels_table(qg_pen *pen, const int64_t n[QG_EVAL_LEVELS][QG_EVAL_LEVELS],
                         const char *corner)
{
    qg_put(pen, "<table><tr><th>%s</th>", corner);
    for (int i = 0; i < QG_EVAL_LEVELS; i++)
        qg_put(pen, "<th>%s</th>", qg_severity_name((qg_severity)i));
    for (int i = 0; i < QG_EVAL_LEVELS; i++) {
        int64_t of = n[i][0] + n[i][1] + n[i][2];
        qg_put(pen, "</tr>\n<tr><td>%s</td>", qg_severity_name((qg_severity)i));
        for (int k = 0; k < QG_EVAL_LEVELS; k++)
            count_cell(pen, n[i][k], of);
    }
    qg_put(pen, "</tr></table>\n");
}

static void categories_table(qg_pen *pen, const qg_scores *s)
{
    qg_put(pen, "<h3>Categories</h3><div class=\"wide\"><table><tr><th>so \\ said</th><th>rows</th>"
                "<th>F1</th><th>P</th><th>R</th>");
    for (int k = 0; k <= QG_EVAL_NONE; k++)
        qg_put(pen, "<th>%s</th>", qg_category_short(k));
    for (int i = 0; i <= QG_EVAL_NONE; i++) {
        const qg_category_score *c = i < QG_EVAL_NONE ? &s->category[i] : NULL;
        int64_t of = 0;
        for (int k = 0; k <= QG_EVAL_NONE; k++)
            of += s->categories[i][k];
        qg_put(pen, "</tr>\n<tr><td>%s</td><td>%lld</td>", qg_category_short(i), (long long)of);
        rate_cell(pen, c ? c->f1 : NAN, NULL);
        rate_cell(pen, c ? c->precision : NAN, NULL);
        rate_cell(pen, c ? c->recall : NAN, NULL);
        for (int k = 0; k <= QG_EVAL_NONE; k++)
            count_cell(pen, s->categories[i][k], of);
    }
    qg_put(pen, "</tr></table></div>\n");
}

static void plots(qg_pen *pen, const qg_scores *s, const qg_scores *other)
{
    qg_put(pen, "<div class=\"plots\"><figure>");
    qg_svg_curves(pen, s, other, true);
    qg_put(pen, "<figcaption>ROC; area ");
    qg_put_percent(pen, s->curve[QG_STRICT].auroc);
    qg_put(pen, " strict (solid), ");
    qg_put_percent(pen, s->curve[QG_LOOSE].auroc);
    qg_put(pen, " loose (dashed). Dot: by the most probable label.</figcaption></figure><figure>");
    qg_svg_curves(pen, s, other, false);
    qg_put(pen, "<figcaption>Precision and recall; average precision ");
    qg_put_percent(pen, s->curve[QG_STRICT].ap);
    qg_put(pen, " strict, ");
    qg_put_percent(pen, s->curve[QG_LOOSE].ap);
    qg_put(pen, " loose.</figcaption></figure><figure>");
    qg_svg_bins(pen, s);
    qg_put(pen,
           "<figcaption>Calibration (strict); expected error %.1f, Brier %.3f. Bars: rows in "
           "each tenth.</figcaption></figure></div>\n",
           100 * s->ece, s->brier);
}

static void set_html(qg_pen *pen, const qg_report *r, size_t i)
{
    const qg_eval_set *set = &r->sets[i];
    const qg_scores *s = &r->scores[i];
    int64_t unsafe = s->rates[QG_STRICT].tp + s->rates[QG_STRICT].fn;
    qg_put(pen, "<h2>");
    qg_put_escaped(pen, set->name);
    qg_put(pen, "</h2><p>%zu rows, %lld unsafe", set->n, (long long)unsafe);
    if (set->failed)
        qg_put(pen, "; %lld could not be used", (long long)set->failed);
    if (s->p50_us)
        qg_put(pen, "; latency, %d at a time: p50 %.1f ms, p99 %.1f ms; %.1f rows/s",
               r->concurrency, (double)s->p50_us / 1e3, (double)s->p99_us / 1e3,
               (double)set->n / set->seconds);
    qg_put(pen, "</p>\n");
    rates_head(pen);
    rates_row(pen, "strict", &s->rates[0], s->bootstrap ? s->around[0] : NULL);
    rates_row(pen, "loose", &s->rates[1], s->bootstrap ? s->around[1] : NULL);
    if (s->has_policy)
        rates_row(pen, "by the policy", &s->policy, NULL);
    qg_put(pen, "</table></div>\n");
    if (s->has_p)
        plots(pen, s, r->other_scores ? &r->other_scores[i] : NULL);
    if (s->has_severity) {
        qg_put(pen, "<h3>Severities</h3>");
        levels_table(pen, s->levels, "so \\ said");
    }
    if (s->has_category)
        categories_table(pen, s);
}

static void tuning_html(qg_pen *pen, const qg_tuning *t)
{
    qg_put(pen,
           "<h2>Suggested thresholds</h2><p>Best F1 on these rows; look at others before you "
           "rely on them.</p><table><tr><th></th><th>threshold</th><th>F1</th><th>unsafe "
           "rows</th></tr>\n<tr><td>unsafe</td><td>%.4f</td><td>%.1f</td><td>%lld</td></tr>\n",
           t->unsafe.threshold, 100 * t->unsafe.f1, (long long)t->unsafe.rows);
    for (int k = 0; k < QG_EVAL_NONE; k++) {
        if (t->category[k].threshold <= 0)
            continue;
        qg_put(pen, "<tr><td>");
        qg_put_escaped(pen, qg_category_name((size_t)k));
        qg_put(pen, "</td><td>%.4f</td><td>%.1f</td><td>%lld</td></tr>\n", t->category[k].threshold,
               100 * t->category[k].f1, (long long)t->category[k].rows);
    }
    qg_put(pen, "</table>\n");
    rates_head(pen);
    rates_row(pen, "by labels", &t->before, NULL);
    rates_row(pen, "with these", &t->after, NULL);
    qg_put(pen, "</table></div>\n");
}

static void flip_row(qg_pen *pen, const qg_eval_row *a, const qg_eval_row *b)
{
    qg_put(pen, "<tr><td>%lld</td><td class=\"l\">", (long long)a->line);
    qg_put_escaped(pen, a->id);
    qg_put(pen,
           "</td><td class=\"l\">%s</td><td class=\"l\">%s</td><td>%.3f</td><td "
           "class=\"l\">%s</td><td>%.3f</td></tr>\n",
           a->unsafe[QG_STRICT] ? "unsafe" : "safe",
           qg_severity_name((qg_severity)a->said.severity), qg_eval_p(a, QG_STRICT),
           qg_severity_name((qg_severity)b->said.severity), qg_eval_p(b, QG_STRICT));
}

static void compared_html(qg_pen *pen, const qg_report *r)
{
    const qg_compared *c = r->compared;
    const qg_scores *a = &r->scores[r->n - 1], *b = &r->other_scores[r->n - 1];
    qg_put(pen,
           "<h2>A beside B</h2><p>%zu of %zu rows have the same severity. Right alone "
           "(strict): A %lld, B %lld; p = %.3g.</p>\n",
           c->same, c->n, (long long)c->only_a, (long long)c->only_b, c->p_value);
    rates_head(pen);
    rates_row(pen, "A strict", &a->rates[0], a->bootstrap ? a->around[0] : NULL);
    rates_row(pen, "B strict", &b->rates[0], b->bootstrap ? b->around[0] : NULL);
    rates_row(pen, "A loose", &a->rates[1], a->bootstrap ? a->around[1] : NULL);
    rates_row(pen, "B loose", &b->rates[1], b->bootstrap ? b->around[1] : NULL);
    qg_put(pen, "</table></div>\n");
    levels_table(pen, c->moves, "A \\ B");
    qg_put(pen,
           "<h3>Flips: %zu</h3><div class=\"wide\"><table><tr><th>line</th><th "
           "class=\"l\">id</th><th class=\"l\">is</th><th class=\"l\">A</th><th>p</th><th "
           "class=\"l\">B</th><th>p</th></tr>\n",
           c->n_flips);
    for (size_t i = 0; i < c->n_flips && i < FLIPS_SHOWN; i++)
        flip_row(pen, &r->sets[r->n - 1].rows[c->flips[i]],
                 &r->other_sets[r->n - 1].rows[c->flips[i]]);
    qg_put(pen, "</table></div>\n");
    if (c->n_flips > FLIPS_SHOWN)
        qg_put(pen, "<p>The first %d of them.</p>\n", FLIPS_SHOWN);
}

qg_status qg_report_html(const qg_report *r, qg_buf *out)
{
    qg_pen pen = {.out = out};
    qg_put(&pen,
           "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta "
           "name=\"viewport\" content=\"width=device-width\"><title>qguard eval</title>"
           "<style>%s</style></head><body>\n<h1>",
           style);
    qg_put_escaped(&pen, r->model);
    if (r->other) {
        qg_put(&pen, " <span class=\"ka\">(A)</span> beside ");
        qg_put_escaped(&pen, r->other);
        qg_put(&pen, " <span class=\"kb\">(B)</span>");
    }
    qg_put(&pen,
           "</h1><p>qguard %s. Percent. Strict: Controversial counts as unsafe; loose: as "
           "safe.%s</p>\n",
           QG_VERSION, r->scores[0].bootstrap ? " Small: 95 % intervals, by resampling rows." : "");
    if (r->compared)
        compared_html(&pen, r);
    for (size_t i = 0; i < r->n; i++) /* all of them first */
        set_html(&pen, r, (i + r->n - 1) % r->n);
    if (r->tuning)
        tuning_html(&pen, r->tuning);
    qg_put(&pen, "</body></html>\n");
    return pen.rc;
}
