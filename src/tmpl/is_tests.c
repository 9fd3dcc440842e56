/* Tests: what may stand behind "is". */
#include "tmpl/run.h"

#include <math.h>

static qg_status answer(qg_val *out, bool b)
{
    *out = qg_v_bool(b);
    return QG_OK;
}

/* Tests that only look at the kind of the value. */
#define KIND_TEST(name, condition)                                                                 \
    static qg_status name(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)               \
    {                                                                                              \
        (void)r, (void)v, (void)a;                                                                 \
        return answer(out, condition);                                                             \
    }

KIND_TEST(t_defined, v->kind != QG_V_UNDEF)
KIND_TEST(t_undefined, v->kind == QG_V_UNDEF)
KIND_TEST(t_none, v->kind == QG_V_NONE)
KIND_TEST(t_boolean, v->kind == QG_V_BOOL)
KIND_TEST(t_true, v->kind == QG_V_BOOL && v->b)
KIND_TEST(t_false, v->kind == QG_V_BOOL && !v->b)
KIND_TEST(t_integer, v->kind == QG_V_INT)
KIND_TEST(t_float, v->kind == QG_V_FLOAT)
KIND_TEST(t_number, qg_v_is_number(v))
KIND_TEST(t_string, v->kind == QG_V_STR)
KIND_TEST(t_mapping, v->kind == QG_V_DICT)
KIND_TEST(t_callable, v->kind == QG_V_UNDEF || v->kind >= QG_V_FUNC)
/* undefined counts as empty sequence here, as in the reference */
KIND_TEST(t_sequence, v->kind == QG_V_UNDEF || v->kind == QG_V_STR || v->kind == QG_V_DICT ||
                          (v->kind >= QG_V_LIST && v->kind <= QG_V_RANGE))
KIND_TEST(t_iterable, v->kind == QG_V_UNDEF || v->kind == QG_V_STR || v->kind == QG_V_DICT ||
                          v->kind == QG_V_LOOP || qg_v_is_list(v))
KIND_TEST(t_escaped, false)

static qg_status remainder_is(qg_run *r, const qg_val *v, const qg_val *by, double wanted,
                              qg_val *out)
{
    qg_val rest;
    QG_TRY(qg_eval_binary(r, QG_T_MOD, v, by, &rest));
    return answer(out, qg_v_is_number(&rest) && qg_v_double(&rest) == wanted);
}

static qg_status t_odd(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    qg_val two = qg_v_int(2);
    (void)a;
    return remainder_is(r, v, &two, 1, out);
}

static qg_status t_even(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    qg_val two = qg_v_int(2);
    (void)a;
    return remainder_is(r, v, &two, 0, out);
}

static qg_status t_divisibleby(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    return remainder_is(r, v, qg_arg(a, 0, "num"), 0, out);
}

static qg_status t_eq(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    bool same;
    QG_TRY(qg_val_equal(r, v, &a->v[0], &same));
    return answer(out, same);
}

static qg_status t_ne(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    bool same;
    QG_TRY(qg_val_equal(r, v, &a->v[0], &same));
    return answer(out, !same);
}

static qg_status ordered(qg_run *r, const qg_val *v, const qg_args *a, int sign, bool or_equal,
                         qg_val *out)
{
    int order;
    bool nan;
    QG_TRY(qg_val_compare(r, v, &a->v[0], &order, &nan));
    return answer(out, !nan && ((sign < 0 ? order < 0 : order > 0) || (or_equal && order == 0)));
}

static qg_status t_lt(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    return ordered(r, v, a, -1, false, out);
}

static qg_status t_le(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    return ordered(r, v, a, -1, true, out);
}

static qg_status t_gt(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    return ordered(r, v, a, 1, false, out);
}

static qg_status t_ge(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    return ordered(r, v, a, 1, true, out);
}

static qg_status t_in(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    bool found;
    QG_TRY(qg_val_contains(r, qg_arg(a, 0, "seq"), v, &found));
    return answer(out, found);
}

/* Python's "is": for none, true and false the value; else the very same object. */
static qg_status t_sameas(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    const qg_val *o = qg_arg(a, 0, "other");
    bool same = v->kind == o->kind;
    if (same && v->kind <= QG_V_FLOAT)
        return t_eq(r, v, a, out);
    if (same && v->kind == QG_V_STR)
        same = v->s.p == o->s.p && v->s.n == o->s.n;
    else
        same = same && v->list == o->list;
    return answer(out, same);
}

/* str.islower(), str.isupper(): some letter has case, and none the other one. */
static qg_status all_in_case(qg_run *r, const qg_val *v, qg_case how, qg_val *out)
{
    qg_val s, turned, other;
    QG_TRY(qg_val_str(r, v, &s));
    QG_TRY(qg_ustr_case(r, &s, how, &turned));
    QG_TRY(qg_ustr_case(r, &s, how == QG_LOWER ? QG_UPPER : QG_LOWER, &other));
    return answer(out, qg_slice_eq(qg_v_slice(&s), qg_v_slice(&turned)) &&
                           !qg_slice_eq(qg_v_slice(&turned), qg_v_slice(&other)));
}

static qg_status t_lower(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    (void)a;
    return all_in_case(r, v, QG_LOWER, out);
}

static qg_status t_upper(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    (void)a;
    return all_in_case(r, v, QG_UPPER, out);
}

static qg_status t_filter(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    (void)r, (void)a;
    return answer(out, v->kind == QG_V_STR && qg_filter_find(qg_v_slice(v)));
}

static qg_status t_test(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    (void)r, (void)a;
    return answer(out, v->kind == QG_V_STR && qg_test_find(qg_v_slice(v)));
}

static const qg_builtin is_tests[] = {
    {"defined", t_defined, "", 0},
    {"undefined", t_undefined, "", 0},
    {"none", t_none, "", 0},
    {"boolean", t_boolean, "", 0},
    {"true", t_true, "", 0},
    {"false", t_false, "", 0},
    {"integer", t_integer, "", 0},
    {"float", t_float, "", 0},
    {"number", t_number, "", 0},
    {"string", t_string, "", 0},
    {"mapping", t_mapping, "", 0},
    {"sequence", t_sequence, "", 0},
    {"iterable", t_iterable, "", 0},
    {"callable", t_callable, "", 0},
    {"escaped", t_escaped, "", 0},
    {"odd", t_odd, "", 0},
    {"even", t_even, "", 0},
    {"divisibleby", t_divisibleby, "num", 1},
    {"eq", t_eq, "/b", 1},
    {"equalto", t_eq, "/b", 1},
    {"==", t_eq, "/b", 1},
    {"ne", t_ne, "/b", 1},
    {"!=", t_ne, "/b", 1},
    {"lt", t_lt, "/b", 1},
    {"lessthan", t_lt, "/b", 1},
    {"<", t_lt, "/b", 1},
    {"le", t_le, "/b", 1},
    {"<=", t_le, "/b", 1},
    {"gt", t_gt, "/b", 1},
    {"greaterthan", t_gt, "/b", 1},
    {">", t_gt, "/b", 1},
    {"ge", t_ge, "/b", 1},
    {">=", t_ge, "/b", 1},
    {"in", t_in, "seq", 1},
    {"sameas", t_sameas, "other", 1},
    {"lower", t_lower, "", 0},
    {"upper", t_upper, "", 0},
    {"filter", t_filter, "", 0},
    {"test", t_test, "", 0},
    {0},
};

const qg_builtin *qg_test_find(qg_slice name)
{
    return qg_builtin_find(is_tests, name);
}
