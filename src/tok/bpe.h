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
    uint64_t *there; /* a bit for each hash of a pair that is listed */
    uint32_t *low;   /* [256][256] ranks of pairs of ids below 256, where byte tokens usually are */
    int32_t *chars;  /* [QG_BPE_CHARS] by code point: its token, or -1; NULL: not known */
} qg_bpe;

enum { QG_BPE_CHARS = 0x10000 };

/* Builds the table; of a pair listed twice the last place counts, as in the reference.
 * pairs [n]; n and all ids below QG_MAX_TOKENIZER_IDS are trusted.  On failure bpe is empty. */
qg_status qg_bpe_init(qg_bpe *bpe, const qg_bpe_pair *pairs, size_t n);
void qg_bpe_free(qg_bpe *bpe);

/* Finds the characters whose bytes are always joined to one token first, whatever stands beside
 * them: encoding may then begin with characters instead of bytes, three times less work for
 * Chinese, and gives the same tokens.  pairs [n] as in qg_bpe_init; vocab must be indexed.  Without
 * this call, or when the merges do not have the order that it takes, encoding begins with bytes.
 * QG_ERR_NOMEM. */
qg_status qg_bpe_find_chars(qg_bpe *bpe, const qg_vocab *vocab, const qg_bpe_pair *pairs, size_t n);

/* Appends the tokens of piece to out.  Every byte of it must have a token of its own in vocab
 * (qg_tok_open sees to that for bytes of valid UTF-8).  piece need not be UTF-8.  piece.n < 2^32.
 * Time n log n; pieces longer than 256 bytes take 32 bytes of memory for each of theirs while this
 * runs. */
qg_status qg_bpe_encode(const qg_bpe *bpe, const qg_vocab *vocab, qg_slice piece, qg_ids *out)
    __attribute__((warn_unused_result));

#endif
