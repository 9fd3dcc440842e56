/* The tree of a template.  Private to the room; immutable after parsing. */
#ifndef QG_TMPL_AST_H
#define QG_TMPL_AST_H

#include "base/arena.h"
#include "tmpl/lex.h"
#include "tmpl/tmpl.h"
#include "tmpl/value.h"

typedef enum qg_nkind {
    /* statements                 a            b            c         v                         */
    QG_N_BODY,     /*                                                 statements                */
    QG_N_TEXT,     /*                                                           (k: the text)   */
    QG_N_OUTPUT,   /*             expression                                                    */
    QG_N_IF,       /*                                                 test, body, …, [else]     */
    QG_N_FOR,      /*             target       iterable     [filter]  body, else or NULL        */
    QG_N_SET,      /*             target       value                                            */
    QG_N_SETBLOCK, /*             target       [filters]    body                                */
    QG_N_FILTERED, /*                          filters      body                                */
    QG_N_WITH,     /*                                       body      target, value, …          */
    QG_N_MACRO,    /*                                       body      PARAMs        (name)      */
    QG_N_PARAM,    /*             [default]                                         (name)      */
    QG_N_BREAK,
    QG_N_CONTINUE,
    /* expressions */
    QG_N_CONST,   /*                                                            (k)             */
    QG_N_NAME,    /*                                                            (name, k)       */
    QG_N_NSREF,   /* target only: namespace attribute               (name of it; k: attribute)  */
    QG_N_LIST,    /*                                                  elements                  */
    QG_N_TUPLE,   /*                                                  elements                  */
    QG_N_DICT,    /*                                                  key, value, …             */
    QG_N_ATTR,    /*              object                                        (k)             */
    QG_N_ITEM,    /*              object       key                                              */
    QG_N_SLICE,   /*              object                              3 bounds or NULL          */
    QG_N_CALL,    /*              callee                              arguments, then KEYWORDs  */
    QG_N_KEYWORD, /*              value                                         (k)             */
    QG_N_FILTER,  /*              subject                             arguments (builtin)       */
    QG_N_TEST,    /*              subject                             arguments (builtin)       */
    QG_N_COND,    /*              test         then         [else]                              */
    QG_N_AND,     /*                                                  operands                  */
    QG_N_OR,      /*                                                  operands                  */
    QG_N_NOT,     /*              operand                                                       */
    QG_N_COMPARE, /*              first                               OPERANDs                  */
    QG_N_OPERAND, /*              right side                                    (op)            */
    QG_N_BINARY,  /*              left         right                            (op)            */
    QG_N_SUM,     /*                                                  operands of +, in order   */
    QG_N_CONCAT,  /*                                                  operands of ~             */
    QG_N_NEG,     /*              operand                                                       */
    QG_N_POS,     /*              operand                                                       */
    QG_N_HOLE,    /* the text that a filter block caught                                        */
} qg_nkind;

typedef struct qg_node qg_node;
struct qg_node {
    uint8_t kind;  /* qg_nkind */
    uint8_t op;    /* qg_tok of an operator */
    uint32_t line; /* from 1 */
    uint32_t name; /* index into tmpl->names */
    uint32_t n;    /* of v */
    const qg_node *a, *b, *c;
    const qg_node **v;
    const struct qg_builtin *builtin;
    qg_val k;
};

struct qg_tmpl {
    qg_arena arena; /* holds source, names and tree */
    const qg_slice *names;
    uint32_t n_names;
    uint32_t loop_name; /* index of "loop" */
    const qg_node *body;
};

typedef struct qg_parser {
    qg_tmpl *tmpl;
    qg_arena *arena; /* of tmpl */
    qg_err *err;
    const qg_lexeme *tok; /* the one at hand; ends with QG_T_END */
    uint32_t depth;
    uint32_t loops; /* for statements around, inside the innermost macro */
    qg_slice *names;
    uint32_t n_names;
    bool *assigned;         /* [QG_MAX_TMPL_NAMES] some statement gives this name a value */
    const qg_node **called; /* names that are called, to be checked at the end */
    uint32_t n_called, cap_called;
} qg_parser;

/* ---- shared by the two halves of the parser -------------------------------------------------- */

qg_status qg_parse_fail(const qg_parser *p, qg_status rc, uint32_t line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
qg_status qg_parse_node(qg_parser *p, qg_nkind kind, uint32_t line, qg_node **out);
/* The same with n->a set. */
qg_status qg_parse_node1(qg_parser *p, qg_nkind kind, uint32_t line, const qg_node *a,
                         const qg_node **out);
/* Appends to n->v; *cap is kept by the caller, 0 at first. */
qg_status qg_parse_child(qg_parser *p, qg_node *n, uint32_t *cap, const qg_node *child);
qg_status qg_parse_name_id(qg_parser *p, qg_slice name, uint32_t *out);
bool qg_parse_is(const qg_parser *p, const char *keyword);
bool qg_parse_skip(qg_parser *p, const char *keyword);
qg_status qg_parse_expect(qg_parser *p, qg_tok type);

/* Brackets and blocks inside each other use the C stack: counts them in p->depth, which the caller
 * takes back. */
qg_status qg_parse_deeper(qg_parser *p);

qg_status qg_parse_body(qg_parser *p); /* the whole template, into tmpl->body */
qg_status qg_parse_expr(qg_parser *p, const qg_node **out);
/* An operand: a primary with all that follows it; signs in front. */
qg_status qg_parse_term(qg_parser *p, bool with_filters, const qg_node **out);
/* One expression, or a tuple without brackets; if_ends: no "x if y" here (it belongs to for). */
qg_status qg_parse_tuple(qg_parser *p, bool if_ends, const qg_node **out);
/* Left side of set and for: names, or tuples of them; with_ns: also ns.attr. */
qg_status qg_parse_target(qg_parser *p, bool with_ns, const qg_node **out);
/* "name(args) | name …" applied to subject; the first name stands at hand. */
qg_status qg_parse_filters(qg_parser *p, const qg_node *subject, const qg_node **out);

#endif
