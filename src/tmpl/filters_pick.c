/* Filters that look at each element: sort, unique, min, max, map, select and their kin. */
#include "tmpl/run.h"

/* ---- sorting --------------------------------------------------------------------------------- */

static qg_status merge(qg_run *r, const qg_vpair *a, size_t n, const qg_vpair *b, size_t m,
                       bool reverse, qg_vpair *out)
{
    while (n && m) {
        int order;
        bool nan;
        QG_TRY(qg_val_compare(r, &b->key, &a->key, &order, &nan));
        bool take_b = !nan && (reverse ? order > 0 : order < 0); /* equals keep their order */
        *out++ = take_b ? *b : *a;
        b += take_b;
        m -= take_b;
        a += !take_b;
        n -= !take_b;
    }
    memcpy(out, n ? a : b, (n ? n : m) * sizeof *out);
    return QG_OK;
}

qg_status qg_sort_pairs(qg_run *r, qg_vpair *v, size_t n, bool reverse)
{
    qg_vpair *from = v, *to = qg_run_alloc(r, n, sizeof *to);
    if (!to)
        return r->arena.why;
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t i = 0; i < n; i += 2 * width) {
            size_t left = n - i < width ? n - i : width;
            size_t right = n - i - left < width ? n - i - left : width;
            QG_TRY(merge(r, from + i, left, from + i + left, right, reverse, to + i));
        }
        qg_vpair *swap = from;
        from = to;
        to = swap;
    }
    if (from != v && n)
        memcpy(v, from, n * sizeof *v);
    return QG_OK;
}

/* What sort, unique, min and max compare: an attribute of the item, strings in lower case. */
static qg_status key_of(qg_run *r, const qg_val *item, const qg_val *path, bool exact, qg_val *out)
{
    *out = *item;
    if (path && path->kind != QG_V_NONE)
        QG_TRY(qg_get_path(r, item, path, out));
    if (exact || out->kind != QG_V_STR)
        return QG_OK;
    return qg_ustr_case(r, out, QG_LOWER, out);
}

/* sort(attribute="a,b") compares lists of attributes. */
static qg_status keys_of(qg_run *r, const qg_val *item, const qg_val *paths, bool exact,
                         qg_val *out)
{
    qg_val key, part;
    QG_TRY(qg_val_list(r, QG_V_LIST, 1, out));
    if (!paths || paths->kind != QG_V_STR) {
        QG_TRY(key_of(r, item, paths, exact, &key));
        return qg_val_push(r, out, key);
    }
    for (size_t at = 0, end; at <= paths->s.n; at = end + 1) {
        end = qg_ustr_find(paths, qg_str(","), at);
        if (end == SIZE_MAX)
            end = paths->s.n;
        part = qg_ustr_cut(paths, at, end);
        QG_TRY(key_of(r, item, &part, exact, &key));
        QG_TRY(qg_val_push(r, out, key));
    }
    return QG_OK;
}

static qg_status sorted_values(qg_run *r, qg_vpair *pairs, size_t n, bool reverse, qg_val *out)
{
    QG_TRY(qg_sort_pairs(r, pairs, n, reverse));
    QG_TRY(qg_val_list(r, QG_V_LIST, n, out));
    for (size_t i = 0; i < n; i++)
        QG_TRY(qg_val_push(r, out, pairs[i].val));
    return QG_OK;
}

static qg_status f_sort(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    bool reverse = qg_arg_true(a, 0, "reverse", false);
    bool exact = qg_arg_true(a, 1, "case_sensitive", false);
    qg_vlist *items;
    QG_TRY(qg_val_items(r, v, &items));
    qg_vpair *pairs = qg_run_alloc(r, items->n, sizeof *pairs);
    if (!pairs)
        return r->arena.why;
    for (size_t i = 0; i < items->n; i++) {
        pairs[i].val = items->v[i];
        QG_TRY(keys_of(r, &items->v[i], qg_arg(a, 2, "attribute"), exact, &pairs[i].key));
    }
    return sorted_values(r, pairs, items->n, reverse, out);
}

static qg_status f_dictsort(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    bool exact = qg_arg_true(a, 0, "case_sensitive", false);
    bool reverse = qg_arg_true(a, 2, "reverse", false);
    const qg_val *by = qg_arg(a, 1, "by");
    bool by_value = by && by->kind == QG_V_STR && qg_slice_is(qg_v_slice(by), "value");
    if (by && !by_value && !(by->kind == QG_V_STR && qg_slice_is(qg_v_slice(by), "key")))
        return qg_run_fail(r, QG_ERR_TEMPLATE, "dictsort sorts by \"key\" or \"value\"");
    if (v->kind == QG_V_UNDEF)
        return qg_run_undefined(r, v);
    if (v->kind != QG_V_DICT)
        return qg_run_fail(r, QG_ERR_TEMPLATE, "dictsort needs a dict, not '%s'", qg_val_type(v));
    qg_vpair *pairs = qg_run_alloc(r, v->dict->n, sizeof *pairs);
    if (!pairs)
        return r->arena.why;
    for (size_t i = 0; i < v->dict->n; i++) {
        const qg_vpair *member = &v->dict->v[i];
        QG_TRY(key_of(r, by_value ? &member->val : &member->key, NULL, exact, &pairs[i].key));
        QG_TRY(qg_val_list(r, QG_V_TUPLE, 2, &pairs[i].val));
        QG_TRY(qg_val_push(r, &pairs[i].val, member->key));
        QG_TRY(qg_val_push(r, &pairs[i].val, member->val));
    }
    return sorted_values(r, pairs, v->dict->n, reverse, out);
}

static qg_status f_unique(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    bool exact = qg_arg_true(a, 0, "case_sensitive", false);
    qg_vlist *items;
    qg_val seen, key;
    QG_TRY(qg_val_items(r, v, &items));
    QG_TRY(qg_val_dict(r, QG_V_DICT, 0, &seen));
    QG_TRY(qg_val_list(r, QG_V_GEN, 0, out));
    for (size_t i = 0; i < items->n; i++) {
        const qg_val *before;
        QG_TRY(key_of(r, &items->v[i], qg_arg(a, 1, "attribute"), exact, &key));
        QG_TRY(qg_val_find(r, &seen, &key, &before));
        if (before)
            continue;
        QG_TRY(qg_val_set(r, &seen, key, qg_v_none()));
        QG_TRY(qg_val_push(r, out, items->v[i]));
    }
    return QG_OK;
}

static qg_status extreme(qg_run *r, const qg_val *v, const qg_args *a, int sign, qg_val *out)
{
    bool exact = qg_arg_true(a, 0, "case_sensitive", false), nan;
    qg_vlist *items;
    qg_val best = qg_v_none(), key;
    QG_TRY(qg_val_items(r, v, &items));
    *out = qg_v_undef(qg_str(sign < 0 ? "min" : "max"));
    for (size_t i = 0; i < items->n; i++) {
        int order = sign;
        QG_TRY(key_of(r, &items->v[i], qg_arg(a, 1, "attribute"), exact, &key));
        if (i)
            QG_TRY(qg_val_compare(r, &key, &best, &order, &nan));
        if (i && (nan || (sign < 0 ? order >= 0 : order <= 0)))
            continue;
        best = key;
        *out = items->v[i];
    }
    return QG_OK;
}

static qg_status f_min(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    return extreme(r, v, a, -1, out);
}

static qg_status f_max(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    return extreme(r, v, a, 1, out);
}

/* ---- map, select ----------------------------------------------------------------------------- */

/* The filter or test that the argument at place i names, and the arguments behind it. */
static qg_status inner(qg_run *r, const qg_args *a, size_t i, bool filter, const qg_builtin **b,
                       qg_args *rest)
{
    const qg_val *name = &a->v[i];
    *b = NULL;
    if (name->kind == QG_V_STR)
        *b = filter ? qg_filter_find(qg_v_slice(name)) : qg_test_find(qg_v_slice(name));
    if (!*b)
        return qg_run_fail(r, QG_ERR_TEMPLATE, "no %s of this name", filter ? "filter" : "test");
    *rest = *a;
    rest->v += i + 1;
    rest->n -= i + 1;
    rest->n_pos -= i + 1;
    return QG_OK;
}

static qg_status map_attribute(qg_run *r, const qg_vlist *items, const qg_args *a, qg_val *out)
{
    const qg_val *path = qg_arg(a, 0, "attribute"), *fall = qg_arg(a, 1, "default");
    qg_val item;
    if (!path)
        return qg_run_fail(r, QG_ERR_TEMPLATE, "map needs the name of a filter, or attribute=");
    for (size_t i = 0; i < items->n; i++) {
        QG_TRY(qg_get_path(r, &items->v[i], path, &item));
        if (item.kind == QG_V_UNDEF && fall && fall->kind != QG_V_NONE)
            item = *fall;
        QG_TRY(qg_val_push(r, out, item));
    }
    return QG_OK;
}

static qg_status f_map(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    qg_vlist *items;
    qg_val item;
    QG_TRY(qg_val_list(r, QG_V_GEN, 0, out));
    if (!qg_val_truth(v))
        return QG_OK;
    QG_TRY(qg_val_items(r, v, &items));
    if (a->n_pos == 0)
        return map_attribute(r, items, a, out);
    const qg_builtin *filter;
    qg_args rest;
    QG_TRY(inner(r, a, 0, true, &filter, &rest));
    for (size_t i = 0; i < items->n; i++) {
        QG_TRY(qg_run_spend(r, 1));
        QG_TRY(qg_builtin_call(r, filter, &items->v[i], &rest, &item));
        QG_TRY(qg_val_push(r, out, item));
    }
    return QG_OK;
}

/* Elements for which the test of the element (or of its attribute) gives keep. */
static qg_status pick(qg_run *r, const qg_val *v, const qg_args *a, bool by_attr, bool keep,
                      qg_val *out)
{
    const qg_builtin *test = NULL;
    qg_args rest;
    qg_vlist *items;
    QG_TRY(qg_val_list(r, QG_V_GEN, 0, out));
    if (!qg_val_truth(v))
        return QG_OK;
    QG_TRY(qg_val_items(r, v, &items));
    if (by_attr && a->n_pos == 0)
        return qg_run_fail(r, QG_ERR_TEMPLATE, "the name of an attribute is missing");
    if (a->n_pos > (by_attr ? 1 : 0))
        QG_TRY(inner(r, a, by_attr ? 1 : 0, false, &test, &rest));
    for (size_t i = 0; i < items->n; i++) {
        qg_val subject = items->v[i], verdict;
        QG_TRY(qg_run_spend(r, 1));
        if (by_attr)
            QG_TRY(qg_get_path(r, &items->v[i], &a->v[0], &subject));
        verdict = subject;
        if (test)
            QG_TRY(qg_builtin_call(r, test, &subject, &rest, &verdict));
        if (qg_val_truth(&verdict) == keep)
            QG_TRY(qg_val_push(r, out, items->v[i]));
    }
    return QG_OK;
}

static qg_status f_select(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    return pick(r, v, a, false, true, out);
}

static qg_status f_reject(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    return pick(r, v, a, false, false, out);
}

static qg_status f_selectattr(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    return pick(r, v, a, true, true, out);
}

static qg_status f_rejectattr(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    return pick(r, v, a, true, false, out);
}

const qg_builtin qg_pick_filters[] = {
    {"sort", f_sort, "reverse case_sensitive attribute", 0},
    {"dictsort", f_dictsort, "case_sensitive by reverse", 0},
    {"unique", f_unique, "case_sensitive attribute", 0},
    {"min", f_min, "case_sensitive attribute", 0},
    {"max", f_max, "case_sensitive attribute", 0},
    {"map", f_map, "*", 0},
    {"select", f_select, "*", 0},
    {"reject", f_reject, "*", 0},
    {"selectattr", f_selectattr, "*", 0},
    {"rejectattr", f_rejectattr, "*", 0},
    {0},
};
