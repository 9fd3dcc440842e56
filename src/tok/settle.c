#include "tok/settle.h"

#include "base/mem.h"
#include "tok/tok_parts.h"

/* The hash of a string is that of the string without its last byte, taken on. */
static inline uint64_t taken_on(uint64_t h, uint8_t byte)
{
    return (h + byte + 1) * 0x9E3779B97F4A7C15u ^ h >> 29;
}

static inline uint64_t bit_of(const qg_begins *b, uint64_t h)
{
    return h * 0xD6E8FEB86659FD93u >> b->shift;
}

qg_status qg_begins_init(qg_begins *b, const qg_vocab *vocab)
{
    size_t n = 0;
    unsigned log2 = 10;
    for (int32_t id = 0; id < vocab->n_ids; id++)
        if (vocab->token[id].flags & QG_TOKEN_PAIRED)
            n += vocab->token[id].n;
    while (log2 < 30 && (size_t)1 << log2 < 8 * n)
        log2++;
    *b = (qg_begins){.bits = qg_calloc((size_t)1 << (log2 - 6), sizeof *b->bits),
                     .shift = 64 - log2};
    if (!b->bits)
        return QG_ERR_NOMEM;
    for (int32_t id = 0; id < vocab->n_ids; id++) {
        if (!(vocab->token[id].flags & QG_TOKEN_PAIRED))
            continue;
        const qg_slice bytes = qg_vocab_bytes(vocab, id);
        uint64_t h = 0;
        for (size_t i = 0; i + 1 < bytes.n; i++) {
            h = taken_on(h, (uint8_t)bytes.p[i]);
            uint64_t bit = bit_of(b, h);
            b->bits[bit >> 6] |= (uint64_t)1 << (bit & 63);
        }
    }
    return QG_OK;
}

void qg_begins_free(qg_begins *b)
{
    qg_mfree(b->bits);
    b->bits = NULL;
}

/* Whether a token may be longer than text and begin with it. */
static bool begins_longer(const qg_begins *b, qg_slice text)
{
    uint64_t h = 0;
    for (size_t i = 0; i < text.n; i++) {
        h = taken_on(h, (uint8_t)text.p[i]);
        uint64_t bit = bit_of(b, h);
        if (!(b->bits[bit >> 6] >> (bit & 63) & 1))
            return false; /* nor does one begin with any longer string that begins so */
    }
    return true;
}

/* Of ids [n] the first `keep` are common so far; how many are with the tokens of text as well. */
static qg_status common(const qg_tok *tok, qg_slice text, const int32_t *ids, qg_ids *room,
                        size_t *keep)
{
    size_t end = 0, n = 0;
    while (n < *keep && end < text.n)
        end += qg_vocab_bytes(&tok->vocab, ids[n++]).n;
    if (end == text.n) { /* a token ends there: its beginning is the same */
        *keep = n;
        return QG_OK;
    }
    room->n = 0;
    QG_TRY(qg_tok_encode_piece(tok, text, room));
    for (n = 0; n < *keep && n < room->n && room->p[n] == ids[n];)
        n++;
    *keep = n;
    return QG_OK;
}

qg_status qg_tok_settled(const qg_tok *tok, qg_slice piece, qg_ids *ids)
{
    qg_ids room = {0};
    size_t before = ids->n;
    qg_status rc = qg_tok_encode_piece(tok, piece, ids);
    size_t keep = ids->n - before, reach = tok->vocab.longest;

    if (!keep || rc != QG_OK)
        return rc;
    if (piece.n < reach && begins_longer(&tok->begins, piece))
        keep = 0; /* one token may take it all */
    /* The shortest first: where there are many (of blanks every length is a token) they leave
     * nothing, and the others need no look. */
    for (size_t k = piece.n < reach ? piece.n - 1 : reach - 1; k && keep && rc == QG_OK; k--)
        if (begins_longer(&tok->begins, qg_slice_of(piece.p + piece.n - k, k)))
            rc = common(tok, qg_slice_of(piece.p, piece.n - k), ids->p + before, &room, &keep);
    ids->n = before + (rc == QG_OK ? keep : 0);
    qg_ids_free(&room);
    return rc;
}
