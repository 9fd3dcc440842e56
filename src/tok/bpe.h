/* Byte pair merging: the bytes of one piece become tokens, always joining the adjacent pair of the
 * lowest rank, the leftmost first among equals, until no adjacent pair has a rank. */
#ifndef QG_TOK_BPE_H
#define QG_TOK_BPE_H

#include "base/buf.h"
#include "tok/vocab.h"

/* Two tokens that may be joined; its rank is its place in the list of merges. */
typedef struct qg_bpe_pair {
    int32_t left, right, joined;
} qg_bpe_pair;

typedef struct qg_bpe {
    uint64_t *slots; /* [n_slots], a power of two: left, right and rank in one word, see bpe.c */
    size_t n_slots;
    int32_t *joined; /* [n_pairs] by rank */
} qg_bpe;

/* Builds the table; of a pair listed twice the last place counts, as in the reference.
 * pairs [n]; n and all ids below QG_MAX_TOKENIZER_IDS are trusted.  On failure bpe is empty. */
qg_status qg_bpe_init(qg_bpe *bpe, const qg_bpe_pair *pairs, size_t n);
void qg_bpe_free(qg_bpe *bpe);

/* Appends the tokens of piece to out.  Every byte of it must have a token of its own in vocab
 * (qg_tok_open sees to that for bytes of valid UTF-8).  piece.n < 2^32.  Time n log n; pieces
 * longer than 256 bytes take 32 bytes of memory for each of theirs while this runs. */
qg_status qg_bpe_encode(const qg_bpe *bpe, const qg_vocab *vocab, qg_slice piece, qg_ids *out)
    __attribute__((warn_unused_result));

#endif
