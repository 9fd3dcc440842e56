/* Statements, and what both halves of the parser share. */
#include "base/limits.h"
#include "tmpl/run.h"
#include "tmpl/ustr.h"

#include <stdarg.h>
#include <stdio.h>

qg_status qg_parse_fail(const qg_parser *p, qg_status rc, uint32_t line, const char *fmt, ...)
{
    char what[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    qg_sentence_clean(what);
    return qg_fail(p->err, rc, "template line %u: %s", line, what);
}

qg_status qg_parse_node(qg_parser *p, qg_nkind kind, uint32_t line, qg_node **out)
{
    *out = qg_arena_calloc(p->arena, 1, sizeof **out);
    if (!*out)
        return qg_parse_fail(p, p->arena->why, line, "out of memory");
    (*out)->kind = kind;
    (*out)->line = line;
    return QG_OK;
}

qg_status qg_parse_node1(qg_parser *p, qg_nkind kind, uint32_t line, const qg_node *a,
                         const qg_node **out)
{
    qg_node *n;
    QG_TRY(qg_parse_node(p, kind, line, &n));
    n->a = a;
    *out = n;
    return QG_OK;
}

qg_status qg_parse_child(qg_parser *p, qg_node *n, uint32_t *cap, const qg_node *child)
{
    if (n->n == *cap) {
        uint32_t more = *cap ? *cap * 2 : 4;
        const qg_node **v = qg_arena_calloc(p->arena, more, sizeof *v);
        if (!v)
            return qg_parse_fail(p, p->arena->why, n->line, "out of memory");
        for (uint32_t i = 0; i < n->n; i++)
            v[i] = n->v[i];
        n->v = v;
        *cap = more;
    }
    n->v[n->n++] = child;
    return QG_OK;
}

qg_status qg_parse_name_id(qg_parser *p, qg_slice name, uint32_t *out)
{
    for (*out = 0; *out < p->n_names; ++*out)
        if (qg_slice_eq(p->names[*out], name))
            return QG_OK;
    if (p->n_names == QG_MAX_TMPL_NAMES)
        return qg_parse_fail(p, QG_ERR_TOO_LONG, p->tok->line, "more than %d different names",
                             QG_MAX_TMPL_NAMES);
    p->names[p->n_names++] = name;
    return QG_OK;
}

qg_status qg_parse_deeper(qg_parser *p)
{
    if (p->depth >= QG_MAX_TMPL_NESTING)
        return qg_parse_fail(p, QG_ERR_TOO_LONG, p->tok->line, "nested more than %d deep",
                             QG_MAX_TMPL_NESTING);
    p->depth++;
    return QG_OK;
}

bool qg_parse_is(const qg_parser *p, const char *keyword)
{
    return p->tok->type == QG_T_NAME && qg_slice_is(p->tok->text, keyword);
}

bool qg_parse_skip(qg_parser *p, const char *keyword)
{
    bool is = qg_parse_is(p, keyword);
    p->tok += is;
    return is;
}

qg_status qg_parse_expect(qg_parser *p, qg_tok type)
{
    if (p->tok->type != type)
        return qg_parse_fail(p, QG_ERR_FORMAT, p->tok->line, "expected %s, found %s",
                             qg_tok_name(type), qg_tok_name(p->tok->type));
    p->tok++;
    return QG_OK;
}

static qg_status expect_keyword(qg_parser *p, const char *keyword)
{
    if (qg_parse_skip(p, keyword))
        return QG_OK;
    return qg_parse_fail(p, QG_ERR_FORMAT, p->tok->line, "expected '%s', found %s", keyword,
                         qg_tok_name(p->tok->type));
}

/* ---- blocks ---------------------------------------------------------------------------------- */

static qg_status parse_statements(qg_parser *p, const char *const *ends, const qg_node **out);

/* Statements up to one of the tags in ends (NULL-terminated), whose name then stands at hand; the
 * end of the opening tag is stepped over first. */
static qg_status parse_block(qg_parser *p, const char *const *ends, const qg_node **out)
{
    QG_TRY(qg_parse_expect(p, QG_T_BLOCK_END));
    QG_TRY(qg_parse_deeper(p));
    QG_TRY(parse_statements(p, ends, out));
    p->depth--;
    return QG_OK;
}

static qg_status parse_block_to(qg_parser *p, const char *end, const qg_node **out)
{
    const char *const ends[] = {end, NULL};
    QG_TRY(parse_block(p, ends, out));
    p->tok++;
    return QG_OK;
}

static qg_status parse_if(qg_parser *p, qg_node *n)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    static const char *const last[] = {"endif", NULL};
    const qg_node *part;
    uint32_t cap = 0;
    n->kind = QG_N_IF;
    do {
        QG_TRY(qg_parse_tuple(p, true, &part));
        QG_TRY(qg_parse_child(p, n, &cap, part));
        QG_TRY(parse_block(p, ends, &part));
        QG_TRY(qg_parse_child(p, n, &cap, part));
    } while (qg_parse_skip(p, "elif"));
    if (qg_parse_skip(p, "else")) {
        QG_TRY(parse_block(p, last, &part));
        QG_TRY(qg_parse_child(p, n, &cap, part));
    }
    p->tok++; /* endif */
    return QG_OK;
}

static qg_status parse_for(qg_parser *p, qg_node *n)
{
    static const char *const ends[] = {"else", "endfor", NULL};
    const qg_node *body, *other = NULL;
    uint32_t cap = 0;
    n->kind = QG_N_FOR;
    QG_TRY(qg_parse_target(p, false, &n->a));
    QG_TRY(expect_keyword(p, "in"));
    QG_TRY(qg_parse_tuple(p, true, &n->b));
    if (qg_parse_skip(p, "if"))
        QG_TRY(qg_parse_expr(p, &n->c));
    if (qg_parse_is(p, "recursive"))
        return qg_parse_fail(p, QG_ERR_UNSUPPORTED, n->line, "recursive loops are not supported");
    p->loops++;
    QG_TRY(parse_block(p, ends, &body));
    p->loops--;
    if (qg_parse_skip(p, "else"))
        QG_TRY(parse_block_to(p, "endfor", &other));
    else
        p->tok++; /* endfor */
    QG_TRY(qg_parse_child(p, n, &cap, body));
    return qg_parse_child(p, n, &cap, other);
}

static qg_status parse_set(qg_parser *p, qg_node *n)
{
    n->kind = QG_N_SET;
    QG_TRY(qg_parse_target(p, true, &n->a));
    if (p->tok->type == QG_T_ASSIGN) {
        p->tok++;
        return qg_parse_tuple(p, false, &n->b);
    }
    n->kind = QG_N_SETBLOCK;
    if (p->tok->type == QG_T_PIPE) {
        qg_node *hole;
        QG_TRY(qg_parse_node(p, QG_N_HOLE, n->line, &hole));
        p->tok++;
        QG_TRY(qg_parse_filters(p, hole, &n->b));
    }
    return parse_block_to(p, "endset", &n->c);
}

static qg_status parse_filter_block(qg_parser *p, qg_node *n)
{
    qg_node *hole;
    n->kind = QG_N_FILTERED;
    QG_TRY(qg_parse_node(p, QG_N_HOLE, n->line, &hole));
    QG_TRY(qg_parse_filters(p, hole, &n->b));
    return parse_block_to(p, "endfilter", &n->c);
}

static qg_status parse_with(qg_parser *p, qg_node *n)
{
    uint32_t cap = 0;
    n->kind = QG_N_WITH;
    while (p->tok->type != QG_T_BLOCK_END) {
        const qg_node *part;
        if (n->n)
            QG_TRY(qg_parse_expect(p, QG_T_COMMA));
        QG_TRY(qg_parse_target(p, false, &part));
        QG_TRY(qg_parse_child(p, n, &cap, part));
        QG_TRY(qg_parse_expect(p, QG_T_ASSIGN));
        QG_TRY(qg_parse_expr(p, &part));
        QG_TRY(qg_parse_child(p, n, &cap, part));
    }
    return parse_block_to(p, "endwith", &n->c);
}

/* {% generation %} marks the assistant's words for training; rendering ignores it. */
static qg_status parse_generation(qg_parser *p, qg_node *n)
{
    n->kind = QG_N_WITH;
    return parse_block_to(p, "endgeneration", &n->c);
}

static qg_status parse_name_here(qg_parser *p, uint32_t *name)
{
    qg_lexeme t = *p->tok;
    QG_TRY(qg_parse_expect(p, QG_T_NAME));
    QG_TRY(qg_parse_name_id(p, t.text, name));
    p->assigned[*name] = true;
    return QG_OK;
}

static qg_status parse_param(qg_parser *p, qg_node *macro, uint32_t *cap)
{
    qg_node *param;
    QG_TRY(qg_parse_node(p, QG_N_PARAM, p->tok->line, &param));
    param->k = qg_v_str(p->tok->text);
    QG_TRY(parse_name_here(p, &param->name));
    if (p->tok->type == QG_T_ASSIGN) {
        p->tok++;
        QG_TRY(qg_parse_expr(p, &param->a));
    } else if (macro->n && macro->v[macro->n - 1]->a) {
        return qg_parse_fail(p, QG_ERR_FORMAT, param->line,
                             "a parameter without default after one with a default");
    }
    return qg_parse_child(p, macro, cap, param);
}

static qg_status parse_macro(qg_parser *p, qg_node *n)
{
    uint32_t cap = 0, loops = p->loops;
    n->kind = QG_N_MACRO;
    n->k = qg_v_str(p->tok->text);
    QG_TRY(parse_name_here(p, &n->name));
    QG_TRY(qg_parse_expect(p, QG_T_LPAREN));
    while (p->tok->type != QG_T_RPAREN) {
        if (n->n)
            QG_TRY(qg_parse_expect(p, QG_T_COMMA));
        QG_TRY(parse_param(p, n, &cap));
    }
    p->tok++;
    p->loops = 0;
    QG_TRY(parse_block_to(p, "endmacro", &n->c));
    p->loops = loops;
    return QG_OK;
}

static qg_status parse_jump(qg_parser *p, qg_node *n, qg_nkind kind)
{
    n->kind = kind;
    if (p->loops == 0)
        return qg_parse_fail(p, QG_ERR_FORMAT, n->line, "'%s' outside of a loop",
                             kind == QG_N_BREAK ? "break" : "continue");
    return QG_OK;
}

static qg_status parse_break(qg_parser *p, qg_node *n)
{
    return parse_jump(p, n, QG_N_BREAK);
}

static qg_status parse_continue(qg_parser *p, qg_node *n)
{
    return parse_jump(p, n, QG_N_CONTINUE);
}

static const struct {
    const char *name;
    qg_status (*parse)(qg_parser *p, qg_node *n);
} statements[] = {
    {"if", parse_if},
    {"for", parse_for},
    {"set", parse_set},
    {"macro", parse_macro},
    {"break", parse_break},
    {"continue", parse_continue},
    {"with", parse_with},
    {"filter", parse_filter_block},
    {"generation", parse_generation},
};

/* The tag whose name stands at hand. */
static qg_status parse_tag(qg_parser *p, const qg_node **out)
{
    uint32_t line = p->tok->line;
    qg_slice name = p->tok->text;
    QG_TRY(qg_parse_expect(p, QG_T_NAME));
    for (size_t i = 0; i < QG_COUNT(statements); i++) {
        if (!qg_slice_is(name, statements[i].name))
            continue;
        qg_node *n;
        QG_TRY(qg_parse_node(p, QG_N_BODY, line, &n));
        QG_TRY(statements[i].parse(p, n));
        *out = n;
        return qg_parse_expect(p, QG_T_BLOCK_END);
    }
    bool ending = name.n > 3 && memcmp(name.p, "end", 3) == 0;
    if (ending || qg_slice_is(name, "else") || qg_slice_is(name, "elif"))
        return qg_parse_fail(p, QG_ERR_FORMAT, line, "unexpected '%.*s'", (int)name.n, name.p);
    return qg_parse_fail(p, QG_ERR_UNSUPPORTED, line, "unknown statement '%.*s'", (int)name.n,
                         name.p);
}

static qg_status parse_output(qg_parser *p, const qg_node **out)
{
    const qg_node *value;
    uint32_t line = p->tok++->line;
    QG_TRY(qg_parse_tuple(p, false, &value));
    QG_TRY(qg_parse_node1(p, QG_N_OUTPUT, line, value, out));
    return qg_parse_expect(p, QG_T_PRINT_END);
}

static bool one_of(const qg_parser *p, const char *const *names)
{
    for (; names && *names; names++)
        if (qg_parse_is(p, *names))
            return true;
    return false;
}

static qg_status parse_statements(qg_parser *p, const char *const *ends, const qg_node **out)
{
    qg_node *body, *text;
    const qg_node *child = NULL;
    uint32_t cap = 0, line = p->tok->line;
    QG_TRY(qg_parse_node(p, QG_N_BODY, line, &body));
    *out = body;
    while (p->tok->type != QG_T_END) {
        if (p->tok->type == QG_T_TEXT) {
            QG_TRY(qg_parse_node(p, QG_N_TEXT, p->tok->line, &text));
            text->k = qg_v_str(p->tok++->text);
            child = text;
        } else if (p->tok->type == QG_T_PRINT_BEGIN) {
            QG_TRY(parse_output(p, &child));
        } else {
            p->tok++; /* {% */
            if (one_of(p, ends))
                return QG_OK;
            QG_TRY(parse_tag(p, &child));
        }
        QG_TRY(qg_parse_child(p, body, &cap, child));
    }
    if (ends)
        return qg_parse_fail(p, QG_ERR_FORMAT, line, "'%s' is missing",
                             ends[0][1] == 'l' ? "endif" : ends[0]);
    return QG_OK;
}

qg_status qg_parse_body(qg_parser *p)
{
    QG_TRY(parse_statements(p, NULL, &p->tmpl->body));
    QG_TRY(qg_parse_name_id(p, qg_str("loop"), &p->tmpl->loop_name));
    for (uint32_t i = 0; i < p->n_called; i++) {
        const qg_node *name = p->called[i];
        if (!p->assigned[name->name] && !qg_function_find(qg_v_slice(&name->k)))
            return qg_parse_fail(p, QG_ERR_UNSUPPORTED, name->line, "unknown function '%.*s'",
                                 (int)name->k.s.n, name->k.s.p);
    }
    return QG_OK;
}
