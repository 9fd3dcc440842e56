/* Filters on numbers, lists and dicts that take the value as a whole. */
#include "tmpl/run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

qg_status qg_val_length(qg_run *r, const qg_val *v, size_t *out)
{
    *out = 0;
    if (v->kind == QG_V_STR)
        *out = qg_ustr_length(v);
    else if (v->kind == QG_V_DICT)
        *out = v->dict->n;
    else if (qg_v_is_list(v) && v->kind != QG_V_GEN)
        *out = v->list->n;
    else if (v->kind != QG_V_UNDEF)
        return qg_run_fail(r, QG_ERR_TEMPLATE, "object of type '%s' has no len()", qg_val_type(v));
    return qg_run_spend(r, v->kind == QG_V_STR ? v->s.n / 64 : 0);
}

static qg_status f_length(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    size_t n;
    (void)a;
    QG_TRY(qg_val_length(r, v, &n));
    *out = qg_v_int((int64_t)n);
    out->input = v->input;
    return QG_OK;
}

static qg_status f_default(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    const qg_val *fall = qg_arg(a, 0, "default_value");
    bool take = v->kind == QG_V_UNDEF;
    (void)r;
    if (!take && qg_arg_true(a, 1, "boolean", false))
        take = !qg_val_truth(v);
    *out = !take ? *v : fall ? *fall : qg_v_str(qg_str(""));
    return QG_OK;
}

/* ---- numbers --------------------------------------------------------------------------------- */

static qg_status truncated(qg_run *r, double f, qg_val *out)
{
    if (!(f > -9223372036854775808.0 && f < 9223372036854775808.0))
        return qg_run_fail(r, QG_ERR_TEMPLATE, "a number beyond 64 bits");
    *out = qg_v_int((int64_t)f);
    return QG_OK;
}

static qg_status int_of_string(qg_run *r, const qg_val *v, qg_val *out)
{
    int64_t i;
    double f;
    int rc = qg_int_parse(qg_v_slice(v), &i);
    if (rc < 0)
        return qg_run_fail(r, QG_ERR_TEMPLATE, "a number beyond 64 bits");
    if (rc > 0)
        *out = qg_v_int(i);
    else if (qg_float_parse(qg_v_slice(v), &f) && isfinite(f))
        return truncated(r, f, out);
    return QG_OK;
}

static qg_status f_int(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    const qg_val *fall = qg_arg(a, 0, "default");
    int64_t base;
    QG_TRY(qg_arg_int(r, a, 1, "base", 10, &base));
    if (base != 10)
        return qg_run_fail(r, QG_ERR_UNSUPPORTED, "int with a base other than 10");
    *out = fall ? *fall : qg_v_int(0);
    if (v->kind == QG_V_UNDEF)
        return qg_run_undefined(r, v);
    if (v->kind == QG_V_STR)
        QG_TRY(int_of_string(r, v, out));
    else if (qg_v_is_integral(v))
        *out = qg_v_int(qg_v_integer(v));
    else if (v->kind == QG_V_FLOAT && !isnan(v->f))
        QG_TRY(truncated(r, v->f, out));
    out->input = out->input || v->input;
    return QG_OK;
}

static qg_status f_float(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    const qg_val *fall = qg_arg(a, 0, "default");
    double f;
    *out = fall ? *fall : qg_v_float(0);
    if (v->kind == QG_V_UNDEF)
        return qg_run_undefined(r, v);
    if (v->kind == QG_V_STR && qg_float_parse(qg_v_slice(v), &f))
        *out = qg_v_float(f);
    else if (qg_v_is_number(v))
        *out = qg_v_float(qg_v_double(v));
    out->input = out->input || v->input;
    return QG_OK;
}

static qg_status f_abs(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    (void)a;
    if (v->kind == QG_V_UNDEF)
        return qg_run_undefined(r, v);
    if (!qg_v_is_number(v))
        return qg_run_fail(r, QG_ERR_TEMPLATE, "abs needs a number, not '%s'", qg_val_type(v));
    if (v->kind == QG_V_FLOAT) {
        *out = qg_v_float(fabs(v->f));
    } else {
        int64_t i = qg_v_integer(v);
        if (i == INT64_MIN)
            return qg_run_fail(r, QG_ERR_TEMPLATE, "an integer beyond 64 bits");
        *out = qg_v_int(i < 0 ? -i : i);
    }
    out->input = v->input;
    return QG_OK;
}

static qg_status f_round(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    const qg_val *m = qg_arg(a, 1, "method");
    qg_slice method = m && m->kind == QG_V_STR ? qg_v_slice(m) : qg_str(m ? "?" : "common");
    bool up = qg_slice_is(method, "ceil"), down = qg_slice_is(method, "floor");
    int64_t precision;
    QG_TRY(qg_arg_int(r, a, 0, "precision", 0, &precision));
    if (!up && !down && !qg_slice_is(method, "common"))
        return qg_run_fail(r, QG_ERR_TEMPLATE, "round knows common, ceil and floor");
    if (!qg_v_is_number(v) || precision < 0 || precision > 15)
        return qg_run_fail(r, QG_ERR_TEMPLATE, "round needs a number and 0 to 15 decimals");
    double f = qg_v_double(v), scale = pow(10, (double)precision);
    *out = *v;
    if (up || down) {
        *out = qg_v_float((up ? ceil(f * scale) : floor(f * scale)) / scale);
    } else if (v->kind == QG_V_FLOAT && isfinite(f)) {
        char text[400]; /* 309 digits, point, 15 decimals */
        snprintf(text, sizeof text, "%.*f", (int)precision, f);
        *out = qg_v_float(strtod(text, NULL));
    } else if (v->kind == QG_V_BOOL) {
        *out = qg_v_int(v->b);
    }
    out->input = v->input;
    return QG_OK;
}

/* ---- ends, order ----------------------------------------------------------------------------- */

static qg_status f_first(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    qg_vlist *items;
    (void)a;
    *out = qg_v_undef(qg_str("first"));
    if (v->kind == QG_V_GEN) { /* takes one, the rest stays */
        if (v->list->pos < v->list->n)
            *out = v->list->v[v->list->pos++];
        return QG_OK;
    }
    qg_val zero = qg_v_int(0);
    if (v->kind == QG_V_STR)
        return qg_get_item(r, v, &zero, out);
    QG_TRY(qg_val_items(r, v, &items));
    if (items->n)
        *out = items->v[0];
    return QG_OK;
}

static qg_status f_last(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    qg_vlist *items;
    (void)a;
    *out = qg_v_undef(qg_str("last"));
    if (v->kind == QG_V_GEN)
        return qg_run_fail(r, QG_ERR_TEMPLATE, "'generator' object is not reversible");
    qg_val end = qg_v_int(-1);
    if (v->kind == QG_V_STR)
        return qg_get_item(r, v, &end, out);
    QG_TRY(qg_val_items(r, v, &items));
    if (items->n)
        *out = items->v[items->n - 1];
    return QG_OK;
}

static qg_status copy_items(qg_run *r, const qg_val *v, qg_vkind kind, bool backwards, qg_val *out)
{
    qg_vlist *items;
    qg_val list;
    QG_TRY(qg_val_items(r, v, &items));
    QG_TRY(qg_val_list(r, kind, items->n, &list));
    QG_TRY(qg_run_spend(r, items->n));
    for (size_t i = 0; i < items->n; i++)
        list.list->v[i] = items->v[backwards ? items->n - 1 - i : i];
    list.list->n = items->n;
    list.input = v->input;
    *out = list;
    return QG_OK;
}

static qg_status f_list(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    (void)a;
    return copy_items(r, v, QG_V_LIST, false, out);
}

static qg_status f_reverse(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    (void)a;
    if (v->kind == QG_V_STR) {
        int64_t n = (int64_t)qg_ustr_length(v);
        return qg_ustr_slice(r, v, n - 1, -1, -1, out);
    }
    return copy_items(r, v, v->kind == QG_V_GEN ? QG_V_LIST : QG_V_GEN, true, out);
}

static qg_status f_items(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    qg_val pair;
    (void)a;
    QG_TRY(qg_val_list(r, QG_V_GEN, v->kind == QG_V_DICT ? v->dict->n : 0, out));
    if (v->kind == QG_V_UNDEF)
        return QG_OK;
    if (v->kind != QG_V_DICT)
        return qg_run_fail(r, QG_ERR_TEMPLATE, "items needs a mapping, not '%s'", qg_val_type(v));
    for (size_t i = 0; i < v->dict->n; i++) {
        QG_TRY(qg_run_spend(r, 1));
        QG_TRY(qg_val_list(r, QG_V_TUPLE, 2, &pair));
        QG_TRY(qg_val_push(r, &pair, v->dict->v[i].key));
        QG_TRY(qg_val_push(r, &pair, v->dict->v[i].val));
        QG_TRY(qg_val_push(r, out, pair));
    }
    return QG_OK;
}

static qg_status f_sum(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    const qg_val *path = qg_arg(a, 0, "attribute"), *start = qg_arg(a, 1, "start");
    qg_vlist *items;
    qg_val acc = start ? *start : qg_v_int(0), item;
    QG_TRY(qg_val_items(r, v, &items));
    if (acc.kind == QG_V_STR)
        return qg_run_fail(r, QG_ERR_TEMPLATE, "sum cannot add strings");
    for (size_t i = 0; i < items->n; i++) {
        item = items->v[i];
        if (path && path->kind != QG_V_NONE)
            QG_TRY(qg_get_path(r, &items->v[i], path, &item));
        QG_TRY(qg_run_spend(r, 1));
        QG_TRY(qg_eval_binary(r, QG_T_ADD, &acc, &item, &acc));
    }
    *out = acc;
    return QG_OK;
}

const qg_builtin qg_list_filters[] = {
    {"length", f_length, "", 0},
    {"count", f_length, "", 0},
    {"default", f_default, "default_value boolean", 0},
    {"d", f_default, "default_value boolean", 0},
    {"int", f_int, "default base", 0},
    {"float", f_float, "default", 0},
    {"abs", f_abs, "", 0},
    {"round", f_round, "precision method", 0},
    {"first", f_first, "", 0},
    {"last", f_last, "", 0},
    {"list", f_list, "", 0},
    {"reverse", f_reverse, "", 0},
    {"items", f_items, "", 0},
    {"sum", f_sum, "attribute start", 0},
    {0},
};
