/* obj.name and obj[key], as jinja2's sandbox resolves them: what is missing is undefined, and only
 * asking something of an undefined value is an error. */
#include "tmpl/run.h"

static qg_val missing(qg_slice name)
{
    return qg_v_undef(name);
}

/* ---- the loop variable ----------------------------------------------------------------------- */

qg_status qg_loop_pull(qg_run *r, qg_loop *loop, bool *got)
{
    const qg_node *filter = loop->stmt->c;
    for (*got = false; !*got && loop->at < loop->src->n;) {
        qg_val item = loop->src->v[loop->at++];
        if (filter) {
            qg_frame *top = r->top;
            qg_val passes;
            QG_TRY(qg_scope_new(r, loop->frame, &r->top));
            QG_TRY(qg_assign(r, loop->stmt->a, &item));
            QG_TRY(qg_eval(r, filter, &passes));
            r->top = top;
            if (!qg_val_truth(&passes))
                continue;
        }
        QG_TRY(qg_val_push(r, &loop->kept, item));
        *got = true;
    }
    return QG_OK;
}

/* Makes sure that element number i was looked for. */
static qg_status loop_reach(qg_run *r, qg_loop *loop, size_t i)
{
    for (bool got = true; got && loop->kept.list->n <= i;)
        QG_TRY(qg_loop_pull(r, loop, &got));
    return QG_OK;
}

typedef enum {
    L_INDEX,
    L_INDEX0,
    L_FIRST,
    L_LAST,
    L_LENGTH,
    L_REVINDEX,
    L_REVINDEX0,
    L_PREV,
    L_NEXT,
    L_DEPTH,
    L_DEPTH0
} loop_attr;

static qg_status loop_value(qg_run *r, qg_loop *loop, loop_attr attr, qg_val *out)
{
    size_t i = loop->index;
    if (attr == L_LAST || attr == L_NEXT)
        QG_TRY(loop_reach(r, loop, i + 1));
    if (attr == L_LENGTH || attr == L_REVINDEX || attr == L_REVINDEX0)
        QG_TRY(loop_reach(r, loop, SIZE_MAX));
    const qg_vlist *kept = loop->kept.list;
    switch (attr) {
    case L_FIRST:
    case L_LAST:
        *out = qg_v_bool(attr == L_FIRST ? i == 0 : i + 1 == kept->n);
        break;
    case L_PREV:
        *out = i > 0 ? kept->v[i - 1] : missing(qg_str("loop.previtem"));
        break;
    case L_NEXT:
        *out = i + 1 < kept->n ? kept->v[i + 1] : missing(qg_str("loop.nextitem"));
        break;
    case L_INDEX:
    case L_INDEX0:
        *out = qg_v_int((int64_t)i + (attr == L_INDEX));
        break;
    case L_LENGTH:
        *out = qg_v_int((int64_t)kept->n);
        break;
    case L_REVINDEX:
    case L_REVINDEX0:
        *out = qg_v_int((int64_t)(kept->n - i) - (attr == L_REVINDEX0));
        break;
    default:
        *out = qg_v_int(attr == L_DEPTH); /* recursive loops are refused */
        break;
    }
    return QG_OK;
}

qg_status qg_loop_attr(qg_run *r, qg_loop *loop, qg_slice name, qg_val *out)
{
    static const char *const names[] = {
        [L_INDEX] = "index",         [L_INDEX0] = "index0", [L_FIRST] = "first",
        [L_LAST] = "last",           [L_LENGTH] = "length", [L_REVINDEX] = "revindex",
        [L_REVINDEX0] = "revindex0", [L_PREV] = "previtem", [L_NEXT] = "nextitem",
        [L_DEPTH] = "depth",         [L_DEPTH0] = "depth0",
    };
    for (size_t i = 0; i < QG_COUNT(names); i++)
        if (qg_slice_is(name, names[i]))
            return loop_value(r, loop, (loop_attr)i, out);
    *out = missing(name);
    return QG_OK;
}

/* ---- attributes and items -------------------------------------------------------------------- */

static qg_status bind_method(qg_run *r, const qg_val *obj, const qg_builtin *method, qg_val *out)
{
    qg_bound *bound = qg_run_alloc(r, 1, sizeof *bound);
    if (!bound)
        return r->arena.why;
    *bound = (qg_bound){*obj, method};
    *out = (qg_val){.kind = QG_V_METHOD, .bound = bound};
    return QG_OK;
}

qg_status qg_get_attr(qg_run *r, const qg_val *obj, qg_slice name, qg_val *out)
{
    const qg_val *member = NULL;
    if (obj->kind == QG_V_UNDEF)
        return qg_run_undefined(r, obj);
    if (obj->kind == QG_V_LOOP) {
        const qg_builtin *method = qg_method_find(obj, name);
        return method ? bind_method(r, obj, method, out) : qg_loop_attr(r, obj->loop, name, out);
    }
    if (obj->kind == QG_V_NS)
        member = qg_val_member(obj->dict, name);
    else if (!qg_method_hidden(obj, name)) {
        const qg_builtin *method = qg_method_find(obj, name);
        if (method)
            return bind_method(r, obj, method, out);
        if (obj->kind == QG_V_DICT) {
            QG_TRY(qg_run_spend(r, obj->dict->n / 16 * (1 + name.n / 256)));
            member = qg_val_member(obj->dict, name);
        }
    }
    *out = member ? *member : missing(name);
    return QG_OK;
}

static qg_status character(qg_run *r, const qg_val *s, int64_t i, qg_val *out)
{
    QG_TRY(qg_run_spend(r, s->s.n / 256));
    int64_t n = i < 0 ? (int64_t)qg_ustr_length(s) : INT64_MAX;
    i = i < 0 ? i + n : i;
    *out = missing(qg_str("character"));
    if (i < 0)
        return QG_OK;
    qg_val one;
    QG_TRY(qg_ustr_slice(r, s, i, i == INT64_MAX ? i : i + 1, 1, &one));
    if (one.s.n)
        *out = one;
    return QG_OK;
}

static qg_status element(qg_run *r, const qg_val *obj, int64_t i, qg_val *out)
{
    if (obj->kind == QG_V_STR)
        return character(r, obj, i, out);
    int64_t n = (int64_t)obj->list->n;
    if (i < 0 && i >= -n)
        i += n;
    *out = i >= 0 && i < n ? obj->list->v[i] : missing(qg_str("element"));
    return QG_OK;
}

qg_status qg_get_item(qg_run *r, const qg_val *obj, const qg_val *key, qg_val *out)
{
    if (obj->kind == QG_V_UNDEF)
        return qg_run_undefined(r, obj);
    bool sequence = obj->kind == QG_V_STR || obj->kind == QG_V_LIST || obj->kind == QG_V_TUPLE ||
                    obj->kind == QG_V_RANGE;
    if (sequence && qg_v_is_integral(key))
        return element(r, obj, qg_v_integer(key), out);
    if (obj->kind == QG_V_DICT && key->kind != QG_V_LIST && key->kind != QG_V_DICT) {
        const qg_val *member;
        QG_TRY(qg_val_find(r, obj, key, &member));
        if (member) {
            *out = *member;
            return QG_OK;
        }
    }
    if (key->kind == QG_V_STR) { /* what is no item may be an attribute */
        if (obj->kind == QG_V_DICT && !qg_method_find(obj, qg_v_slice(key))) {
            *out = missing(qg_v_slice(key));
            return QG_OK;
        }
        return qg_get_attr(r, obj, qg_v_slice(key), out);
    }
    *out = missing(qg_str("item"));
    return QG_OK;
}

/* Digits are a position, as in jinja2's attribute="0.name". */
static qg_status get_part(qg_run *r, const qg_val *obj, qg_slice part, qg_val *out)
{
    bool digits = part.n > 0;
    for (size_t i = 0; i < part.n; i++)
        digits = digits && part.p[i] >= '0' && part.p[i] <= '9';
    int64_t i = 0;
    qg_val key = qg_v_str(part);
    if (digits && qg_int_parse(part, &i) == 1)
        key = qg_v_int(i);
    return qg_get_item(r, obj, &key, out);
}

qg_status qg_get_path(qg_run *r, const qg_val *obj, const qg_val *path, qg_val *out)
{
    if (path->kind != QG_V_STR)
        return qg_get_item(r, obj, path, out);
    *out = *obj;
    const char *p = path->s.p, *end = p + path->s.n;
    for (;;) {
        const char *dot = p < end ? memchr(p, '.', (size_t)(end - p)) : NULL;
        qg_slice part = qg_slice_of(p, (size_t)((dot ? dot : end) - p));
        qg_val here = *out;
        QG_TRY(qg_run_spend(r, 1));
        QG_TRY(get_part(r, &here, part, out));
        if (!dot)
            return QG_OK;
        p = dot + 1;
    }
}
