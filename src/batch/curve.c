/* Curves of thresholds, the thresholds worth writing down, and two judges side by side. */
#define _GNU_SOURCE
#include "batch/eval.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

typedef struct scored {
    double x;
    bool y;
} scored;

static int falling(const void *a, const void *b)
{
    const scored *p = a, *q = b;
    return p->x > q->x ? -1 : p->x < q->x;
}

static scored *sorted(const double *x, const bool *y, size_t n)
{
    scored *s = qg_calloc(n, sizeof *s);
    for (size_t i = 0; s && i < n; i++)
        s[i] = (scored){x[i], y[i]};
    if (s)
        qsort(s, n, sizeof *s, falling);
    return s;
}

/* ---- curves ---------------------------------------------------------------------------------- */

/* Equal scores are one step: no threshold lies between them. */
qg_status qg_curve_of(qg_curve *c, const double *x, const bool *y, size_t n, qg_err *err)
{
    scored *s = sorted(x, y, n);
    int64_t all = 0, tp = 0, fp = 0;
    *c = (qg_curve){.points = qg_calloc(n + 1, sizeof *c->points)};
    if (!s || !c->points) {
        qg_mfree(s);
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    }
    for (size_t i = 0; i < n; i++)
        all += y[i];
    double safe = (double)((int64_t)n - all);
    c->points[c->n++] = (qg_curve_point){INFINITY, 0, 1, 0};
    for (size_t i = 0; i < n; i++) {
        tp += s[i].y;
        fp += !s[i].y;
        if (i + 1 < n && s[i + 1].x == s[i].x)
            continue;
        const qg_curve_point before = c->points[c->n - 1];
        qg_curve_point p = {.threshold = s[i].x, .precision = (double)tp / (double)(tp + fp)};
        p.recall = all ? (double)tp / (double)all : 0;
        p.fpr = safe > 0 ? (double)fp / safe : 0;
        c->auroc += (p.fpr - before.fpr) * (p.recall + before.recall) / 2;
        c->ap += (p.recall - before.recall) * p.precision;
        c->points[c->n++] = p;
    }
    if (!all || safe <= 0)
        c->auroc = NAN;
    if (!all)
        c->ap = NAN;
    qg_mfree(s);
    return QG_OK;
}

/* ---- thresholds ------------------------------------------------------------------------------ */

enum { LEAST_ROWS = 20 };

/* A little below the lowest score that is still a hit, so that the number as written makes it one.
 */
static double written(double x)
{
    double t = floor(x * 1e4) / 1e4;
    return t < 1e-4 ? 1e-4 : t > 1 ? 1 : t;
}

/* fpr: the most of the safe rows that may become hits. */
static qg_status best_of(qg_tuned *t, const double *x, const bool *y, size_t n, double fpr,
                         qg_err *err)
{
    scored *s = sorted(x, y, n);
    int64_t all = 0, tp = 0;
    if (!s)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < n; i++)
        all += y[i];
    *t = (qg_tuned){.rows = all};
    double most = fpr * (double)((int64_t)n - all);
    for (size_t i = 0; i < n && all >= LEAST_ROWS && (size_t)all < n; i++) {
        tp += s[i].y;
        if ((double)((int64_t)i + 1 - tp) > most)
            break;
        if (i + 1 < n && written(s[i + 1].x) >= written(s[i].x))
            continue;
        double f1 = 2 * (double)tp / (double)(all + (int64_t)i + 1);
        if (f1 > t->f1) {
            t->f1 = f1;
            t->threshold = written(s[i].x);
        }
    }
    qg_mfree(s);
    return QG_OK;
}

/* The joint probability that the policy compares: of a hit, and of this category given a hit. */
static double joint(const qg_said *s, int k)
{
    double sum = 0, hit = s->p_severity[QG_UNSAFE] + s->p_severity[QG_CONTROVERSIAL];
    for (int i = 0; i < QG_EVAL_NONE; i++)
        sum += s->p_category[i];
    return sum > 0 ? hit * (s->p_category[k] / sum) : 0;
}

static qg_status tune_category(qg_tuned *t, const qg_eval_set *set, int k, double *x, bool *y,
                               double fpr, qg_err *err)
{
    size_t n = 0;
    for (size_t i = 0; i < set->n; i++) {
        const qg_eval_row *row = &set->rows[i];
        bool of = row->unsafe[QG_STRICT] && (row->categories & 1u << k);
        if (!of && row->unsafe[QG_STRICT])
            continue;
        x[n] = joint(&row->said, k);
        y[n++] = of;
    }
    return n ? best_of(t, x, y, n, fpr, err) : QG_OK;
}

static void after_tuning(qg_tuning *t, const qg_eval_set *set)
{
    int64_t n[4] = {0}, by_label[4] = {0};
    qg_thresholds th;
    qg_thresholds_init(&th);
    th.unsafe = t->unsafe.threshold;
    for (int k = 0; k < QG_EVAL_NONE; k++)
        th.category[k] = t->category[k].threshold;
    for (size_t i = 0; i < set->n; i++) {
        const qg_eval_row *row = &set->rows[i];
        double p[QG_EVAL_NONE], hit = qg_eval_p(row, QG_STRICT);
        int by, top = row->said.n_categories ? row->said.categories[0] : -1;
        for (int k = 0; k < QG_EVAL_NONE; k++)
            p[k] = hit > 0 ? joint(&row->said, k) / hit : 0;
        bool said = qg_thresholds_hit(&th, (qg_severity)row->said.severity, row->said.p_severity, p,
                                      top == QG_EVAL_NONE ? -1 : top, &by);
        n[row->unsafe[QG_STRICT] << 1 | said]++;
        by_label[row->unsafe[QG_STRICT] << 1 | qg_eval_flagged(row, QG_STRICT)]++;
    }
    t->after = qg_rates_of(n[3], n[1], n[2], n[0]);
    t->before = qg_rates_of(by_label[3], by_label[1], by_label[2], by_label[0]);
}

static qg_status tune_all(qg_tuning *t, const qg_eval_set *set, double *x, bool *y, double fpr,
                          qg_err *err)
{
    t->safe = 0;
    for (size_t i = 0; i < set->n; i++) {
        x[i] = qg_eval_p(&set->rows[i], QG_STRICT);
        y[i] = set->rows[i].unsafe[QG_STRICT];
        t->safe += !y[i];
    }
    QG_TRY(best_of(&t->unsafe, x, y, set->n, fpr, err));
    for (int k = 0; k < QG_EVAL_NONE; k++)
        QG_TRY(tune_category(&t->category[k], set, k, x, y, fpr, err));
    after_tuning(t, set);
    return QG_OK;
}

/* Each category alone keeps to the share of false alarms, all of them together may not: then each
 * gets less. */
qg_status qg_tune(qg_tuning *t, const qg_eval_set *set, double max_fpr, qg_err *err)
{
    enum { TRIES = 6 };
    double *x = qg_calloc(set->n, sizeof *x), fpr = max_fpr;
    bool *y = qg_calloc(set->n, sizeof *y);
    qg_status rc = x && y ? QG_OK : qg_fail(err, QG_ERR_NOMEM, "out of memory");
    *t = (qg_tuning){.max_fpr = max_fpr};
    for (size_t i = 0; rc == QG_OK && i < set->n; i++)
        if (!set->rows[i].said.has_p)
            rc = qg_fail(err, QG_ERR_ARG,
                         "thresholds need probabilities, which --decode generate does not give");
    for (int i = 0; rc == QG_OK && i < TRIES; i++, fpr /= 2) {
        rc = tune_all(t, set, x, y, fpr, err);
        if (!(t->after.fpr > max_fpr))
            break;
    }
    qg_mfree(x);
    qg_mfree(y);
    return rc;
}

/* ---- two judges ------------------------------------------------------------------------------ */

/* Of b + c rows on which exactly one is right: the exact two-sided sign test. */
static double sign_test(int64_t b, int64_t c)
{
    int64_t n = b + c, k = b < c ? b : c;
    double sum = 0;
    for (int64_t i = 0; i <= k; i++)
        sum += exp(lgamma((double)n + 1) - lgamma((double)i + 1) - lgamma((double)(n - i) + 1) -
                   (double)n * log(2));
    return 2 * sum < 1 ? 2 * sum : 1;
}

static bool right(const qg_eval_row *row)
{
    return qg_eval_flagged(row, QG_STRICT) == row->unsafe[QG_STRICT];
}

static bool same_row(const qg_eval_row *x, const qg_eval_row *y)
{
    return x->line == y->line && !strcmp(x->id, y->id) &&
           x->unsafe[QG_STRICT] == y->unsafe[QG_STRICT];
}

qg_status qg_compare(qg_compared *c, const qg_eval_set *a, const qg_eval_set *b, qg_err *err)
{
    *c = (qg_compared){.n = a->n, .flips = qg_calloc(a->n, sizeof *c->flips)};
    if (!c->flips)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    if (a->n != b->n)
        return qg_fail(err, QG_ERR_ARG, "%zu rows beside %zu: not the same rows", a->n, b->n);
    for (size_t i = 0; i < a->n; i++) {
        const qg_eval_row *x = &a->rows[i], *y = &b->rows[i];
        if (!same_row(x, y))
            return qg_fail(err, QG_ERR_ARG, "line %lld and line %lld are not the same row",
                           (long long)x->line, (long long)y->line);
        c->moves[(int)x->said.severity][(int)y->said.severity]++;
        if (x->said.severity == y->said.severity)
            c->same++;
        else
            c->flips[c->n_flips++] = i;
        c->only_a += right(x) && !right(y);
        c->only_b += right(y) && !right(x);
    }
    c->p_value = sign_test(c->only_a, c->only_b);
    return QG_OK;
}

void qg_compare_free(qg_compared *c)
{
    qg_mfree(c->flips);
    c->flips = NULL;
}
