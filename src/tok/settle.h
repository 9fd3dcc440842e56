/* Which tokens of a piece stay whatever text comes behind it.
 *
 * Byte pair merging has this property, whatever the merges: the tokens of a text, up to any place
 * where one of them ends, are the tokens of the text up to there, since no merge ever crossed that
 * place; and the tokens behind it are those of the rest.  So let w be a piece so far and w x what
 * it becomes.  Of the tokens of w x the last one that ends within w ends at some b: either at the
 * end of w, or the next token begins with the bytes w[b..] and is longer.  The tokens of w x
 * therefore begin with those of w[..b], for one of the few b where w[b..] begins a longer token;
 * and what the tokens of all these w[..b] have in common is settled.
 *
 * In running text the places lie a few characters from the end and their tokens meet at once: one
 * or two tokens stay open. */
#ifndef QG_TOK_SETTLE_H
#define QG_TOK_SETTLE_H

#include "base/buf.h"
#include "tok/vocab.h"

struct qg_tok;

/* The byte strings that a longer token begins with, as bits of their hashes: one in eight others
 * seems to be one, too, which costs a look and changes nothing. */
typedef struct qg_begins {
    uint64_t *bits;
    unsigned shift; /* of a hash */
} qg_begins;

/* QG_ERR_NOMEM. */
qg_status qg_begins_init(qg_begins *begins, const qg_vocab *vocab);
void qg_begins_free(qg_begins *begins);

/* Appends the tokens that every continuation of piece begins with; piece as in
 * qg_tok_encode_piece, without having to end.  Time: that of encoding piece once for each b. */
qg_status qg_tok_settled(const struct qg_tok *tok, qg_slice piece, qg_ids *ids);

#endif
