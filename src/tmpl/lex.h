/* Template text -> tokens.  Private to the room. */
#ifndef QG_TMPL_LEX_H
#define QG_TMPL_LEX_H

#include "base/arena.h"
#include "base/slice.h"

#include <stdint.h>

typedef enum qg_tok {
    QG_T_END,
    QG_T_TEXT,        /* outside of tags, whitespace control applied */
    QG_T_BLOCK_BEGIN, /* {% */
    QG_T_BLOCK_END,
    QG_T_PRINT_BEGIN, /* {{ */
    QG_T_PRINT_END,
    QG_T_NAME,
    QG_T_STRING, /* text: escapes resolved */
    QG_T_INT,
    QG_T_FLOAT,
    QG_T_ADD,
    QG_T_SUB,
    QG_T_MUL,
    QG_T_DIV,
    QG_T_FLOORDIV,
    QG_T_MOD,
    QG_T_POW,
    QG_T_TILDE,
    QG_T_EQ,
    QG_T_NE,
    QG_T_LT,
    QG_T_LE,
    QG_T_GT,
    QG_T_GE,
    QG_T_IN,    /* made by the parser out of names */
    QG_T_NOTIN, /* likewise */
    QG_T_ASSIGN,
    QG_T_DOT,
    QG_T_COMMA,
    QG_T_COLON,
    QG_T_SEMICOLON,
    QG_T_PIPE,
    QG_T_LPAREN,
    QG_T_RPAREN,
    QG_T_LBRACKET,
    QG_T_RBRACKET,
    QG_T_LBRACE,
    QG_T_RBRACE,
} qg_tok;

typedef struct qg_lexeme {
    uint8_t type; /* qg_tok */
    uint32_t line;
    qg_slice text;
    union {
        int64_t i;
        double f;
    };
} qg_lexeme;

/* Splits source, whose text must outlive the tokens, into *out, which ends with QG_T_END.  Memory
 * comes from arena.  QG_ERR_FORMAT with the line for what is no token. */
qg_status qg_lex(qg_arena *arena, qg_slice source, qg_lexeme **out, qg_err *err);
/* What to call a token in a sentence. */
const char *qg_tok_name(qg_tok type);

#endif
