/* The pre-tokenizer: cuts text into the pieces that byte pairs never cross. */
#ifndef QG_TOK_PRETOK_H
#define QG_TOK_PRETOK_H

#include "base/slice.h"

/* The expression of Qwen2 and Qwen3, the one that is supported. */
extern const char *const qg_pretok_pattern;

/* End of the piece that begins at `at` < text.n, where a piece must begin: greater than at, at most
 * text.n.  text is valid UTF-8 in NFC.
 *
 * It depends on the bytes from at on alone, never on what stands before.  Going through a text
 * costs linear time: no byte is looked at more than four times, whatever the text.
 *
 * For an incremental encoder: when text grows, an end < text.n stays where it is, but for one case:
 * a piece of white space with a line break, when only white space follows it. */
size_t qg_pretok_next(qg_slice text, size_t at);

/* What a piece consists of where more text may still come to it. */
typedef enum qg_piece_kind {
    QG_PIECE_FRESH, /* not inside a piece: one begins here */
    QG_PIECE_LETTERS,
    QG_PIECE_MARKS,  /* punctuation, then line breaks */
    QG_PIECE_BREAKS, /* the line breaks behind punctuation */
    QG_PIECE_BLANKS, /* white space without a line break so far */
    QG_PIECE_LINES,  /* white space with one */
} qg_piece_kind;

typedef struct qg_pretok_piece {
    size_t end;         /* if text ended here */
    bool open;          /* text to come may move end */
    qg_piece_kind kind; /* of an open one; FRESH: too short to tell, not to be cut inside */
    size_t sure; /* of an open one that may be cut: up to here its bytes are its own, whatever
                    comes */
    size_t last; /* LINES: where the last code point of the white space behind begins */
} qg_pretok_piece;

/* The piece that begins at `at` < text.n (kind FRESH), or of which a part before text[at] was taken
 * away (the kind that qg_pretok_kind gave there; then end may be at). */
qg_pretok_piece qg_pretok_look(qg_slice text, size_t at, qg_piece_kind kind);
/* The kind behind a cut inside an open piece, at < cut <= sure. */
qg_piece_kind qg_pretok_kind(qg_slice text, size_t cut, qg_piece_kind kind);

#endif
