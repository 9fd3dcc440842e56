/* Expressions. */
#include "base/limits.h"
#include "tmpl/run.h"

static qg_status eval_list(qg_run *r, const qg_node *n, qg_val *out)
{
    qg_val list;
    QG_TRY(qg_val_list(r, n->kind == QG_N_TUPLE ? QG_V_TUPLE : QG_V_LIST, n->n, &list));
    for (uint32_t i = 0; i < n->n; i++) {
        QG_TRY(qg_eval(r, n->v[i], &list.list->v[i]));
        list.list->n = i + 1;
    }
    *out = list;
    return QG_OK;
}

static qg_status eval_dict(qg_run *r, const qg_node *n, qg_val *out)
{
    qg_val dict, key, val;
    QG_TRY(qg_val_dict(r, QG_V_DICT, n->n / 2, &dict));
    for (uint32_t i = 0; i + 1 < n->n; i += 2) {
        QG_TRY(qg_eval(r, n->v[i], &key));
        QG_TRY(qg_eval(r, n->v[i + 1], &val));
        QG_TRY(qg_val_set(r, &dict, key, val));
    }
    *out = dict;
    return QG_OK;
}

/* and, or: the operand that decides is the value. */
static qg_status eval_logic(qg_run *r, const qg_node *n, qg_val *out)
{
    bool stop = n->kind == QG_N_OR;
    for (uint32_t i = 0; i < n->n; i++) {
        QG_TRY(qg_eval(r, n->v[i], out));
        if (qg_val_truth(out) == stop)
            break;
    }
    return QG_OK;
}

/* a + b + c from the left; a run of strings is put together once. */
static qg_status eval_sum(qg_run *r, const qg_node *n, qg_val *out)
{
    qg_val acc, next;
    QG_TRY(qg_eval(r, n->v[0], &acc));
    uint32_t i = 1;
    while (i < n->n) {
        QG_TRY(qg_eval(r, n->v[i], &next));
        if (acc.kind != QG_V_STR || next.kind != QG_V_STR) {
            QG_TRY(qg_eval_binary(r, QG_T_ADD, &acc, &next, &acc));
            i++;
            continue;
        }
        qg_sb b = {0};
        QG_TRY(qg_sb_reserve(r, &b, acc.s.n + next.s.n));
        QG_TRY(qg_sb_add(r, &b, &acc));
        QG_TRY(qg_sb_add(r, &b, &next));
        for (i++; i < n->n; i++) {
            QG_TRY(qg_eval(r, n->v[i], &next));
            if (next.kind != QG_V_STR)
                return qg_eval_binary(r, QG_T_ADD, &acc, &next, &acc); /* fails: str + other */
            QG_TRY(qg_sb_add(r, &b, &next));
        }
        acc = qg_sb_done(&b);
    }
    *out = acc;
    return QG_OK;
}

static qg_status eval_concat(qg_run *r, const qg_node *n, qg_val *out)
{
    qg_sb b = {0};
    for (uint32_t i = 0; i < n->n; i++) {
        qg_val part;
        QG_TRY(qg_eval(r, n->v[i], &part));
        QG_TRY(qg_val_str(r, &part, &part));
        QG_TRY(qg_sb_add(r, &b, &part));
    }
    *out = qg_sb_done(&b);
    return QG_OK;
}

static qg_status eval_sign(qg_run *r, const qg_node *n, qg_val *out)
{
    qg_val v;
    QG_TRY(qg_eval(r, n->a, &v));
    if (v.kind == QG_V_UNDEF)
        return qg_run_undefined(r, &v);
    if (!qg_v_is_number(&v))
        return qg_run_fail(r, QG_ERR_TEMPLATE, "no sign can stand before '%s'", qg_val_type(&v));
    qg_val zero = qg_v_int(0);
    if (v.kind == QG_V_FLOAT) {
        v.f = n->kind == QG_N_NEG ? -v.f : v.f;
        *out = v;
        return QG_OK;
    }
    return qg_eval_binary(r, n->kind == QG_N_NEG ? QG_T_SUB : QG_T_ADD, &zero, &v, out);
}

static qg_status eval_item(qg_run *r, const qg_node *n, qg_val *out)
{
    qg_val obj, key;
    QG_TRY(qg_eval(r, n->a, &obj));
    QG_TRY(qg_eval(r, n->b, &key));
    return qg_get_item(r, &obj, &key, out);
}

static qg_status eval_attr(qg_run *r, const qg_node *n, qg_val *out)
{
    qg_val obj;
    QG_TRY(qg_eval(r, n->a, &obj));
    r->line = n->line;
    return qg_get_attr(r, &obj, qg_v_slice(&n->k), out);
}

static qg_status eval_cond(qg_run *r, const qg_node *n, qg_val *out)
{
    qg_val test;
    QG_TRY(qg_eval(r, n->a, &test));
    if (qg_val_truth(&test))
        return qg_eval(r, n->b, out);
    if (n->c)
        return qg_eval(r, n->c, out);
    *out = qg_v_undef(qg_str("the inline if without else"));
    return QG_OK;
}

static qg_status eval_not(qg_run *r, const qg_node *n, qg_val *out)
{
    QG_TRY(qg_eval(r, n->a, out));
    *out = qg_v_bool(!qg_val_truth(out));
    return QG_OK;
}

/* Filters and tests: subject first, then arguments. */
static qg_status eval_builtin(qg_run *r, const qg_node *n, qg_val *out)
{
    qg_val subject;
    qg_args args;
    QG_TRY(qg_eval(r, n->a, &subject));
    QG_TRY(qg_eval_args(r, n, &args));
    r->line = n->line;
    return qg_builtin_call(r, n->builtin, &subject, &args, out);
}

static qg_status eval_operator(qg_run *r, const qg_node *n, qg_val *out)
{
    qg_val a, b;
    QG_TRY(qg_eval(r, n->a, &a));
    QG_TRY(qg_eval(r, n->b, &b));
    r->line = n->line;
    return qg_eval_binary(r, n->op, &a, &b, out);
}

static qg_status eval_inner(qg_run *r, const qg_node *n, qg_val *out)
{
    switch (n->kind) {
    case QG_N_LIST:
    case QG_N_TUPLE:
        return eval_list(r, n, out);
    case QG_N_DICT:
        return eval_dict(r, n, out);
    case QG_N_ATTR:
        return eval_attr(r, n, out);
    case QG_N_ITEM:
        return eval_item(r, n, out);
    case QG_N_SLICE:
        return qg_eval_slice(r, n, out);
    case QG_N_CALL:
        return qg_eval_call(r, n, out);
    case QG_N_FILTER:
    case QG_N_TEST:
        return eval_builtin(r, n, out);
    case QG_N_COND:
        return eval_cond(r, n, out);
    case QG_N_AND:
    case QG_N_OR:
        return eval_logic(r, n, out);
    case QG_N_NOT:
        return eval_not(r, n, out);
    case QG_N_COMPARE:
        return qg_eval_compare(r, n, out);
    case QG_N_BINARY:
        return eval_operator(r, n, out);
    case QG_N_SUM:
        return eval_sum(r, n, out);
    case QG_N_CONCAT:
        return eval_concat(r, n, out);
    case QG_N_NEG:
    case QG_N_POS:
        return eval_sign(r, n, out);
    default:
        return qg_run_fail(r, QG_ERR_INTERNAL, "not an expression");
    }
}

qg_status qg_eval(qg_run *r, const qg_node *n, qg_val *out)
{
    QG_TRY(qg_run_spend(r, 1));
    r->line = n->line;
    if (n->kind == QG_N_CONST) {
        *out = n->k;
        return QG_OK;
    }
    if (n->kind == QG_N_NAME)
        return qg_scope_get(r, n, out);
    if (n->kind == QG_N_HOLE) {
        *out = r->hole;
        return QG_OK;
    }
    if (r->depth >= QG_MAX_TMPL_DEPTH)
        return qg_run_fail(r, QG_ERR_TOO_LONG, "evaluation more than %d deep", QG_MAX_TMPL_DEPTH);
    r->depth++;
    qg_status rc = eval_inner(r, n, out);
    r->depth--;
    return rc;
}
