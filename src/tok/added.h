/* Added tokens: found in text by their exact spelling, before anything else happens to it. */
#ifndef QG_TOK_ADDED_H
#define QG_TOK_ADDED_H

#include "base/buf.h"

enum {
    QG_ADDED_RAW = 1u << 0,        /* looked for in the text as it is */
    QG_ADDED_NORMALIZED = 1u << 1, /* looked for once the rest has been normalised */
    QG_ADDED_ALL = 3u,
};

typedef struct qg_added_token {
    qg_slice spelling; /* in qg_added.bytes; never empty */
    int32_t id;
    unsigned kind;
} qg_added_token;

typedef struct qg_added {
    qg_added_token *token; /* [n], rising by spelling */
    size_t n;
    char *bytes;
    unsigned kinds;      /* all that occur */
    uint8_t starts[256]; /* kinds of the tokens that begin with a byte */
    int only_start;      /* the byte all begin with, or -1 */
} qg_added;

/* Copies tokens [n], in any order, with valid UTF-8 spellings.  Two with one spelling:
 * QG_ERR_FORMAT. */
qg_status qg_added_init(qg_added *added, const qg_added_token *tokens, size_t n, qg_err *err);
void qg_added_free(qg_added *added);

/* Id of a spelling, or -1. */
int32_t qg_added_id(const qg_added *added, qg_slice spelling);

/* The leftmost token of these kinds in text from `from` on, the longest one where several begin:
 * true, with its place.  Time: at most text.n times the longest spelling. */
bool qg_added_find(const qg_added *added, qg_slice text, size_t from, unsigned kinds, size_t *at,
                   const qg_added_token **found);

#endif
