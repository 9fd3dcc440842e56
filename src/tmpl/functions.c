/* Functions that every template has. */
#include "base/limits.h"
#include "tmpl/run.h"

static qg_status f_raise(qg_run *r, const qg_val *self, const qg_args *a, qg_val *out)
{
    qg_val s;
    (void)self, (void)out;
    QG_TRY(qg_val_str(r, &a->v[0], &s));
    int n = s.s.n > 300 ? 300 : (int)s.s.n;
    return qg_run_fail(r, QG_ERR_TEMPLATE, "%.*s", n, s.s.p);
}

static qg_status f_range(qg_run *r, const qg_val *self, const qg_args *a, qg_val *out)
{
    int64_t b[3] = {0, 0, 1};
    (void)self;
    for (size_t i = 0; i < a->n; i++)
        QG_TRY(qg_arg_int(r, a, i, "range", 0, &b[a->n == 1 ? 1 : i]));
    int64_t step = b[2];
    if (step == 0)
        return qg_run_fail(r, QG_ERR_TEMPLATE, "range() step must not be zero");
    uint64_t gap = 0, stride = step > 0 ? (uint64_t)step : -(uint64_t)step;
    if (step > 0 ? b[1] > b[0] : b[1] < b[0])
        gap = step > 0 ? (uint64_t)b[1] - (uint64_t)b[0] : (uint64_t)b[0] - (uint64_t)b[1];
    uint64_t n = gap / stride + (gap % stride != 0);
    if (n > QG_MAX_TMPL_RANGE)
        return qg_run_fail(r, QG_ERR_TOO_LONG, "a range of more than %d", QG_MAX_TMPL_RANGE);
    QG_TRY(qg_run_spend(r, (size_t)n));
    QG_TRY(qg_val_list(r, QG_V_RANGE, (size_t)n, out));
    for (uint64_t i = 0; i < n; i++)
        out->list->v[i] = qg_v_int((int64_t)((uint64_t)b[0] + i * (uint64_t)step));
    out->list->n = (size_t)n;
    memcpy(out->list->range, b, sizeof b);
    for (size_t i = 0; i < a->n; i++)
        out->input = out->input || a->v[i].input;
    for (uint64_t i = 0; out->input && i < n; i++)
        out->list->v[i].input = true;
    return QG_OK;
}

/* dict(…) and namespace(…): members of a dict, then named arguments. */
static qg_status members(qg_run *r, qg_vkind kind, const qg_args *a, qg_val *out)
{
    const qg_val *from = a->n_pos ? &a->v[0] : NULL;
    if (a->n_pos > 1 || (from && from->kind != QG_V_DICT))
        return qg_run_fail(r, QG_ERR_TEMPLATE, "dict() and namespace() take a dict and names");
    QG_TRY(qg_val_dict(r, kind, a->n, out));
    for (size_t i = 0; from && i < from->dict->n; i++)
        QG_TRY(qg_val_set(r, out, from->dict->v[i].key, from->dict->v[i].val));
    for (size_t i = a->n_pos; i < a->n; i++)
        QG_TRY(qg_val_set(r, out, qg_v_str(a->names[i - a->n_pos]), a->v[i]));
    return QG_OK;
}

static qg_status f_dict(qg_run *r, const qg_val *self, const qg_args *a, qg_val *out)
{
    (void)self;
    return members(r, QG_V_DICT, a, out);
}

static qg_status f_namespace(qg_run *r, const qg_val *self, const qg_args *a, qg_val *out)
{
    (void)self;
    return members(r, QG_V_NS, a, out);
}

/* A NULL function may stand in a template (behind "is defined", which is false) but not be called.
 */
static const qg_builtin functions[] = {
    {"raise_exception", f_raise, "message", 1},
    {"range", f_range, "/start /stop /step", 1},
    {"dict", f_dict, "*", 0},
    {"namespace", f_namespace, "*", 0},
    {"strftime_now", NULL, "*", 0}, /* the time of day would make verdicts change */
    {0},
};

const qg_builtin *qg_function_find(qg_slice name)
{
    return qg_builtin_find(functions, name);
}
