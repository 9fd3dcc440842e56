#define _GNU_SOURCE
#include "batch/eval_report.h"

#include "base/limits.h"

#include <math.h>
#include <stdio.h>

void qg_put(qg_pen *pen, const char *fmt, ...)
{
    char piece[4096];
    va_list list;
    va_start(list, fmt);
    int n = vsnprintf(piece, sizeof piece, fmt, list);
    va_end(list);
    if (pen->rc == QG_OK && (n < 0 || n >= (int)sizeof piece))
        pen->rc = QG_ERR_TOO_LONG;
    if (pen->rc == QG_OK)
        pen->rc = qg_buf_add(pen->out, piece, (size_t)n);
}

void qg_put_escaped(qg_pen *pen, const char *text)
{
    for (; *text; text++) {
        const char *known = strchr("<>&\"'", *text);
        if (known)
            qg_put(pen, "&#%d;", *text);
        else
            qg_put(pen, "%c", *text);
    }
}

void qg_put_percent(qg_pen *pen, double x)
{
    if (isnan(x))
        qg_put(pen, "–");
    else
        qg_put(pen, "%.1f", 100 * x);
}

const char *qg_category_short(int k)
{
    static const char *const names[QG_EVAL_NONE + 1] = {
        "Violent",   "Illegal",   "Sexual",    "PII",       "Self-harm",
        "Unethical", "Political", "Copyright", "Jailbreak", "none"};
    return names[k];
}

/* ---- a policy file --------------------------------------------------------------------------- */

static void put_category(qg_pen *pen, const qg_tuning *t, int k)
{
    const qg_tuned *c = &t->category[k];
    const char *name = qg_category_name((size_t)k);
    if (c->threshold > 0)
        qg_put(pen,
               "  %s: {threshold: %.4f} # F1 %.1f %% over its %lld unsafe rows and the safe ones\n",
               name, c->threshold, 100 * c->f1, (long long)c->rows);
    else
        qg_put(pen, "  # %s: none (%lld unsafe rows)\n", name, (long long)c->rows);
}

qg_status qg_report_policy(const qg_report *r, qg_buf *out)
{
    qg_pen pen = {.out = out};
    const qg_tuning *t = r->tuning;
    bool any = false;
    qg_put(&pen,
           "# Thresholds with the best F1 on %zu rows (%lld safe) and at most %.0f %% false\n",
           r->sets[r->n - 1].n, (long long)t->safe, 100 * t->max_fpr);
    qg_put(&pen, "# alarms, found by qguard eval with model %s.\n", r->model);
    qg_put(&pen,
           "# Strict F1 on these rows: %.1f %% by labels, %.1f %% so; false alarms %.1f %% and "
           "%.1f %%.\n# They fit these rows: look at others before you rely on them.\n",
           100 * t->before.f1, 100 * t->after.f1, 100 * t->before.fpr, 100 * t->after.fpr);
    qg_put(&pen, "version: 1\nmode: strict\n");
    if (t->unsafe.threshold > 0)
        qg_put(&pen, "thresholds: {unsafe: %.4f}\n", t->unsafe.threshold);
    for (int k = 0; k < QG_EVAL_NONE; k++)
        any |= t->category[k].threshold > 0;
    if (any)
        qg_put(&pen, "categories:\n");
    for (int k = 0; k < QG_EVAL_NONE; k++)
        put_category(&pen, t, k);
    return pen.rc;
}
