#include "tmpl/value.h"

#include "base/limits.h"
#include "tmpl/run.h"

#include <math.h>

/* ---- making ---------------------------------------------------------------------------------- */

qg_status qg_val_list(qg_run *r, qg_vkind kind, size_t cap, qg_val *out)
{
    qg_vlist *l = qg_run_alloc(r, 1, sizeof *l);
    qg_val *v = l ? qg_run_alloc(r, cap, sizeof *v) : NULL;
    if (!v)
        return r->arena.why;
    *l = (qg_vlist){.v = v, .cap = cap};
    *out = (qg_val){.kind = (uint8_t)kind, .list = l};
    return QG_OK;
}

qg_status qg_val_push(qg_run *r, qg_val *list, qg_val item)
{
    qg_vlist *l = list->list;
    if (l->n == l->cap) {
        size_t cap = l->cap < 4 ? 8 : l->cap * 2;
        qg_val *v = qg_run_alloc(r, cap, sizeof *v);
        if (!v)
            return r->arena.why;
        if (l->n)
            memcpy(v, l->v, l->n * sizeof *v);
        l->v = v;
        l->cap = cap;
    }
    l->v[l->n++] = item;
    return QG_OK;
}

qg_status qg_val_dict(qg_run *r, qg_vkind kind, size_t cap, qg_val *out)
{
    qg_vdict *d = qg_run_alloc(r, 1, sizeof *d);
    qg_vpair *v = d ? qg_run_alloc(r, cap, sizeof *v) : NULL;
    if (!v)
        return r->arena.why;
    *d = (qg_vdict){.v = v, .cap = cap};
    *out = (qg_val){.kind = (uint8_t)kind, .dict = d};
    return QG_OK;
}

static qg_status hashable(qg_run *r, const qg_val *key)
{
    if (key->kind == QG_V_LIST || key->kind == QG_V_DICT)
        return qg_run_fail(r, QG_ERR_TEMPLATE, "unhashable type: '%s'", qg_val_type(key));
    if (key->kind == QG_V_TUPLE)
        for (size_t i = 0; i < key->list->n; i++)
            QG_TRY(hashable(r, &key->list->v[i]));
    return QG_OK;
}

qg_status qg_val_find(qg_run *r, const qg_val *dict, const qg_val *key, const qg_val **out)
{
    *out = NULL;
    if (key->kind == QG_V_STR) {
        QG_TRY(qg_run_spend(r, dict->dict->n / 16 * (1 + key->s.n / 256)));
        *out = qg_val_member(dict->dict, qg_v_slice(key));
        return QG_OK;
    }
    QG_TRY(hashable(r, key));
    for (size_t i = 0; i < dict->dict->n; i++) {
        bool same;
        QG_TRY(qg_val_equal(r, &dict->dict->v[i].key, key, &same));
        if (same) {
            *out = &dict->dict->v[i].val;
            return QG_OK;
        }
    }
    return QG_OK;
}

const qg_val *qg_val_member(const qg_vdict *d, qg_slice key)
{
    for (size_t i = 0; i < d->n; i++)
        if (d->v[i].key.kind == QG_V_STR && qg_slice_eq(qg_v_slice(&d->v[i].key), key))
            return &d->v[i].val;
    return NULL;
}

static qg_status append_pair(qg_run *r, qg_vdict *d, qg_val key, qg_val val)
{
    if (d->n == d->cap) {
        size_t cap = d->cap < 4 ? 8 : d->cap * 2;
        qg_vpair *v = qg_run_alloc(r, cap, sizeof *v);
        if (!v)
            return r->arena.why;
        if (d->n)
            memcpy(v, d->v, d->n * sizeof *v);
        d->v = v;
        d->cap = cap;
    }
    d->v[d->n++] = (qg_vpair){key, val};
    return QG_OK;
}

qg_status qg_val_set(qg_run *r, qg_val *dict, qg_val key, qg_val val)
{
    const qg_val *old;
    QG_TRY(qg_val_find(r, dict, &key, &old));
    if (!old)
        return append_pair(r, dict->dict, key, val);
    dict->dict->v[(size_t)((const char *)old - (const char *)dict->dict->v) / sizeof(qg_vpair)]
        .val = val;
    return QG_OK;
}

static qg_status from_array(qg_run *r, const json_t *json, unsigned depth, qg_val *out)
{
    size_t n = json_array_size(json);
    QG_TRY(qg_val_list(r, QG_V_LIST, n, out));
    for (size_t i = 0; i < n; i++)
        QG_TRY(qg_val_from_json(r, json_array_get(json, i), depth + 1, &out->list->v[i]));
    out->list->n = n;
    return QG_OK;
}

static qg_status from_object(qg_run *r, const json_t *json, unsigned depth, qg_val *out)
{
    json_t *object =
        (json_t *)(uintptr_t)json; /* jansson's iterators ask for it; nothing changes */
    QG_TRY(qg_val_dict(r, QG_V_DICT, json_object_size(json), out));
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        qg_val key = qg_v_str(qg_str(json_object_iter_key(it)));
        qg_val val;
        key.input = true;
        QG_TRY(qg_val_from_json(r, json_object_iter_value(it), depth + 1, &val));
        QG_TRY(append_pair(r, out->dict, key, val)); /* keys of an object differ */
    }
    return QG_OK;
}

qg_status qg_val_from_json(qg_run *r, const json_t *json, unsigned depth, qg_val *out)
{
    QG_TRY(qg_run_spend(r, 1));
    if (depth > QG_MAX_JSON_DEPTH)
        return qg_run_fail(r, QG_ERR_TOO_LONG, "variables nested more than %d deep",
                           QG_MAX_JSON_DEPTH);
    *out = qg_v_none();
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        QG_TRY(from_object(r, json, depth, out));
        break;
    case JSON_ARRAY:
        QG_TRY(from_array(r, json, depth, out));
        break;
    case JSON_STRING:
        *out = qg_v_str(qg_slice_of(json_string_value(json), json_string_length(json)));
        break;
    case JSON_INTEGER:
        *out = qg_v_int(json_integer_value(json));
        break;
    case JSON_REAL:
        *out = qg_v_float(json_real_value(json));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        *out = qg_v_bool(json_is_true(json));
        break;
    case JSON_NULL:
        break;
    }
    out->input = true;
    return QG_OK;
}

/* ---- asking ---------------------------------------------------------------------------------- */

const char *qg_val_type(const qg_val *v)
{
    static const char *const names[] = {
        [QG_V_UNDEF] = "Undefined", [QG_V_NONE] = "NoneType",    [QG_V_BOOL] = "bool",
        [QG_V_INT] = "int",         [QG_V_FLOAT] = "float",      [QG_V_STR] = "str",
        [QG_V_LIST] = "list",       [QG_V_TUPLE] = "tuple",      [QG_V_RANGE] = "range",
        [QG_V_VIEW] = "dict view",  [QG_V_GEN] = "generator",    [QG_V_DICT] = "dict",
        [QG_V_NS] = "Namespace",    [QG_V_LOOP] = "LoopContext", [QG_V_FUNC] = "function",
        [QG_V_METHOD] = "method",   [QG_V_MACRO] = "Macro",
    };
    return names[v->kind];
}

bool qg_val_truth(const qg_val *v)
{
    switch (v->kind) {
    case QG_V_UNDEF:
    case QG_V_NONE:
        return false;
    case QG_V_BOOL:
        return v->b;
    case QG_V_INT:
        return v->i != 0;
    case QG_V_FLOAT:
        return v->f != 0;
    case QG_V_STR:
        return v->s.n != 0;
    case QG_V_LIST:
    case QG_V_TUPLE:
    case QG_V_RANGE:
    case QG_V_VIEW:
        return v->list->n != 0;
    case QG_V_DICT:
        return v->dict->n != 0;
    default:
        return true;
    }
}

/* Counts C recursion through nested values together with that of the tree. */
static qg_status enter(qg_run *r)
{
    QG_TRY(qg_run_spend(r, 1));
    if (r->depth >= QG_MAX_TMPL_DEPTH)
        return qg_run_fail(r, QG_ERR_TOO_LONG, "values nested too deeply");
    r->depth++;
    return QG_OK;
}

static qg_status equal_lists(qg_run *r, const qg_vlist *a, const qg_vlist *b, bool *out)
{
    *out = a->n == b->n;
    for (size_t i = 0; *out && i < a->n; i++)
        QG_TRY(qg_val_equal(r, &a->v[i], &b->v[i], out));
    return QG_OK;
}

static qg_status equal_dicts(qg_run *r, const qg_val *a, const qg_val *b, bool *out)
{
    *out = a->dict->n == b->dict->n;
    for (size_t i = 0; *out && i < a->dict->n; i++) {
        const qg_val *other;
        QG_TRY(qg_val_find(r, b, &a->dict->v[i].key, &other));
        *out = other != NULL;
        if (other)
            QG_TRY(qg_val_equal(r, &a->dict->v[i].val, other, out));
    }
    return QG_OK;
}

/* Exact, also where an integer has no double of its own; f is not NaN. */
static int compare_int_float(int64_t i, double f)
{
    if (f >= 9223372036854775808.0)
        return -1;
    if (f < -9223372036854775808.0)
        return 1;
    double whole = trunc(f);
    int64_t k = (int64_t)whole;
    if (i != k)
        return i < k ? -1 : 1;
    return f > whole ? -1 : f < whole;
}

static int compare_numbers(const qg_val *a, const qg_val *b, bool *nan)
{
    bool ia = qg_v_is_integral(a), ib = qg_v_is_integral(b);
    *nan = (!ia && isnan(a->f)) || (!ib && isnan(b->f));
    if (*nan)
        return 1;
    if (ia && ib)
        return qg_v_integer(a) < qg_v_integer(b) ? -1 : qg_v_integer(a) > qg_v_integer(b);
    if (ia)
        return compare_int_float(qg_v_integer(a), b->f);
    if (ib)
        return -compare_int_float(qg_v_integer(b), a->f);
    return a->f < b->f ? -1 : a->f > b->f;
}

static qg_status equal_same_kind(qg_run *r, const qg_val *a, const qg_val *b, bool *out)
{
    switch (a->kind) {
    case QG_V_UNDEF:
    case QG_V_NONE:
        *out = true;
        return QG_OK;
    case QG_V_STR:
        *out = qg_slice_eq(qg_v_slice(a), qg_v_slice(b));
        return qg_run_spend(r, a->s.n / 256);
    case QG_V_LIST:
    case QG_V_TUPLE:
    case QG_V_RANGE:
        return equal_lists(r, a->list, b->list, out);
    case QG_V_DICT:
        return equal_dicts(r, a, b, out);
    case QG_V_METHOD:
        *out = a->bound->method == b->bound->method;
        return QG_OK;
    default:
        *out = a->list == b->list; /* the rest is one and the same thing, or not */
        return QG_OK;
    }
}

qg_status qg_val_equal(qg_run *r, const qg_val *a, const qg_val *b, bool *out)
{
    *out = false;
    if (qg_v_is_number(a) && qg_v_is_number(b)) {
        bool nan;
        *out = compare_numbers(a, b, &nan) == 0;
        return qg_run_spend(r, 1);
    }
    if (a->kind != b->kind)
        return qg_run_spend(r, 1);
    QG_TRY(enter(r));
    QG_TRY(equal_same_kind(r, a, b, out));
    r->depth--;
    return QG_OK;
}

static qg_status compare_lists(qg_run *r, const qg_vlist *a, const qg_vlist *b, int *out, bool *nan)
{
    for (size_t i = 0; i < a->n && i < b->n; i++) {
        bool same;
        QG_TRY(qg_val_equal(r, &a->v[i], &b->v[i], &same));
        if (!same)
            return qg_val_compare(r, &a->v[i], &b->v[i], out, nan);
    }
    *out = a->n < b->n ? -1 : a->n > b->n;
    return QG_OK;
}

static int compare_strings(const qg_val *a, const qg_val *b)
{
    size_t n = a->s.n < b->s.n ? a->s.n : b->s.n;
    int c = n ? memcmp(a->s.p, b->s.p, n) : 0; /* UTF-8 sorts as its code points do */
    return c ? c : a->s.n < b->s.n ? -1 : a->s.n > b->s.n;
}

qg_status qg_val_compare(qg_run *r, const qg_val *a, const qg_val *b, int *out, bool *nan)
{
    *nan = false;
    if (qg_v_is_number(a) && qg_v_is_number(b)) {
        *out = compare_numbers(a, b, nan);
        return qg_run_spend(r, 1);
    }
    if (a->kind == QG_V_STR && b->kind == QG_V_STR) {
        *out = compare_strings(a, b);
        return qg_run_spend(r, 1 + a->s.n / 256);
    }
    if (a->kind == b->kind && (a->kind == QG_V_LIST || a->kind == QG_V_TUPLE)) {
        QG_TRY(enter(r));
        QG_TRY(compare_lists(r, a->list, b->list, out, nan));
        r->depth--;
        return QG_OK;
    }
    if (a->kind == QG_V_UNDEF || b->kind == QG_V_UNDEF)
        return qg_run_undefined(r, a->kind == QG_V_UNDEF ? a : b);
    return qg_run_fail(r, QG_ERR_TEMPLATE, "no order between '%s' and '%s'", qg_val_type(a),
                       qg_val_type(b));
}

qg_status qg_val_contains(qg_run *r, const qg_val *hay, const qg_val *needle, bool *out)
{
    *out = false;
    if (hay->kind == QG_V_STR) {
        if (needle->kind != QG_V_STR)
            return qg_run_fail(r, QG_ERR_TEMPLATE, "'in <str>' needs a string, not '%s'",
                               qg_val_type(needle));
        *out = qg_ustr_find(hay, qg_v_slice(needle), 0) != SIZE_MAX;
        return qg_run_spend(r, hay->s.n / 256);
    }
    if (hay->kind == QG_V_DICT) {
        const qg_val *found;
        QG_TRY(qg_val_find(r, hay, needle, &found));
        *out = found != NULL;
        return QG_OK;
    }
    if (!qg_v_is_list(hay) && hay->kind != QG_V_UNDEF)
        return qg_run_fail(r, QG_ERR_TEMPLATE, "'in' needs a container, not '%s'",
                           qg_val_type(hay));
    qg_vlist *items;
    QG_TRY(qg_val_items(r, hay, &items));
    for (size_t i = 0; !*out && i < items->n; i++)
        QG_TRY(qg_val_equal(r, &items->v[i], needle, out));
    return QG_OK;
}

static qg_status characters(qg_run *r, const qg_val *s, qg_val *out)
{
    size_t len;
    QG_TRY(qg_val_list(r, QG_V_LIST, qg_ustr_length(s), out));
    for (size_t i = 0; i < s->s.n; i += len) {
        qg_cp_read(s->s.p + i, s->s.n - i, &len);
        QG_TRY(qg_val_push(r, out, qg_ustr_cut(s, i, i + len)));
    }
    return qg_run_spend(r, out->list->n);
}

static qg_status take_rest(qg_run *r, qg_vlist *gen, qg_vlist **out)
{
    qg_vlist *rest = qg_run_alloc(r, 1, sizeof *rest);
    if (!rest)
        return r->arena.why;
    *rest = (qg_vlist){.v = gen->v + gen->pos, .n = gen->n - gen->pos, .cap = gen->n - gen->pos};
    gen->pos = gen->n;
    *out = rest;
    return QG_OK;
}

qg_status qg_val_items(qg_run *r, const qg_val *v, qg_vlist **out)
{
    qg_val list = {0};
    if (v->kind == QG_V_GEN)
        return take_rest(r, v->list, out);
    if (qg_v_is_list(v)) {
        *out = v->list;
        return QG_OK;
    }
    switch (v->kind) {
    case QG_V_STR:
        QG_TRY(characters(r, v, &list));
        break;
    case QG_V_DICT:
        QG_TRY(qg_val_list(r, QG_V_LIST, v->dict->n, &list));
        for (size_t i = 0; i < v->dict->n; i++)
            QG_TRY(qg_val_push(r, &list, v->dict->v[i].key));
        break;
    case QG_V_UNDEF:
        QG_TRY(qg_val_list(r, QG_V_LIST, 0, &list));
        break;
    default:
        return qg_run_fail(r, QG_ERR_TEMPLATE, "'%s' object is not iterable", qg_val_type(v));
    }
    *out = list.list;
    return QG_OK;
}

qg_status qg_val_tainted(qg_run *r, const qg_val *v, bool *out)
{
    *out = v->input;
    if (*out || !(qg_v_is_list(v) || v->kind == QG_V_DICT || v->kind == QG_V_NS))
        return QG_OK;
    QG_TRY(enter(r));
    if (qg_v_is_list(v)) {
        for (size_t i = 0; !*out && i < v->list->n; i++)
            QG_TRY(qg_val_tainted(r, &v->list->v[i], out));
    } else {
        for (size_t i = 0; !*out && i < v->dict->n; i++) {
            QG_TRY(qg_val_tainted(r, &v->dict->v[i].key, out));
            if (!*out)
                QG_TRY(qg_val_tainted(r, &v->dict->v[i].val, out));
        }
    }
    r->depth--;
    return QG_OK;
}
