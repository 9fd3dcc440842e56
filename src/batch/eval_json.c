/* The report as one JSON object. */
#define _GNU_SOURCE
#include "batch/eval_report.h"

#include "base/mem.h"

#include <math.h>

enum { POINTS = 200 }; /* of a curve, spread evenly over its steps */

static json_t *number(double x)
{
    return isnan(x) || isinf(x) ? json_null() : json_real(x);
}

static json_t *rates_json(const qg_rates *r, const qg_interval *around)
{
    static const char *const names[QG_N_RATES] = {"f1", "precision", "recall", "fpr"};
    json_t *o = json_pack("{s:I,s:I,s:I,s:I}", "tp", (json_int_t)r->tp, "fp", (json_int_t)r->fp,
                          "fn", (json_int_t)r->fn, "tn", (json_int_t)r->tn);
    json_t *intervals = around ? json_object() : NULL;
    for (int i = 0; i < QG_N_RATES; i++) {
        json_object_set_new(o, names[i], number(qg_rate(r, i)));
        if (around)
            json_object_set_new(intervals, names[i],
                                json_pack("[o,o]", number(around[i].low), number(around[i].high)));
    }
    if (around)
        json_object_set_new(o, "interval95", intervals);
    return o;
}

static json_t *curve_json(const qg_curve *c)
{
    json_t *points = json_array();
    size_t step = c->n > POINTS ? (c->n + POINTS - 1) / POINTS : 1;
    for (size_t i = 0; i < c->n; i += i + step < c->n || i + 1 == c->n ? step : c->n - 1 - i) {
        const qg_curve_point *p = &c->points[i];
        json_array_append_new(points, json_pack("{s:o,s:f,s:f,s:f}", "threshold",
                                                number(p->threshold), "recall", p->recall,
                                                "precision", p->precision, "fpr", p->fpr));
    }
    return json_pack("{s:o,s:o,s:o}", "auroc", number(c->auroc), "average_precision", number(c->ap),
                     "points", points);
}

static json_t *bins_json(const qg_scores *s)
{
    json_t *bins = json_array();
    for (int b = 0; b < QG_EVAL_BINS; b++)
        json_array_append_new(bins,
                              json_pack("{s:f,s:I,s:o,s:o}", "from", (double)b / QG_EVAL_BINS, "n",
                                        (json_int_t)s->bins[b].n, "p", number(s->bins[b].p),
                                        "unsafe", number(s->bins[b].share)));
    return json_pack("{s:f,s:f,s:o}", "ece", s->ece, "brier", s->brier, "bins", bins);
}

static json_t *levels_json(const int64_t n[QG_EVAL_LEVELS][QG_EVAL_LEVELS])
{
    json_t *o = json_object();
    for (int i = 0; i < QG_EVAL_LEVELS; i++)
        json_object_set_new(o, qg_severity_name((qg_severity)i),
                            json_pack("{s:I,s:I,s:I}", "Safe", (json_int_t)n[i][0], "Controversial",
                                      (json_int_t)n[i][1], "Unsafe", (json_int_t)n[i][2]));
    return o;
}

static const char *name_of(int k)
{
    return k < QG_EVAL_NONE ? qg_category_name((size_t)k) : "None";
}

static json_t *categories_json(const qg_scores *s)
{
    json_t *o = json_object();
    for (int i = 0; i <= QG_EVAL_NONE; i++) {
        json_t *said = json_object(), *one = json_object();
        for (int k = 0; k <= QG_EVAL_NONE; k++)
            json_object_set_new(said, name_of(k), json_integer(s->categories[i][k]));
        if (i < QG_EVAL_NONE) {
            json_object_set_new(one, "f1", number(s->category[i].f1));
            json_object_set_new(one, "precision", number(s->category[i].precision));
            json_object_set_new(one, "recall", number(s->category[i].recall));
            json_object_set_new(one, "rows", json_integer(s->category[i].so));
        }
        json_object_set_new(one, "said", said);
        json_object_set_new(o, name_of(i), one);
    }
    return o;
}

static json_t *set_json(const qg_eval_set *set, const qg_scores *s)
{
    const qg_interval(*a)[QG_N_RATES] = s->around;
    json_t *o = json_pack("{s:s,s:I,s:I}", "name", set->name, "rows", (json_int_t)set->n, "failed",
                          (json_int_t)set->failed);
    json_object_set_new(o, "strict", rates_json(&s->rates[0], s->bootstrap ? a[0] : NULL));
    json_object_set_new(o, "loose", rates_json(&s->rates[1], s->bootstrap ? a[1] : NULL));
    if (s->has_policy)
        json_object_set_new(o, "policy", rates_json(&s->policy, NULL));
    if (s->has_p) {
        json_object_set_new(o, "curve",
                            json_pack("{s:o,s:o}", "strict", curve_json(&s->curve[QG_STRICT]),
                                      "loose", curve_json(&s->curve[QG_LOOSE])));
        json_object_set_new(o, "calibration", bins_json(s));
    }
    if (s->has_severity)
        json_object_set_new(o, "severity", levels_json(s->levels));
    if (s->has_category)
        json_object_set_new(o, "category", categories_json(s));
    if (s->asked_again)
        json_object_set_new(o, "second",
                            json_pack("{s:I,s:I,s:I,s:f}", "asked", (json_int_t)s->asked_again,
                                      "changed", (json_int_t)s->changed, "failed",
                                      (json_int_t)s->not_answered, "share",
                                      (double)s->asked_again / (double)set->n));
    if (s->p50_us)
        json_object_set_new(o, "latency",
                            json_pack("{s:f,s:f,s:f}", "p50_ms", (double)s->p50_us / 1e3, "p99_ms",
                                      (double)s->p99_us / 1e3, "rows_per_s",
                                      (double)set->n / set->seconds));
    return o;
}

static json_t *sets_json(const qg_eval_set *sets, const qg_scores *scores, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, set_json(&sets[i], &scores[i]));
    return list;
}

static json_t *tuning_json(const qg_tuning *t)
{
    json_t *categories = json_object();
    for (int k = 0; k < QG_EVAL_NONE; k++)
        if (t->category[k].threshold > 0)
            json_object_set_new(categories, name_of(k),
                                json_pack("{s:f,s:f,s:I}", "threshold", t->category[k].threshold,
                                          "f1", t->category[k].f1, "rows",
                                          (json_int_t)t->category[k].rows));
    return json_pack("{s:o,s:o,s:o,s:o}", "unsafe",
                     t->unsafe.threshold > 0 ? json_real(t->unsafe.threshold) : json_null(),
                     "categories", categories, "by_labels", rates_json(&t->before, NULL), "so",
                     rates_json(&t->after, NULL));
}

static json_t *said_json(const qg_eval_row *row)
{
    return json_pack("{s:s,s:s,s:f}", "severity", qg_severity_name((qg_severity)row->said.severity),
                     "category", row->said.n_categories ? name_of(row->said.categories[0]) : "None",
                     "p_unsafe_strict", qg_eval_p(row, QG_STRICT));
}

static json_t *compared_json(const qg_report *r)
{
    const qg_compared *c = r->compared;
    json_t *flips = json_array();
    for (size_t i = 0; i < c->n_flips; i++) {
        const qg_eval_row *a = &r->sets[r->n - 1].rows[c->flips[i]];
        json_array_append_new(
            flips, json_pack("{s:I,s:s,s:s,s:o,s:o}", "line", (json_int_t)a->line, "id", a->id,
                             "is", a->unsafe[QG_STRICT] ? "unsafe" : "safe", "a", said_json(a), "b",
                             said_json(&r->other_sets[r->n - 1].rows[c->flips[i]])));
    }
    return json_pack("{s:s,s:o,s:I,s:o,s:I,s:I,s:f,s:o}", "model", r->other, "sets",
                     sets_json(r->other_sets, r->other_scores, r->n), "same", (json_int_t)c->same,
                     "severity", levels_json(c->moves), "only_a_right", (json_int_t)c->only_a,
                     "only_b_right", (json_int_t)c->only_b, "p_value", c->p_value, "flips", flips);
}

qg_status qg_report_json(const qg_report *r, qg_buf *out)
{
    json_t *o = json_pack("{s:s,s:s,s:o}", "version", QG_VERSION, "model", r->model, "sets",
                          sets_json(r->sets, r->scores, r->n));
    if (r->tuning)
        json_object_set_new(o, "thresholds", tuning_json(r->tuning));
    if (r->compared)
        json_object_set_new(o, "compared", compared_json(r));
    char *text = o ? qg_json_dump_digits(o, 9) : NULL;
    json_decref(o);
    qg_status rc = text ? qg_buf_adds(out, text) : QG_ERR_NOMEM;
    qg_mfree(text);
    return rc == QG_OK ? qg_buf_adds(out, "\n") : rc;
}
