/* Calls: arguments, builtins, macros. */
#include "base/limits.h"
#include "tmpl/run.h"

qg_status qg_eval_args(qg_run *r, const qg_node *n, qg_args *out)
{
    *out = (qg_args){0};
    if (n->n == 0)
        return QG_OK;
    qg_val *v = qg_run_alloc(r, n->n, sizeof *v);
    qg_slice *names = v ? qg_run_alloc(r, n->n, sizeof *names) : NULL;
    if (!names)
        return r->arena.why;
    for (uint32_t i = 0; i < n->n; i++) {
        const qg_node *arg = n->v[i];
        if (arg->kind == QG_N_KEYWORD)
            names[i - out->n_pos] = qg_v_slice(&arg->k);
        else
            out->n_pos++;
        QG_TRY(qg_eval(r, arg->kind == QG_N_KEYWORD ? arg->a : arg, &v[i]));
    }
    out->v = v;
    out->names = names;
    out->n = n->n;
    return QG_OK;
}

const qg_val *qg_arg(const qg_args *args, size_t i, const char *name)
{
    if (i < args->n_pos)
        return &args->v[i];
    for (size_t k = args->n_pos; k < args->n; k++)
        if (qg_slice_is(args->names[k - args->n_pos], name))
            return &args->v[k];
    return NULL;
}

qg_status qg_arg_int(qg_run *r, const qg_args *a, size_t i, const char *name, int64_t fall,
                     int64_t *out)
{
    const qg_val *v = qg_arg(a, i, name);
    *out = fall;
    if (!v)
        return QG_OK;
    if (!qg_v_is_integral(v))
        return qg_run_fail(r, QG_ERR_TEMPLATE, "%s is an integer, not '%s'", name, qg_val_type(v));
    *out = qg_v_integer(v);
    return QG_OK;
}

qg_status qg_arg_str(qg_run *r, const qg_args *a, size_t i, const char *name, qg_val *out)
{
    const qg_val *v = qg_arg(a, i, name);
    if (!v)
        return qg_run_fail(r, QG_ERR_TEMPLATE, "%s is missing", name);
    if (v->kind != QG_V_STR)
        return qg_run_fail(r, QG_ERR_TEMPLATE, "%s is a string, not '%s'", name, qg_val_type(v));
    *out = *v;
    return QG_OK;
}

bool qg_arg_true(const qg_args *a, size_t i, const char *name, bool fall)
{
    const qg_val *v = qg_arg(a, i, name);
    return v ? qg_val_truth(v) : fall;
}

/* ---- builtins -------------------------------------------------------------------------------- */

/* Place of a name among the parameters ("a b /c"), or -1; *count gets how many there are. */
static int param_index(const char *params, qg_slice name, size_t *count)
{
    int found = -1;
    *count = 0;
    for (const char *p = params; *p;) {
        size_t n = strcspn(p, " ");
        if (*p != '/' && qg_slice_eq(name, qg_slice_of(p, n)))
            found = (int)*count;
        ++*count;
        p += n;
        p += *p == ' ';
    }
    return found;
}

static qg_status check_args(qg_run *r, const qg_builtin *b, const qg_args *args)
{
    size_t count;
    param_index(b->params, qg_str(""), &count);
    if (args->n_pos > count)
        return qg_run_fail(r, QG_ERR_TEMPLATE, "%s takes at most %zu arguments, got %zu", b->name,
                           count, args->n_pos);
    if (args->n < b->need)
        return qg_run_fail(r, QG_ERR_TEMPLATE, "%s takes at least %d arguments, got %zu", b->name,
                           b->need, args->n);
    for (size_t i = args->n_pos; i < args->n; i++) {
        qg_slice name = args->names[i - args->n_pos];
        int at = param_index(b->params, name, &count);
        if (at < 0 || (size_t)at < args->n_pos)
            return qg_run_fail(r, QG_ERR_TEMPLATE, "%s has no free argument '%.*s'", b->name,
                               (int)(name.n > 100 ? 100 : name.n), name.p);
    }
    return QG_OK;
}

qg_status qg_builtin_call(qg_run *r, const qg_builtin *b, const qg_val *self, const qg_args *args,
                          qg_val *out)
{
    if (!b->fn)
        return qg_run_fail(r, QG_ERR_TEMPLATE, "%s is not available", b->name);
    if (strcmp(b->params, "*"))
        QG_TRY(check_args(r, b, args));
    if (r->depth >= QG_MAX_TMPL_DEPTH) /* map("map", "map", …) */
        return qg_run_fail(r, QG_ERR_TOO_LONG, "evaluation more than %d deep", QG_MAX_TMPL_DEPTH);
    qg_val result = qg_v_none();
    r->depth++;
    QG_TRY(b->fn(r, self, args, &result)); /* out may be self */
    r->depth--;
    *out = result;
    return QG_OK;
}

/* ---- macros ---------------------------------------------------------------------------------- */

static qg_status bind_params(qg_run *r, const qg_node *def, const qg_args *args)
{
    if (args->n_pos > def->n)
        return qg_run_fail(r, QG_ERR_TEMPLATE, "macro '%.*s' takes at most %u arguments",
                           (int)def->k.s.n, def->k.s.p, def->n);
    size_t used = args->n_pos;
    for (uint32_t i = 0; i < def->n; i++) {
        const qg_node *param = def->v[i];
        qg_val val = qg_v_undef(qg_v_slice(&param->k));
        bool given = i < args->n_pos;
        if (given)
            val = args->v[i];
        for (size_t k = args->n_pos; !given && k < args->n; k++) {
            given = qg_slice_eq(args->names[k - args->n_pos], qg_v_slice(&param->k));
            if (given) {
                val = args->v[k];
                used++;
            }
        }
        if (!given && param->a)
            QG_TRY(qg_eval(r, param->a, &val));
        QG_TRY(qg_scope_set(r, r->top, param->name, val));
    }
    if (used != args->n)
        return qg_run_fail(r, QG_ERR_TEMPLATE, "macro '%.*s' got an argument it does not have",
                           (int)def->k.s.n, def->k.s.p);
    return QG_OK;
}

qg_status qg_macro_call(qg_run *r, const qg_macro *m, const qg_args *args, qg_val *out)
{
    qg_frame *top = r->top;
    QG_TRY(qg_scope_new(r, m->frame, &r->top));
    QG_TRY(bind_params(r, m->def, args));
    QG_TRY(qg_exec_capture(r, m->def->c, out));
    r->top = top;
    return QG_OK;
}

/* ---- calls ----------------------------------------------------------------------------------- */

/* x.name(…): the usual case, a method of x, without making a value of it. */
static qg_status eval_callee(qg_run *r, const qg_node *callee, qg_val *out, qg_bound *bound)
{
    bound->method = NULL;
    if (callee->kind != QG_N_ATTR)
        return qg_eval(r, callee, out);
    QG_TRY(qg_eval(r, callee->a, &bound->self));
    qg_slice name = qg_v_slice(&callee->k);
    r->line = callee->line;
    if (bound->self.kind != QG_V_UNDEF && bound->self.kind != QG_V_NS)
        bound->method = qg_method_find(&bound->self, name);
    return bound->method ? QG_OK : qg_get_attr(r, &bound->self, name, out);
}

qg_status qg_eval_call(qg_run *r, const qg_node *n, qg_val *out)
{
    qg_val callee = qg_v_none();
    qg_bound bound;
    qg_args args;
    QG_TRY(eval_callee(r, n->a, &callee, &bound));
    QG_TRY(qg_eval_args(r, n, &args));
    r->line = n->line;
    if (bound.method)
        return qg_builtin_call(r, bound.method, &bound.self, &args, out);
    switch (callee.kind) {
    case QG_V_FUNC:
        return qg_builtin_call(r, callee.func, NULL, &args, out);
    case QG_V_METHOD:
        return qg_builtin_call(r, callee.bound->method, &callee.bound->self, &args, out);
    case QG_V_MACRO:
        return qg_macro_call(r, callee.macro, &args, out);
    case QG_V_UNDEF:
        return qg_run_undefined(r, &callee);
    default:
        return qg_run_fail(r, QG_ERR_TEMPLATE, "'%s' object is not callable", qg_val_type(&callee));
    }
}
