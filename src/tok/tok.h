/* tokenizer.json -> vocabulary, pre-tokenizer, byte-level BPE; text -> ids -> text. */
#ifndef QG_TOK_TOK_H
#define QG_TOK_TOK_H

#include "base/buf.h"

typedef struct qg_tok qg_tok; /* immutable once open; any number of threads may use it */

/* Reads a tokenizer.json (its bytes are not needed afterwards); on failure *out is NULL and the
 * sentence begins with "tokenizer.json: ".  A component, pattern or option that is not supported
 * is refused by name: QG_ERR_UNSUPPORTED; damaged input: QG_ERR_FORMAT.
 * Bounds: ids below QG_MAX_TOKENIZER_IDS, each token at most QG_MAX_TOKEN_BYTES. */
qg_status qg_tok_open(qg_tok **out, qg_slice json, qg_err *err);
void qg_tok_close(qg_tok *tok);

/* Appends the ids of text to ids.  parse_added: spellings of added tokens become those tokens, as
 * in the reference; otherwise they are ordinary text.  Invalid UTF-8: QG_ERR_ARG, with the byte
 * offset. On failure ids keeps what it had.  Linear in text.n up to a logarithm, whatever the text.
 */
qg_status qg_tok_encode(const qg_tok *tok, qg_slice text, bool parse_added, qg_ids *ids,
                        qg_err *err);

/* The same for a rendered text whose runs are marked (spans cover it, rising ends): added tokens
 * match only where every byte of the spelling came from the template (input == false); each run of
 * text between two such tokens is encoded in one piece.  Added tokens marked "normalized" are
 * looked for in the text as it is, like the others.  Spans that do not cover text: QG_ERR_ARG. */
qg_status qg_tok_encode_spans(const qg_tok *tok, qg_slice text, const qg_span *spans,
                              size_t n_spans, qg_ids *ids, qg_err *err);

/* Appends the text of ids to out: bytes that do not form UTF-8 become U+FFFD as the reference does
 * it; ids without a token give nothing; skip_special leaves out tokens marked special. */
qg_status qg_tok_decode(const qg_tok *tok, const int32_t *ids, size_t n, bool skip_special,
                        qg_buf *out, qg_err *err);

/* Raw bytes of one token (byte-level tokens may be broken UTF-8); empty slice for an unknown id. */
qg_slice qg_tok_bytes(const qg_tok *tok, int32_t id);
/* Id of an added token by its exact spelling, or -1. */
int32_t qg_tok_added_id(const qg_tok *tok, qg_slice spelling);
bool qg_tok_is_special(const qg_tok *tok, int32_t id);
/* One more than the largest id (added tokens included). */
int32_t qg_tok_n_ids(const qg_tok *tok);

#endif
