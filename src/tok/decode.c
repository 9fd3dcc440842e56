/* Ids -> text, and what is known about single ids. */
#include "tok/tok_parts.h"

#include "base/limits.h"
#include "text/utf8.h"

qg_status qg_tok_decode(const qg_tok *tok, const int32_t *ids, size_t n, bool skip_special,
                        qg_buf *out, qg_err *err)
{
    qg_buf bytes;
    qg_buf_init(&bytes, QG_MAX_TEXT_BYTES);
    size_t n_before = out->n;
    qg_status rc = QG_OK;
    for (size_t i = 0; i < n && rc == QG_OK; i++) {
        if (skip_special && qg_tok_is_special(tok, ids[i]))
            continue;
        qg_slice token = qg_vocab_bytes(&tok->vocab, ids[i]);
        rc = qg_buf_add(&bytes, token.p, token.n);
    }
    if (rc == QG_OK)
        rc = qg_utf8_lossy(qg_buf_slice(&bytes), out);
    qg_buf_free(&bytes);
    if (rc == QG_OK)
        return QG_OK;
    if (out->n > n_before) {
        out->n = n_before;
        out->p[n_before] = 0;
    }
    return qg_fail(err, rc,
                   rc == QG_ERR_NOMEM ? "out of memory for the text of %zu tokens"
                                      : "the text of %zu tokens is too long",
                   n);
}

qg_slice qg_tok_bytes(const qg_tok *tok, int32_t id)
{
    return qg_vocab_bytes(&tok->vocab, id);
}

int32_t qg_tok_added_id(const qg_tok *tok, qg_slice spelling)
{
    return qg_added_id(&tok->added, spelling);
}

bool qg_tok_is_special(const qg_tok *tok, int32_t id)
{
    return qg_vocab_flags(&tok->vocab, id) & QG_TOKEN_SPECIAL;
}

int32_t qg_tok_n_ids(const qg_tok *tok)
{
    return tok->vocab.n_ids;
}
