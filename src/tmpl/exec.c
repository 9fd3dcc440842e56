/* Statements. */
#include "base/limits.h"
#include "base/mem.h"
#include "tmpl/run.h"

static qg_status emit_run(qg_rendered *out, size_t n, bool input, qg_status *why)
{
    qg_span *last = out->n_spans ? &out->spans[out->n_spans - 1] : NULL;
    if (last && last->input == input) {
        last->end += n;
        return QG_OK;
    }
    size_t start = last ? last->end : 0; /* last moves when spans grow */
    if (out->n_spans == out->spans_cap) {
        size_t cap = out->spans_cap ? out->spans_cap * 2 : 32;
        qg_span *spans = qg_realloc_array(out->spans, cap, sizeof *spans);
        if (!spans)
            return *why = QG_ERR_NOMEM;
        out->spans = spans;
        out->spans_cap = cap;
    }
    out->spans[out->n_spans++] = (qg_span){start + n, input};
    return QG_OK;
}

static qg_status emit_spans(qg_rendered *out, const qg_val *s)
{
    qg_status why = QG_OK;
    for (size_t i = 0, k; i < s->s.n && why == QG_OK; i = k) {
        bool input = s->s.map ? s->s.map[i] : s->input;
        for (k = s->s.map ? i + 1 : s->s.n; k < s->s.n && s->s.map[k] == input;)
            k++;
        emit_run(out, k - i, input, &why);
    }
    return why;
}

static qg_status emit(qg_run *r, const qg_val *s)
{
    if (r->capture)
        return qg_sb_add(r, r->capture, s);
    QG_TRY(qg_run_spend(r, s->s.n / 256));
    qg_status rc = qg_buf_add(&r->out->text, s->s.p, s->s.n);
    if (rc == QG_OK)
        rc = emit_spans(r->out, s);
    if (rc == QG_ERR_TOO_LONG)
        return qg_run_fail(r, rc, "the rendered text is longer than %u bytes", QG_MAX_TEXT_BYTES);
    if (rc != QG_OK)
        return qg_run_fail(r, rc, "out of memory");
    return QG_OK;
}

static qg_status exec_output(qg_run *r, const qg_node *n)
{
    qg_val v;
    QG_TRY(qg_eval(r, n->a, &v));
    r->line = n->line;
    QG_TRY(qg_val_str(r, &v, &v));
    return emit(r, &v);
}

static qg_status exec_if(qg_run *r, const qg_node *n)
{
    uint32_t i = 0;
    for (; i + 1 < n->n; i += 2) {
        qg_val test;
        QG_TRY(qg_eval(r, n->v[i], &test));
        if (qg_val_truth(&test))
            return qg_exec(r, n->v[i + 1]);
    }
    return i < n->n ? qg_exec(r, n->v[i]) : QG_OK;
}

/* ---- assignment ------------------------------------------------------------------------------ */

static qg_status assign_tuple(qg_run *r, const qg_node *target, const qg_val *val)
{
    qg_vlist *items;
    if (val->kind == QG_V_UNDEF)
        return qg_run_undefined(r, val);
    QG_TRY(qg_val_items(r, val, &items));
    if (items->n != target->n)
        return qg_run_fail(r, QG_ERR_TEMPLATE, "%zu values for %u names", items->n, target->n);
    for (uint32_t i = 0; i < target->n; i++)
        QG_TRY(qg_assign(r, target->v[i], &items->v[i]));
    return QG_OK;
}

static qg_status assign_attr(qg_run *r, const qg_node *target, const qg_val *val)
{
    qg_val ns;
    QG_TRY(qg_scope_get(r, target, &ns));
    if (ns.kind != QG_V_NS)
        return qg_run_fail(r, QG_ERR_TEMPLATE,
                           "cannot assign to an attribute of '%s', only of a "
                           "namespace",
                           qg_val_type(&ns));
    return qg_val_set(r, &ns, target->k, *val);
}

qg_status qg_assign(qg_run *r, const qg_node *target, const qg_val *val)
{
    QG_TRY(qg_run_spend(r, 1));
    r->line = target->line;
    if (target->kind == QG_N_NAME)
        return qg_scope_set(r, r->top, target->name, *val);
    return target->kind == QG_N_TUPLE ? assign_tuple(r, target, val) : assign_attr(r, target, val);
}

static qg_status exec_set(qg_run *r, const qg_node *n)
{
    qg_val v;
    QG_TRY(qg_eval(r, n->b, &v));
    return qg_assign(r, n->a, &v);
}

/* ---- loops ----------------------------------------------------------------------------------- */

/* completed: some turn ran to its end, without break or continue; jinja2 takes else when none did.
 */
static qg_status loop_turns(qg_run *r, qg_loop *loop, bool *completed)
{
    const qg_node *n = loop->stmt;
    qg_val self = {.kind = QG_V_LOOP, .loop = loop};
    for (;; loop->index++) {
        bool got = loop->index < loop->kept.list->n;
        if (!got)
            QG_TRY(qg_loop_pull(r, loop, &got));
        if (!got)
            return QG_OK;
        qg_val item = loop->kept.list->v[loop->index];
        if (r->top->kept)
            QG_TRY(qg_scope_new(r, loop->frame, &r->top));
        r->top->n = 0;
        QG_TRY(qg_scope_set(r, r->top, r->tmpl->loop_name, self));
        QG_TRY(qg_assign(r, n->a, &item));
        QG_TRY(qg_exec(r, n->v[0]));
        *completed = *completed || r->flow == QG_FLOW_ON;
        bool stop = r->flow == QG_FLOW_BREAK;
        r->flow = QG_FLOW_ON;
        if (stop)
            return QG_OK;
    }
}

static qg_status exec_for(qg_run *r, const qg_node *n)
{
    qg_val iterable;
    qg_vlist *src;
    bool completed = false;
    QG_TRY(qg_eval(r, n->b, &iterable));
    r->line = n->line;
    QG_TRY(qg_val_items(r, &iterable, &src));
    qg_frame *outer = r->top;
    qg_loop *loop = qg_run_alloc(r, 1, sizeof *loop);
    if (!loop)
        return r->arena.why;
    *loop = (qg_loop){.stmt = n, .frame = outer, .src = src};
    if (n->c) {
        QG_TRY(qg_val_list(r, QG_V_LIST, 0, &loop->kept));
    } else {
        loop->kept = (qg_val){.kind = QG_V_LIST, .list = src};
        loop->at = src->n;
    }
    QG_TRY(qg_scope_new(r, outer, &r->top));
    QG_TRY(loop_turns(r, loop, &completed));
    if (!completed && n->v[1]) {
        QG_TRY(qg_scope_new(r, outer, &r->top));
        QG_TRY(qg_exec(r, n->v[1]));
    }
    r->top = outer;
    return QG_OK;
}

/* ---- blocks ---------------------------------------------------------------------------------- */

qg_status qg_exec_capture(qg_run *r, const qg_node *body, qg_val *out)
{
    qg_sb caught = {0}, *outer = r->capture;
    r->capture = &caught;
    QG_TRY(qg_exec(r, body));
    r->capture = outer;
    *out = qg_sb_done(&caught);
    return QG_OK;
}

/* Output of body, in a scope of its own, through the filters at n->b. */
static qg_status caught_and_filtered(qg_run *r, const qg_node *n, qg_val *out)
{
    qg_frame *outer = r->top;
    qg_val hole = r->hole;
    QG_TRY(qg_scope_new(r, outer, &r->top));
    QG_TRY(qg_exec_capture(r, n->c, out));
    r->top = outer;
    if (!n->b || r->flow != QG_FLOW_ON)
        return QG_OK;
    r->hole = *out;
    QG_TRY(qg_eval(r, n->b, out));
    r->hole = hole;
    return QG_OK;
}

static qg_status exec_setblock(qg_run *r, const qg_node *n)
{
    qg_val v;
    QG_TRY(caught_and_filtered(r, n, &v));
    return r->flow == QG_FLOW_ON ? qg_assign(r, n->a, &v) : QG_OK;
}

static qg_status exec_filtered(qg_run *r, const qg_node *n)
{
    qg_val v;
    QG_TRY(caught_and_filtered(r, n, &v));
    if (r->flow != QG_FLOW_ON) /* what was caught before a break or continue is lost */
        return QG_OK;
    QG_TRY(qg_val_str(r, &v, &v));
    return emit(r, &v);
}

static qg_status exec_with(qg_run *r, const qg_node *n)
{
    qg_frame *outer = r->top, *inner;
    QG_TRY(qg_scope_new(r, outer, &inner));
    for (uint32_t i = 0; i + 1 < n->n; i += 2) {
        qg_val v;
        r->top = outer; /* values do not see the names before them */
        QG_TRY(qg_eval(r, n->v[i + 1], &v));
        r->top = inner;
        QG_TRY(qg_assign(r, n->v[i], &v));
    }
    r->top = inner;
    QG_TRY(qg_exec(r, n->c));
    r->top = outer;
    return QG_OK;
}

static qg_status exec_macro(qg_run *r, const qg_node *n)
{
    qg_macro *m = qg_run_alloc(r, 1, sizeof *m);
    if (!m)
        return r->arena.why;
    *m = (qg_macro){.def = n, .frame = r->top};
    for (qg_frame *f = r->top; f && !f->kept; f = f->outer)
        f->kept = true;
    return qg_scope_set(r, r->top, n->name, (qg_val){.kind = QG_V_MACRO, .macro = m});
}

static qg_status exec_statement(qg_run *r, const qg_node *n)
{
    switch (n->kind) {
    case QG_N_TEXT:
        return emit(r, &n->k);
    case QG_N_OUTPUT:
        return exec_output(r, n);
    case QG_N_IF:
        return exec_if(r, n);
    case QG_N_FOR:
        return exec_for(r, n);
    case QG_N_SET:
        return exec_set(r, n);
    case QG_N_SETBLOCK:
        return exec_setblock(r, n);
    case QG_N_FILTERED:
        return exec_filtered(r, n);
    case QG_N_WITH:
        return exec_with(r, n);
    case QG_N_MACRO:
        return exec_macro(r, n);
    case QG_N_BREAK:
        r->flow = QG_FLOW_BREAK;
        return QG_OK;
    case QG_N_CONTINUE:
        r->flow = QG_FLOW_CONTINUE;
        return QG_OK;
    default:
        return qg_run_fail(r, QG_ERR_INTERNAL, "not a statement");
    }
}

qg_status qg_exec(qg_run *r, const qg_node *body)
{
    if (r->depth >= QG_MAX_TMPL_DEPTH)
        return qg_run_fail(r, QG_ERR_TOO_LONG, "evaluation more than %d deep", QG_MAX_TMPL_DEPTH);
    r->depth++;
    for (uint32_t i = 0; i < body->n && r->flow == QG_FLOW_ON; i++) {
        QG_TRY(qg_run_spend(r, 1));
        QG_TRY(exec_statement(r, body->v[i]));
    }
    r->depth--;
    return QG_OK;
}
