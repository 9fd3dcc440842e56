#include "tmpl/tmpl.h"

#include "base/limits.h"
#include "base/mem.h"
#include "text/utf8.h"
#include "tmpl/run.h"

/* Memory of a template: its text a few times over, as tokens and as tree. */
#define TREE_BYTES (256u * QG_MAX_TMPL_BYTES)

static qg_status parse(qg_tmpl *t, qg_slice source, qg_arena *scratch, qg_err *err)
{
    qg_lexeme *tokens;
    QG_TRY(qg_lex(&t->arena, source, &tokens, err));
    qg_parser p = {.tmpl = t, .arena = &t->arena, .err = err, .tok = tokens};
    p.names = qg_arena_calloc(&t->arena, QG_MAX_TMPL_NAMES, sizeof *p.names);
    p.assigned = p.names ? qg_arena_calloc(scratch, QG_MAX_TMPL_NAMES, sizeof *p.assigned) : NULL;
    if (!p.assigned)
        return qg_fail(err, QG_ERR_NOMEM, "template: out of memory");
    QG_TRY(qg_parse_body(&p));
    t->names = p.names;
    t->n_names = p.n_names;
    return QG_OK;
}

qg_status qg_tmpl_open(qg_tmpl **out, qg_slice source, qg_err *err)
{
    *out = NULL;
    if (source.n > QG_MAX_TMPL_BYTES)
        return qg_fail(err, QG_ERR_TOO_LONG, "template: %zu bytes, at most %u are read", source.n,
                       QG_MAX_TMPL_BYTES);
    size_t valid = qg_utf8_valid_prefix(source);
    if (valid != source.n)
        return qg_fail(err, QG_ERR_FORMAT, "template: byte %zu is not UTF-8", valid);
    qg_tmpl *t = qg_calloc(1, sizeof *t);
    if (!t)
        return qg_fail(err, QG_ERR_NOMEM, "template: out of memory");
    qg_arena scratch;
    qg_arena_init(&t->arena, TREE_BYTES);
    qg_arena_init(&scratch, TREE_BYTES);
    qg_status rc = parse(t, source, &scratch, err);
    qg_arena_free(&scratch);
    if (rc != QG_OK) {
        qg_tmpl_close(t);
        return rc;
    }
    *out = t;
    return QG_OK;
}

void qg_tmpl_close(qg_tmpl *t)
{
    if (!t)
        return;
    qg_arena_free(&t->arena);
    qg_mfree(t);
}

static qg_status start(qg_run *r)
{
    r->globals = qg_run_alloc(r, r->tmpl->n_names, sizeof *r->globals);
    r->global_known = r->globals ? qg_run_alloc(r, r->tmpl->n_names, 1) : NULL;
    if (!r->global_known)
        return r->arena.why;
    memset(r->global_known, 0, r->tmpl->n_names);
    return qg_scope_new(r, NULL, &r->top);
}

qg_status qg_tmpl_render(const qg_tmpl *t, const json_t *vars, qg_rendered *out, qg_err *err)
{
    if (!json_is_object(vars))
        return qg_fail(err, QG_ERR_ARG, "template: variables are a JSON object");
    qg_rendered_free(out);
    qg_buf_init(&out->text, QG_MAX_TEXT_BYTES);
    qg_run r = {.tmpl = t, .vars = vars, .err = err, .out = out, .line = 1};
    qg_arena_init(&r.arena, QG_MAX_TMPL_ARENA);
    qg_status rc = start(&r);
    if (rc == QG_OK)
        rc = qg_exec(&r, t->body);
    qg_arena_free(&r.arena);
    return rc;
}

void qg_rendered_free(qg_rendered *r)
{
    qg_buf_free(&r->text);
    qg_mfree(r->spans);
    *r = (qg_rendered){0};
}
