/* Text that arrives in pieces -> ids, without waiting for its end.
 *
 *   bytes so far:   stable text | tail
 *   ids so far:     stable ids  | provisional ids
 *
 * The tail is the part whose ids more text could still change: a character that is not whole, what
 * normalisation could join, and of the pre-tokenizer's last piece the tokens that are not settled
 * (settle.h): one or two, however long the piece is.  Stable ids never change: whatever the pieces,
 * stable ids in order are in the end exactly those of the whole text.
 *
 * One tail has no end by nature: marks behind one character, since a mark to come may have to stand
 * in front of them all.  So a tail is shown by its first QG_INC_SHOWN bytes alone, and once it is
 * longer than QG_INC_SHORT a place to cut is looked for when it has grown by an eighth, or when
 * something else than a blank or a mark has come: a push costs the new bytes, amortised.
 *
 * Contents only: spellings of added tokens stay text.  One thread at a time per encoder. */
#ifndef QG_TOK_INCREMENTAL_H
#define QG_TOK_INCREMENTAL_H

#include "tok/pretok.h"
#include "tok/tok.h"

enum { QG_INC_SHORT = 256, QG_INC_SHOWN = 512 };

typedef struct qg_inc {
    const qg_tok *tok;
    qg_buf tail;        /* raw bytes behind the stable text */
    qg_piece_kind kind; /* of the piece that the tail begins in the middle of; FRESH: in none */
    size_t max_tail;
    size_t tried; /* bytes of the tail when it was last looked through */
} qg_inc;

/* Allocates nothing.  max_tail: most bytes that may be left without a place to cut. */
void qg_inc_init(qg_inc *inc, const qg_tok *tok, size_t max_tail);
void qg_inc_free(qg_inc *inc);
/* Forgets the text: ready for another one. */
void qg_inc_reset(qg_inc *inc);

/* Takes the next bytes, cut anywhere, also inside a character.  Appends to stable what became
 * stable and replaces provisional by the ids of what is shown of the tail, as if the text ended
 * there (without an unfinished character at its very end). QG_ERR_ARG: the bytes cannot be UTF-8,
 * QG_ERR_TOO_LONG: the tail's ceiling, QG_ERR_NOMEM; then nothing was taken. */
qg_status qg_inc_push(qg_inc *inc, qg_slice bytes, qg_ids *stable, qg_ids *provisional,
                      qg_err *err);

/* The beginning of the tail that provisional ids are of. */
qg_slice qg_inc_shown(const qg_inc *inc);

/* The text ends: the tail's ids become stable (an unfinished character reads as U+FFFD).  The
 * encoder is empty and ready for another text.  After a failure stable has what it had. */
qg_status qg_inc_finish(qg_inc *inc, qg_ids *stable, qg_err *err);
/* The same for rest, UTF-8, in place of the tail: the tail as above and what ends the text. */
qg_status qg_inc_finish_as(qg_inc *inc, qg_slice rest, qg_ids *stable, qg_err *err);

#endif
