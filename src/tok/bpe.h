/* Byte pair merging: the bytes of one piece become tokens, always joining the adjacent pair of the
 * lowest rank, the leftmost first among equals, until no adjacent pair has a rank. */
#ifndef QG_TOK_BPE_H
#define QG_TOK_BPE_H

#include "base/buf.h"
#include "tok/vocab.h"

#define QG_BPE_NO_RANK UINT32_MAX

/* Two tokens that may be joined; its rank is its place in the list of merges. */
typedef struct qg_bpe_pair {
    int32_t left, right, joined;
} qg_bpe_pair;

typedef struct qg_bpe_slot {
    uint64_t key; /* left << 32 | right; UINT64_MAX: free */
    uint32_t rank;
    int32_t joined;
} qg_bpe_slot;

typedef struct qg_bpe {
    qg_bpe_slot *slots; /* [n_slots], a power of two */
    size_t n_slots;
} qg_bpe;

/* Builds the table; of a pair listed twice the last place counts, as in the reference.
 * pairs [n], n <= QG_MAX_TOKENIZER_IDS; ids are trusted. */
qg_status qg_bpe_init(qg_bpe *bpe, const qg_bpe_pair *pairs, size_t n);
void qg_bpe_free(qg_bpe *bpe);

/* Appends the tokens of piece to out.  Every byte of it must have a token of its own in vocab
 * (qg_tok_open sees to that for bytes of valid UTF-8).  piece.n < 2^32.  Time n log n; long pieces
 * take up to 40 bytes of memory for each of theirs while this runs. */
qg_status qg_bpe_encode(const qg_bpe *bpe, const qg_vocab *vocab, qg_slice piece, qg_ids *out)
    __attribute__((warn_unused_result));

#endif
