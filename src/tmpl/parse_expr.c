/* Operators, tuples and targets, by recursive descent: functions stand in order of precedence. */
#include "tmpl/ast.h"

static qg_status parse_or(qg_parser *p, const qg_node **out);

static qg_tok type(const qg_parser *p)
{
    return p->tok->type;
}

/* ---- operators, from tight to loose ---------------------------------------------------------- */

static qg_status binary(qg_parser *p, qg_tok op, uint32_t line, const qg_node *a, const qg_node *b,
                        const qg_node **out)
{
    qg_node *n;
    QG_TRY(qg_parse_node(p, QG_N_BINARY, line, &n));
    n->op = op;
    n->a = a;
    n->b = b;
    *out = n;
    return QG_OK;
}

static qg_status parse_pow(qg_parser *p, const qg_node **out)
{
    QG_TRY(qg_parse_term(p, true, out));
    while (type(p) == QG_T_POW) {
        uint32_t line = p->tok++->line;
        const qg_node *right;
        QG_TRY(qg_parse_term(p, true, &right));
        QG_TRY(binary(p, QG_T_POW, line, *out, right, out));
    }
    return QG_OK;
}

static qg_status parse_product(qg_parser *p, const qg_node **out)
{
    QG_TRY(parse_pow(p, out));
    for (;;) {
        qg_tok op = type(p);
        if (op != QG_T_MUL && op != QG_T_DIV && op != QG_T_FLOORDIV && op != QG_T_MOD)
            return QG_OK;
        uint32_t line = p->tok++->line;
        const qg_node *right;
        QG_TRY(parse_pow(p, &right));
        QG_TRY(binary(p, op, line, *out, right, out));
    }
}

/* operand (separator operand)*, as one node with many children: long chains stay flat. */
static qg_status parse_chain(qg_parser *p, qg_nkind kind, const char *keyword, qg_tok sep,
                             qg_status (*operand)(qg_parser *, const qg_node **),
                             const qg_node **out)
{
    QG_TRY(operand(p, out));
    qg_node *n = NULL;
    uint32_t cap = 0;
    while (keyword ? qg_parse_is(p, keyword) : type(p) == sep) {
        if (!n) {
            QG_TRY(qg_parse_node(p, kind, p->tok->line, &n));
            QG_TRY(qg_parse_child(p, n, &cap, *out));
        }
        p->tok++;
        QG_TRY(operand(p, out));
        QG_TRY(qg_parse_child(p, n, &cap, *out));
    }
    if (n)
        *out = n;
    return QG_OK;
}

static qg_status parse_concat(qg_parser *p, const qg_node **out)
{
    return parse_chain(p, QG_N_CONCAT, NULL, QG_T_TILDE, parse_product, out);
}

static qg_status parse_sum(qg_parser *p, const qg_node **out)
{
    QG_TRY(parse_chain(p, QG_N_SUM, NULL, QG_T_ADD, parse_concat, out));
    while (type(p) == QG_T_SUB) {
        uint32_t line = p->tok++->line, cap = 0;
        const qg_node *right;
        QG_TRY(parse_concat(p, &right));
        QG_TRY(binary(p, QG_T_SUB, line, *out, right, out));
        if (type(p) != QG_T_ADD)
            continue;
        qg_node *sum; /* a - b + c + d: the difference is the first operand of the sum */
        QG_TRY(qg_parse_node(p, QG_N_SUM, line, &sum));
        QG_TRY(qg_parse_child(p, sum, &cap, *out));
        while (type(p) == QG_T_ADD) {
            p->tok++;
            QG_TRY(parse_concat(p, &right));
            QG_TRY(qg_parse_child(p, sum, &cap, right));
        }
        *out = sum;
    }
    return QG_OK;
}

/* The comparison operator at hand, stepped over; QG_T_END when there is none. */
static qg_tok comparison(qg_parser *p)
{
    qg_tok op = type(p);
    if (op >= QG_T_EQ && op <= QG_T_GE) {
        p->tok++;
        return op;
    }
    if (qg_parse_skip(p, "in"))
        return QG_T_IN;
    if (qg_parse_is(p, "not") && p->tok[1].type == QG_T_NAME && qg_slice_is(p->tok[1].text, "in")) {
        p->tok += 2;
        return QG_T_NOTIN;
    }
    return QG_T_END;
}

static qg_status parse_compare(qg_parser *p, const qg_node **out)
{
    QG_TRY(parse_sum(p, out));
    qg_node *n = NULL;
    uint32_t cap = 0, line = p->tok->line;
    for (qg_tok op; (op = comparison(p)) != QG_T_END;) {
        qg_node *operand;
        if (!n) {
            QG_TRY(qg_parse_node(p, QG_N_COMPARE, line, &n));
            n->a = *out;
        }
        QG_TRY(qg_parse_node(p, QG_N_OPERAND, line, &operand));
        operand->op = op;
        QG_TRY(parse_sum(p, &operand->a));
        QG_TRY(qg_parse_child(p, n, &cap, operand));
    }
    if (n)
        *out = n;
    return QG_OK;
}

static qg_status parse_not(qg_parser *p, const qg_node **out)
{
    uint32_t line = p->tok->line;
    if (!qg_parse_skip(p, "not"))
        return parse_compare(p, out);
    QG_TRY(qg_parse_deeper(p));
    QG_TRY(parse_not(p, out));
    p->depth--;
    return qg_parse_node1(p, QG_N_NOT, line, *out, out);
}

static qg_status parse_and(qg_parser *p, const qg_node **out)
{
    return parse_chain(p, QG_N_AND, "and", QG_T_END, parse_not, out);
}

static qg_status parse_or(qg_parser *p, const qg_node **out)
{
    return parse_chain(p, QG_N_OR, "or", QG_T_END, parse_and, out);
}

qg_status qg_parse_expr(qg_parser *p, const qg_node **out)
{
    QG_TRY(qg_parse_deeper(p));
    QG_TRY(parse_or(p, out));
    while (qg_parse_is(p, "if")) {
        qg_node *n;
        QG_TRY(qg_parse_node(p, QG_N_COND, p->tok++->line, &n));
        n->b = *out;
        QG_TRY(parse_or(p, &n->a));
        if (qg_parse_skip(p, "else"))
            QG_TRY(qg_parse_expr(p, &n->c));
        *out = n;
    }
    p->depth--;
    return QG_OK;
}

/* ---- tuples and targets ---------------------------------------------------------------------- */

static bool tuple_ends(const qg_parser *p)
{
    return type(p) == QG_T_PRINT_END || type(p) == QG_T_BLOCK_END || type(p) == QG_T_RPAREN ||
           type(p) == QG_T_ASSIGN || qg_parse_is(p, "in");
}

static qg_status parse_target_part(qg_parser *p, bool with_ns, const qg_node **out)
{
    if (type(p) == QG_T_LPAREN) {
        QG_TRY(qg_parse_deeper(p));
        p->tok++;
        QG_TRY(qg_parse_target(p, false, out));
        p->depth--;
        return qg_parse_expect(p, QG_T_RPAREN);
    }
    if (type(p) != QG_T_NAME)
        return qg_parse_fail(p, QG_ERR_FORMAT, p->tok->line, "cannot assign to %s",
                             qg_tok_name(type(p)));
    qg_node *n;
    QG_TRY(qg_parse_node(p, QG_N_NAME, p->tok->line, &n));
    qg_slice name = p->tok++->text;
    n->k = qg_v_str(name);
    QG_TRY(qg_parse_name_id(p, name, &n->name));
    *out = n;
    if (with_ns && type(p) == QG_T_DOT) {
        if (p->tok[1].type != QG_T_NAME)
            return qg_parse_fail(p, QG_ERR_FORMAT, n->line, "expected a name behind '.'");
        n->kind = QG_N_NSREF;
        n->k = qg_v_str(p->tok[1].text);
        p->tok += 2;
        return QG_OK;
    }
    static const char *const reserved[] = {"true", "false", "none", "True", "False", "None"};
    for (size_t i = 0; i < QG_COUNT(reserved); i++)
        if (qg_slice_is(name, reserved[i]))
            return qg_parse_fail(p, QG_ERR_FORMAT, n->line, "cannot assign to '%s'", reserved[i]);
    p->assigned[n->name] = true;
    return QG_OK;
}

/* part (, part)*: one part alone is itself, more (or a comma behind one) are a tuple. */
static qg_status parse_parts(qg_parser *p, bool target, bool flag, const qg_node **out)
{
    qg_node *tuple = NULL;
    uint32_t cap = 0, line = p->tok->line;
    for (;;) {
        if (target)
            QG_TRY(parse_target_part(p, flag, out));
        else
            QG_TRY(flag ? parse_or(p, out) : qg_parse_expr(p, out));
        if (type(p) != QG_T_COMMA && !tuple)
            return QG_OK;
        if (!tuple)
            QG_TRY(qg_parse_node(p, QG_N_TUPLE, line, &tuple));
        QG_TRY(qg_parse_child(p, tuple, &cap, *out));
        if (type(p) != QG_T_COMMA)
            break;
        p->tok++;
        if (tuple_ends(p))
            break;
    }
    *out = tuple;
    return QG_OK;
}

qg_status qg_parse_tuple(qg_parser *p, bool if_ends, const qg_node **out)
{
    return parse_parts(p, false, if_ends, out);
}

qg_status qg_parse_target(qg_parser *p, bool with_ns, const qg_node **out)
{
    return parse_parts(p, true, with_ns, out);
}
