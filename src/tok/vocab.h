/* Tokens as bytes: by id and by spelling.  Built once by the loader, read by everybody. */
#ifndef QG_TOK_VOCAB_H
#define QG_TOK_VOCAB_H

#include "base/slice.h"
#include "base/status.h"

#include <stdint.h>

enum {
    QG_TOKEN_PRESENT = 1u << 0,
    QG_TOKEN_PAIRED = 1u << 1,  /* spelt in the byte alphabet: byte pairs can make it */
    QG_TOKEN_WHOLE = 1u << 2,   /* byte pairs do turn its bytes into this one token */
    QG_TOKEN_ADDED = 1u << 3,   /* listed in added_tokens */
    QG_TOKEN_SPECIAL = 1u << 4, /* and marked special there */
};

typedef struct qg_vocab_token {
    uint32_t at; /* in bytes */
    uint16_t n;
    uint16_t flags; /* QG_TOKEN_* */
} qg_vocab_token;

typedef struct qg_vocab_slot {
    uint32_t tag; /* upper half of the hash */
    int32_t id;   /* -1: free */
} qg_vocab_slot;

typedef struct qg_vocab {
    qg_vocab_token *token; /* [n_ids] */
    int32_t n_ids;
    char *bytes; /* [n_bytes] of all tokens, one behind the other */
    size_t n_bytes, cap_bytes;
    qg_vocab_slot *slots; /* [n_slots], a power of two: tokens by their bytes, PAIRED and others */
    size_t n_slots;
    size_t longest;       /* bytes of the longest PAIRED token */
    int32_t byte_id[256]; /* token of one byte, or -1 */
} qg_vocab;

/* Room for ids in [0, n_ids) and n_bytes of spelling; more bytes may be added later.  On failure
 * vocab is empty.  n_ids <= QG_MAX_TOKENIZER_IDS. */
qg_status qg_vocab_init(qg_vocab *vocab, int32_t n_ids, size_t n_bytes);
void qg_vocab_free(qg_vocab *vocab);

/* Sets the token of a free id in [0, n_ids).  bytes.n <= QG_MAX_TOKEN_BYTES. */
qg_status qg_vocab_set(qg_vocab *vocab, int32_t id, qg_slice bytes, unsigned flags);

/* Makes the tokens that are there by now findable.  QG_ERR_FORMAT when two PAIRED ones, or two
 * others, have the same bytes. */
qg_status qg_vocab_index(qg_vocab *vocab, qg_err *err);

/* Id of the PAIRED token with these bytes, or -1. */
int32_t qg_vocab_find(const qg_vocab *vocab, qg_slice bytes);

/* The same, of the tokens that are PAIRED or of the others. */
int32_t qg_vocab_find_as(const qg_vocab *vocab, qg_slice bytes, bool paired);

/* Bytes of an id, the empty slice when it has no token (any id may be asked). */
qg_slice qg_vocab_bytes(const qg_vocab *vocab, int32_t id);

/* Flags of an id, 0 when it has no token. */
unsigned qg_vocab_flags(const qg_vocab *vocab, int32_t id);

#endif
