/* What counts as a hit: the rule that every surface goes by. */
#include "guard/thresholds.h"

enum { N_HARMS = 9 }; /* the categories but None */

void qg_thresholds_init(qg_thresholds *t)
{
    *t = (qg_thresholds){.size = sizeof *t};
}

static bool in_unit(double v)
{
    return v >= 0 && v <= 1; /* false for NaN */
}

qg_status qg_thresholds_check(const qg_thresholds *t, qg_err *err)
{
    if (t->size != sizeof *t)
        return qg_fail(err, QG_ERR_ARG, "thresholds: size is not set; call qg_thresholds_init");
    if (!in_unit(t->unsafe))
        return qg_fail(err, QG_ERR_ARG, "thresholds: unsafe is not in [0,1]");
    for (size_t i = 0; i < QG_MAX_CATEGORIES; i++)
        if (!in_unit(t->category[i]))
            return qg_fail(err, QG_ERR_ARG, "thresholds: category[%zu] is not in [0,1]", i);
    return QG_OK;
}

bool qg_thresholds_hit(const qg_thresholds *t, qg_severity severity, const double p_severity[3],
                       const double p_category[9], int top, int *by)
{
    double hit = p_severity[QG_UNSAFE], best = 0;
    bool general = severity == QG_UNSAFE;

    if (!t->loose) {
        hit += p_severity[QG_CONTROVERSIAL];
        general |= severity == QG_CONTROVERSIAL;
    }
    if (t->unsafe > 0)
        general = hit >= t->unsafe;
    *by = top;
    if (general && (top < 0 || t->category[top] <= 0))
        return true;
    for (int i = 0; i < N_HARMS; i++)
        if (t->category[i] > 0 && hit * p_category[i] >= t->category[i] && p_category[i] > best) {
            best = p_category[i];
            *by = i;
        }
    return best > 0;
}
