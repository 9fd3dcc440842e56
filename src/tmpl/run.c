/* The budget of a rendering and its scopes. */
#include "tmpl/run.h"

#include "base/limits.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>

qg_status qg_run_fail(qg_run *r, qg_status rc, const char *fmt, ...)
{
    char what[320];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    qg_sentence_clean(what);
    return qg_fail(r->err, rc, "template line %u: %s", r->line, what);
}

qg_status qg_run_spend(qg_run *r, size_t n)
{
    r->steps += n;
    if (r->steps <= QG_MAX_TMPL_STEPS)
        return QG_OK;
    return qg_run_fail(r, QG_ERR_TOO_LONG, "more than %u steps", QG_MAX_TMPL_STEPS);
}

void *qg_run_alloc(qg_run *r, size_t n, size_t size)
{
    size_t bytes;
    void *p = NULL;
    r->arena.why = QG_ERR_TOO_LONG;
    if (qg_mul_size(n, size, &bytes))
        p = qg_arena_alloc(&r->arena, bytes);
    if (!p)
        qg_run_fail(r, r->arena.why,
                    r->arena.why == QG_ERR_NOMEM ? "out of memory"
                                                 : "more memory than a rendering may use");
    return p;
}

qg_status qg_run_undefined(qg_run *r, const qg_val *v)
{
    int n = v->s.n > 200 ? 200 : (int)v->s.n;
    return qg_run_fail(r, QG_ERR_TEMPLATE, "'%.*s' is undefined", n, v->s.p);
}

/* ---- scopes ---------------------------------------------------------------------------------- */

qg_status qg_scope_new(qg_run *r, qg_frame *outer, qg_frame **out)
{
    *out = qg_run_alloc(r, 1, sizeof **out);
    if (!*out)
        return r->arena.why;
    **out = (qg_frame){.outer = outer};
    return QG_OK;
}

qg_status qg_scope_set(qg_run *r, qg_frame *f, uint32_t name, qg_val val)
{
    for (uint32_t i = 0; i < f->n; i++) {
        if (f->v[i].name == name) {
            f->v[i].val = val;
            return QG_OK;
        }
    }
    if (f->n == f->cap) {
        uint32_t cap = f->cap ? f->cap * 2 : 4;
        qg_slot *v = qg_run_alloc(r, cap, sizeof *v);
        if (!v)
            return r->arena.why;
        if (f->n)
            memcpy(v, f->v, f->n * sizeof *v);
        f->v = v;
        f->cap = cap;
    }
    f->v[f->n++] = (qg_slot){name, val};
    return QG_OK;
}

/* A name that no statement has set: a variable given by the caller, or a function. */
static qg_status global(qg_run *r, const qg_node *name, qg_val *out)
{
    if (!r->global_known[name->name]) {
        qg_slice s = qg_v_slice(&name->k);
        const json_t *json = json_object_getn(r->vars, s.p, s.n);
        const qg_builtin *func = qg_function_find(s);
        if (json)
            QG_TRY(qg_val_from_json(r, json, 0, out));
        else if (func && func->fn)
            *out = (qg_val){.kind = QG_V_FUNC, .func = func};
        else
            *out = qg_v_undef(s);
        r->globals[name->name] = *out;
        r->global_known[name->name] = true;
    }
    *out = r->globals[name->name];
    return QG_OK;
}

qg_status qg_scope_get(qg_run *r, const qg_node *name, qg_val *out)
{
    for (const qg_frame *f = r->top; f; f = f->outer) {
        for (uint32_t i = 0; i < f->n; i++) {
            if (f->v[i].name == name->name) {
                *out = f->v[i].val;
                return QG_OK;
            }
        }
    }
    return global(r, name, out);
}
