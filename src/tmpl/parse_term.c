/* Terms: names, literals, brackets, and what may follow them (.x, [x], (x), |x, is x). */
#include "tmpl/run.h"

static qg_status parse_primary(qg_parser *p, const qg_node **out);

static qg_tok type(const qg_parser *p)
{
    return p->tok->type;
}

static qg_status constant(qg_parser *p, qg_val k, const qg_node **out)
{
    qg_node *n;
    QG_TRY(qg_parse_node(p, QG_N_CONST, p->tok->line, &n));
    n->k = k;
    *out = n;
    return QG_OK;
}

/* ---- arguments ------------------------------------------------------------------------------- */

static qg_status parse_argument(qg_parser *p, qg_node *call, uint32_t *cap)
{
    uint32_t line = p->tok->line;
    if (type(p) == QG_T_MUL || type(p) == QG_T_POW)
        return qg_parse_fail(p, QG_ERR_UNSUPPORTED, line, "arguments with '%s' are not supported",
                             qg_tok_name(type(p)));
    bool named = type(p) == QG_T_NAME && p->tok[1].type == QG_T_ASSIGN;
    if (!named && call->n && call->v[call->n - 1]->kind == QG_N_KEYWORD)
        return qg_parse_fail(p, QG_ERR_FORMAT, line, "a plain argument after a named one");
    const qg_node *value;
    qg_slice name = p->tok->text;
    p->tok += named ? 2 : 0;
    QG_TRY(qg_parse_expr(p, &value));
    if (named) {
        qg_node *keyword;
        QG_TRY(qg_parse_node(p, QG_N_KEYWORD, line, &keyword));
        keyword->a = value;
        keyword->k = qg_v_str(name);
        value = keyword;
    }
    return qg_parse_child(p, call, cap, value);
}

static qg_status parse_arguments(qg_parser *p, qg_node *call)
{
    uint32_t cap = 0;
    QG_TRY(qg_parse_expect(p, QG_T_LPAREN));
    while (type(p) != QG_T_RPAREN) {
        QG_TRY(parse_argument(p, call, &cap));
        if (type(p) != QG_T_COMMA)
            break;
        p->tok++;
    }
    return qg_parse_expect(p, QG_T_RPAREN);
}

/* The call of a name is checked when the whole template is known: macros may come later. */
static qg_status remember_called(qg_parser *p, const qg_node *name)
{
    if (p->n_called == p->cap_called) {
        uint32_t cap = p->cap_called ? p->cap_called * 2 : 16;
        const qg_node **v = qg_arena_calloc(p->arena, cap, sizeof *v);
        if (!v)
            return qg_parse_fail(p, p->arena->why, name->line, "out of memory");
        for (uint32_t i = 0; i < p->n_called; i++)
            v[i] = p->called[i];
        p->called = v;
        p->cap_called = cap;
    }
    p->called[p->n_called++] = name;
    return QG_OK;
}

static qg_status parse_call(qg_parser *p, const qg_node *callee, const qg_node **out)
{
    qg_node *call;
    QG_TRY(qg_parse_node(p, QG_N_CALL, p->tok->line, &call));
    call->a = callee;
    if (callee->kind == QG_N_NAME)
        QG_TRY(remember_called(p, callee));
    if (callee->kind == QG_N_ATTR && !qg_method_exists(qg_v_slice(&callee->k)))
        return qg_parse_fail(p, QG_ERR_UNSUPPORTED, callee->line, "unknown method '%.*s'",
                             (int)callee->k.s.n, callee->k.s.p);
    QG_TRY(parse_arguments(p, call));
    *out = call;
    return QG_OK;
}

/* ---- what follows a primary ------------------------------------------------------------------ */

static qg_status parse_bound(qg_parser *p, const qg_node **out)
{
    *out = NULL;
    if (type(p) == QG_T_COLON || type(p) == QG_T_RBRACKET || type(p) == QG_T_COMMA)
        return QG_OK;
    return qg_parse_expr(p, out);
}

static qg_status parse_subscript(qg_parser *p, const qg_node *obj, const qg_node **out)
{
    qg_node *n;
    const qg_node *bound[3] = {NULL, NULL, NULL};
    uint32_t cap = 0, line = p->tok->line, i = 0;
    QG_TRY(qg_parse_expect(p, QG_T_LBRACKET));
    QG_TRY(parse_bound(p, &bound[0]));
    bool slice = type(p) == QG_T_COLON;
    while (type(p) == QG_T_COLON && i < 2) {
        p->tok++;
        QG_TRY(parse_bound(p, &bound[++i]));
    }
    if (!slice && !bound[0])
        return qg_parse_fail(p, QG_ERR_FORMAT, line, "expected an expression, found %s",
                             qg_tok_name(type(p)));
    QG_TRY(qg_parse_node(p, slice ? QG_N_SLICE : QG_N_ITEM, line, &n));
    n->a = obj;
    n->b = slice ? NULL : bound[0];
    for (i = 0; slice && i < 3; i++)
        QG_TRY(qg_parse_child(p, n, &cap, bound[i]));
    *out = n;
    return qg_parse_expect(p, QG_T_RBRACKET);
}

static qg_status parse_dot(qg_parser *p, const qg_node *obj, const qg_node **out)
{
    qg_node *n;
    QG_TRY(qg_parse_node(p, QG_N_ATTR, p->tok->line, &n));
    n->a = obj;
    p->tok++;
    if (type(p) == QG_T_NAME) {
        n->k = qg_v_str(p->tok->text);
    } else if (type(p) == QG_T_INT) {
        n->kind = QG_N_ITEM;
        QG_TRY(constant(p, qg_v_int(p->tok->i), &n->b));
    } else {
        return qg_parse_fail(p, QG_ERR_FORMAT, p->tok->line, "expected a name behind '.', found %s",
                             qg_tok_name(type(p)));
    }
    p->tok++;
    *out = n;
    return QG_OK;
}

static qg_status parse_postfix(qg_parser *p, const qg_node **n)
{
    for (;;) {
        if (type(p) == QG_T_DOT)
            QG_TRY(parse_dot(p, *n, n));
        else if (type(p) == QG_T_LBRACKET)
            QG_TRY(parse_subscript(p, *n, n));
        else if (type(p) == QG_T_LPAREN)
            QG_TRY(parse_call(p, *n, n));
        else
            return QG_OK;
    }
}

/* Some filters apply another one, or a test, by name: where the name is plain to see, check it. */
static qg_status check_inner_name(qg_parser *p, const qg_node *f)
{
    const char *outer = f->builtin->name;
    bool filter = strcmp(outer, "map") == 0;
    bool attr_first = strcmp(outer, "selectattr") == 0 || strcmp(outer, "rejectattr") == 0;
    if (!filter && !attr_first && strcmp(outer, "select") && strcmp(outer, "reject"))
        return QG_OK;
    uint32_t i = attr_first ? 1 : 0;
    if (i >= f->n || f->v[i]->kind != QG_N_CONST || f->v[i]->k.kind != QG_V_STR)
        return QG_OK;
    qg_slice name = qg_v_slice(&f->v[i]->k);
    if (filter ? qg_filter_find(name) != NULL : qg_test_find(name) != NULL)
        return QG_OK;
    return qg_parse_fail(p, QG_ERR_UNSUPPORTED, f->line, "unknown %s '%.*s'",
                         filter ? "filter" : "test", (int)name.n, name.p);
}

static qg_status parse_builtin_name(qg_parser *p, qg_node *n, bool filter)
{
    if (type(p) != QG_T_NAME)
        return qg_parse_fail(p, QG_ERR_FORMAT, p->tok->line, "expected the name of a %s, found %s",
                             filter ? "filter" : "test", qg_tok_name(type(p)));
    qg_slice name = p->tok->text;
    n->builtin = filter ? qg_filter_find(name) : qg_test_find(name);
    if (!n->builtin)
        return qg_parse_fail(p, QG_ERR_UNSUPPORTED, p->tok->line, "unknown %s '%.*s'",
                             filter ? "filter" : "test", (int)name.n, name.p);
    p->tok++;
    return QG_OK;
}

static qg_status parse_filter(qg_parser *p, const qg_node *subject, const qg_node **out)
{
    qg_node *n;
    QG_TRY(qg_parse_node(p, QG_N_FILTER, p->tok->line, &n));
    n->a = subject;
    QG_TRY(parse_builtin_name(p, n, true));
    if (type(p) == QG_T_LPAREN)
        QG_TRY(parse_arguments(p, n));
    QG_TRY(check_inner_name(p, n));
    *out = n;
    return QG_OK;
}

qg_status qg_parse_filters(qg_parser *p, const qg_node *subject, const qg_node **out)
{
    QG_TRY(parse_filter(p, subject, out));
    while (type(p) == QG_T_PIPE) {
        p->tok++;
        QG_TRY(parse_filter(p, *out, out));
    }
    return QG_OK;
}

/* A test may take one argument without brackets: "x is divisibleby 3". */
static bool bare_argument_follows(const qg_parser *p)
{
    switch (type(p)) {
    case QG_T_NAME:
        return !qg_parse_is(p, "else") && !qg_parse_is(p, "or") && !qg_parse_is(p, "and");
    case QG_T_STRING:
    case QG_T_INT:
    case QG_T_FLOAT:
    case QG_T_LBRACKET:
    case QG_T_LBRACE:
        return true;
    default:
        return false;
    }
}

static qg_status parse_test(qg_parser *p, const qg_node *subject, const qg_node **out)
{
    qg_node *n;
    uint32_t cap = 0, line = p->tok->line;
    p->tok++; /* is */
    bool negated = qg_parse_skip(p, "not");
    QG_TRY(qg_parse_node(p, QG_N_TEST, line, &n));
    n->a = subject;
    QG_TRY(parse_builtin_name(p, n, false));
    if (type(p) == QG_T_LPAREN) {
        QG_TRY(parse_arguments(p, n));
    } else if (bare_argument_follows(p)) {
        if (qg_parse_is(p, "is"))
            return qg_parse_fail(p, QG_ERR_FORMAT, line, "tests with 'is' cannot be chained");
        const qg_node *arg;
        QG_TRY(parse_primary(p, &arg));
        QG_TRY(parse_postfix(p, &arg));
        QG_TRY(qg_parse_child(p, n, &cap, arg));
    }
    *out = n;
    return negated ? qg_parse_node1(p, QG_N_NOT, line, n, out) : QG_OK;
}

static qg_status parse_filters_and_tests(qg_parser *p, const qg_node **n)
{
    for (;;) {
        if (type(p) == QG_T_PIPE) {
            p->tok++;
            QG_TRY(parse_filter(p, *n, n));
        } else if (qg_parse_is(p, "is")) {
            QG_TRY(parse_test(p, *n, n));
        } else if (type(p) == QG_T_LPAREN) {
            QG_TRY(parse_call(p, *n, n));
        } else {
            return QG_OK;
        }
    }
}

/* ---- primaries ------------------------------------------------------------------------------- */

static qg_status parse_name(qg_parser *p, const qg_node **out)
{
    qg_slice name = p->tok->text;
    qg_node *n;
    bool is_true = qg_parse_is(p, "true") || qg_parse_is(p, "True");
    if (is_true || qg_parse_is(p, "false") || qg_parse_is(p, "False"))
        QG_TRY(constant(p, qg_v_bool(is_true), out));
    else if (qg_parse_is(p, "none") || qg_parse_is(p, "None"))
        QG_TRY(constant(p, qg_v_none(), out));
    else {
        QG_TRY(qg_parse_node(p, QG_N_NAME, p->tok->line, &n));
        n->k = qg_v_str(name);
        QG_TRY(qg_parse_name_id(p, name, &n->name));
        *out = n;
    }
    p->tok++;
    return QG_OK;
}

/* Adjacent string literals are one. */
static qg_status parse_strings(qg_parser *p, const qg_node **out)
{
    size_t n = 0, count = 0;
    while (p->tok[count].type == QG_T_STRING)
        n += p->tok[count++].text.n;
    qg_slice all = p->tok->text;
    if (count > 1) {
        char *buf = qg_arena_alloc(p->arena, n), *q = buf;
        if (!buf)
            return qg_parse_fail(p, p->arena->why, p->tok->line, "out of memory");
        for (size_t i = 0; i < count; i++) {
            memcpy(q, p->tok[i].text.p, p->tok[i].text.n);
            q += p->tok[i].text.n;
        }
        all = qg_slice_of(buf, n);
    }
    QG_TRY(constant(p, qg_v_str(all), out));
    p->tok += count;
    return QG_OK;
}

/* "[a, b]" and "{a: b}". */
static qg_status parse_display(qg_parser *p, bool dict, const qg_node **out)
{
    qg_node *n;
    uint32_t cap = 0;
    qg_tok close = dict ? QG_T_RBRACE : QG_T_RBRACKET;
    QG_TRY(qg_parse_node(p, dict ? QG_N_DICT : QG_N_LIST, p->tok->line, &n));
    p->tok++;
    while (type(p) != close) {
        const qg_node *item;
        QG_TRY(qg_parse_expr(p, &item));
        QG_TRY(qg_parse_child(p, n, &cap, item));
        if (dict) {
            QG_TRY(qg_parse_expect(p, QG_T_COLON));
            QG_TRY(qg_parse_expr(p, &item));
            QG_TRY(qg_parse_child(p, n, &cap, item));
        }
        if (type(p) != QG_T_COMMA)
            break;
        p->tok++;
    }
    *out = n;
    return qg_parse_expect(p, close);
}

static qg_status parse_brackets(qg_parser *p, const qg_node **out)
{
    p->tok++;
    if (type(p) == QG_T_RPAREN) {
        qg_node *empty;
        QG_TRY(qg_parse_node(p, QG_N_TUPLE, p->tok->line, &empty));
        *out = empty;
    } else {
        QG_TRY(qg_parse_tuple(p, false, out));
    }
    return qg_parse_expect(p, QG_T_RPAREN);
}

static qg_status parse_primary(qg_parser *p, const qg_node **out)
{
    const qg_lexeme *t = p->tok;
    switch (type(p)) {
    case QG_T_NAME:
        return parse_name(p, out);
    case QG_T_STRING:
        return parse_strings(p, out);
    case QG_T_INT:
        QG_TRY(constant(p, qg_v_int(t->i), out));
        p->tok++;
        return QG_OK;
    case QG_T_FLOAT:
        QG_TRY(constant(p, qg_v_float(t->f), out));
        p->tok++;
        return QG_OK;
    case QG_T_LPAREN:
        return parse_brackets(p, out);
    case QG_T_LBRACKET:
        return parse_display(p, false, out);
    case QG_T_LBRACE:
        return parse_display(p, true, out);
    default:
        return qg_parse_fail(p, QG_ERR_FORMAT, t->line, "expected an expression, found %s",
                             qg_tok_name(type(p)));
    }
}

qg_status qg_parse_term(qg_parser *p, bool with_filters, const qg_node **out)
{
    uint32_t line = p->tok->line;
    bool neg = type(p) == QG_T_SUB;
    QG_TRY(qg_parse_deeper(p));
    if (neg || type(p) == QG_T_ADD) {
        p->tok++;
        QG_TRY(qg_parse_term(p, false, out));
        QG_TRY(qg_parse_node1(p, neg ? QG_N_NEG : QG_N_POS, line, *out, out));
    } else {
        QG_TRY(parse_primary(p, out));
    }
    QG_TRY(parse_postfix(p, out));
    if (with_filters)
        QG_TRY(parse_filters_and_tests(p, out));
    p->depth--;
    return QG_OK;
}
