/* What is behind qg_tok (private to the room). */
#ifndef QG_TOK_TOK_PARTS_H
#define QG_TOK_TOK_PARTS_H

#include "text/json.h"
#include "tok/added.h"
#include "tok/bpe.h"
#include "tok/settle.h"
#include "tok/tok.h"
#include "tok/vocab.h"

struct qg_tok {
    qg_vocab vocab;
    qg_bpe bpe;
    qg_begins begins;
    qg_added added;
    bool nfc; /* the text between added tokens is normalised first */
};

/* Checks everything in a tokenizer.json but vocabulary, merges and added tokens against what this
 * room does, and refuses the rest by name.  *nfc: the normalizer is NFC, not null. */
qg_status qg_tok_check_components(const json_t *root, bool *nfc, qg_err *err);

/* Appends the ids of one piece of the pre-tokenizer (normalised text, no added token in it). */
qg_status qg_tok_encode_piece(const qg_tok *tok, qg_slice piece, qg_ids *ids);

/* Byte that a character of the byte alphabet stands for, or -1. */
int qg_tok_alphabet_byte(uint32_t cp);

#endif
