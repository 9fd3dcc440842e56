/* Methods of dicts, lists and the loop variable, and finding methods and filters by name. */
#include "tmpl/run.h"

/* ---- dict ------------------------------------------------------------------------------------ */

static qg_status m_get(qg_run *r, const qg_val *d, const qg_args *a, qg_val *out)
{
    const qg_val *found;
    QG_TRY(qg_val_find(r, d, &a->v[0], &found));
    *out = found ? *found : a->n > 1 ? a->v[1] : qg_v_none();
    return QG_OK;
}

static qg_status view(qg_run *r, const qg_val *d, const char *name, qg_val *out)
{
    QG_TRY(qg_val_list(r, QG_V_VIEW, d->dict->n, out));
    out->list->name = name;
    out->input = d->input;
    return qg_run_spend(r, d->dict->n);
}

static qg_status m_keys(qg_run *r, const qg_val *d, const qg_args *a, qg_val *out)
{
    (void)a;
    QG_TRY(view(r, d, "dict_keys", out));
    for (size_t i = 0; i < d->dict->n; i++)
        QG_TRY(qg_val_push(r, out, d->dict->v[i].key));
    return QG_OK;
}

static qg_status m_values(qg_run *r, const qg_val *d, const qg_args *a, qg_val *out)
{
    (void)a;
    QG_TRY(view(r, d, "dict_values", out));
    for (size_t i = 0; i < d->dict->n; i++)
        QG_TRY(qg_val_push(r, out, d->dict->v[i].val));
    return QG_OK;
}

static qg_status m_items(qg_run *r, const qg_val *d, const qg_args *a, qg_val *out)
{
    qg_val pair;
    (void)a;
    QG_TRY(view(r, d, "dict_items", out));
    for (size_t i = 0; i < d->dict->n; i++) {
        QG_TRY(qg_val_list(r, QG_V_TUPLE, 2, &pair));
        QG_TRY(qg_val_push(r, &pair, d->dict->v[i].key));
        QG_TRY(qg_val_push(r, &pair, d->dict->v[i].val));
        QG_TRY(qg_val_push(r, out, pair));
    }
    return QG_OK;
}

static qg_status m_copy(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    (void)r, (void)a;
    *out = *v; /* values never change, so a copy is the value */
    return QG_OK;
}

/* ---- list, tuple, loop ----------------------------------------------------------------------- */

static qg_status m_list_index(qg_run *r, const qg_val *l, const qg_args *a, qg_val *out)
{
    for (size_t i = 0; i < l->list->n; i++) {
        bool same;
        QG_TRY(qg_val_equal(r, &l->list->v[i], &a->v[0], &same));
        if (same) {
            *out = qg_v_int((int64_t)i);
            return QG_OK;
        }
    }
    return qg_run_fail(r, QG_ERR_TEMPLATE, "the value is not in the list");
}

static qg_status m_list_count(qg_run *r, const qg_val *l, const qg_args *a, qg_val *out)
{
    int64_t count = 0;
    for (size_t i = 0; i < l->list->n; i++) {
        bool same;
        QG_TRY(qg_val_equal(r, &l->list->v[i], &a->v[0], &same));
        count += same;
    }
    *out = qg_v_int(count);
    return QG_OK;
}

static qg_status m_cycle(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    if (a->n_pos == 0 || a->n != a->n_pos)
        return qg_run_fail(r, QG_ERR_TEMPLATE, "loop.cycle needs values");
    *out = a->v[v->loop->index % a->n_pos];
    return QG_OK;
}

/* ---- finding --------------------------------------------------------------------------------- */

static const qg_builtin dict_methods[] = {
    {"get", m_get, "/key /default", 1}, {"items", m_items, "", 0}, {"keys", m_keys, "", 0},
    {"values", m_values, "", 0},        {"copy", m_copy, "", 0},   {0},
};

static const qg_builtin list_methods[] = {
    {"index", m_list_index, "/value", 1},
    {"count", m_list_count, "/value", 1},
    {"copy", m_copy, "", 0},
    {0},
};

static const qg_builtin loop_methods[] = {
    {"cycle", m_cycle, "*", 0},
    {0},
};

const qg_builtin *qg_builtin_find(const qg_builtin *rows, qg_slice name)
{
    for (; rows->name; rows++)
        if (qg_slice_is(name, rows->name))
            return rows;
    return NULL;
}

const qg_builtin *qg_method_find(const qg_val *self, qg_slice name)
{
    switch (self->kind) {
    case QG_V_STR:
        return qg_builtin_find(qg_str_methods, name);
    case QG_V_DICT:
        return qg_builtin_find(dict_methods, name);
    case QG_V_LOOP:
        return qg_builtin_find(loop_methods, name);
    case QG_V_LIST:
        return qg_builtin_find(list_methods, name);
    case QG_V_TUPLE:
    case QG_V_RANGE:
        return qg_slice_is(name, "copy") ? NULL : qg_builtin_find(list_methods, name);
    default:
        return NULL;
    }
}

bool qg_method_exists(qg_slice name)
{
    return qg_builtin_find(qg_str_methods, name) || qg_builtin_find(dict_methods, name) ||
           qg_builtin_find(list_methods, name) || qg_builtin_find(loop_methods, name);
}

bool qg_method_hidden(const qg_val *self, qg_slice name)
{
    static const char *const of_dict[] = {"pop", "popitem", "setdefault", "update", "clear"};
    for (size_t i = 0; self->kind == QG_V_DICT && i < QG_COUNT(of_dict); i++)
        if (qg_slice_is(name, of_dict[i]))
            return true;
    return name.n > 1 && name.p[0] == '_' && name.p[1] == '_';
}

const qg_builtin *qg_filter_find(qg_slice name)
{
    const qg_builtin *b = qg_builtin_find(qg_text_filters, name);
    b = b ? b : qg_builtin_find(qg_list_filters, name);
    return b ? b : qg_builtin_find(qg_pick_filters, name);
}
