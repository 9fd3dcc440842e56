/* Text -> ids: added tokens first, then NFC of what lies between them, then pieces, then merges. */
#include "tok/tok_parts.h"

#include "base/limits.h"
#include "text/nfc.h"
#include "text/utf8.h"
#include "tok/pretok.h"

qg_status qg_tok_encode_piece(const qg_tok *tok, qg_slice piece, qg_ids *ids)
{
    int32_t id = qg_vocab_find(&tok->vocab, piece);
    if (id >= 0 && (tok->vocab.token[id].flags & QG_TOKEN_WHOLE))
        return qg_ids_push(ids, id);
    return qg_bpe_encode(&tok->bpe, &tok->vocab, piece, ids);
}

/* text is valid UTF-8, normalised if the tokenizer asks for it, and holds no added token. */
static qg_status encode_pieces(const qg_tok *tok, qg_slice text, qg_ids *ids)
{
    for (size_t at = 0; at < text.n;) {
        size_t end = qg_pretok_next(text, at);
        QG_TRY(qg_tok_encode_piece(tok, qg_slice_of(text.p + at, end - at), ids));
        at = end;
    }
    return QG_OK;
}

/* The second look for added tokens, in the normalised text. */
static qg_status encode_normalised(const qg_tok *tok, qg_slice text, bool parse_added, qg_ids *ids)
{
    size_t start = 0;
    size_t at;
    const qg_added_token *found;
    while (parse_added &&
           qg_added_find(&tok->added, text, start, QG_ADDED_NORMALIZED, &at, &found)) {
        QG_TRY(encode_pieces(tok, qg_slice_of(text.p + start, at - start), ids));
        QG_TRY(qg_ids_push(ids, found->id));
        start = at + found->spelling.n;
    }
    return encode_pieces(tok, qg_slice_of(text.p + start, text.n - start), ids);
}

static qg_status encode_between(const qg_tok *tok, qg_slice text, bool parse_added, qg_ids *ids)
{
    if (!tok->nfc || qg_nfc_stable_prefix(text) == text.n)
        return encode_normalised(tok, text, parse_added, ids);
    qg_buf normal;
    qg_buf_init(&normal, 3 * text.n);
    qg_status rc = qg_nfc(text, &normal);
    if (rc == QG_OK)
        rc = encode_normalised(tok, qg_buf_slice(&normal), parse_added, ids);
    qg_buf_free(&normal);
    return rc;
}

/* Where the run of spans that begins at *span and has the same owner ends; *span moves behind it.
 */
static size_t owner_end(const qg_span *spans, size_t n_spans, size_t *span)
{
    bool input = spans[*span].input;
    size_t end = spans[*span].end;
    while (++*span < n_spans && spans[*span].input == input)
        end = spans[*span].end;
    return end;
}

/* Cuts text at the added tokens of these kinds that lie within the template's own bytes. */
static qg_status encode_all(const qg_tok *tok, qg_slice text, const qg_span *spans, size_t n_spans,
                            unsigned kinds, bool second_look, qg_ids *ids)
{
    size_t start = 0; /* behind the last added token */
    size_t from = 0;
    for (size_t span = 0; span < n_spans;) {
        bool input = spans[span].input;
        size_t end = owner_end(spans, n_spans, &span);
        size_t at;
        const qg_added_token *found;
        while (!input &&
               qg_added_find(&tok->added, qg_slice_of(text.p, end), from, kinds, &at, &found)) {
            QG_TRY(encode_between(tok, qg_slice_of(text.p + start, at - start), second_look, ids));
            QG_TRY(qg_ids_push(ids, found->id));
            start = from = at + found->spelling.n;
        }
        from = end;
    }
    return encode_between(tok, qg_slice_of(text.p + start, text.n - start), second_look, ids);
}

static qg_status check_text(qg_slice text, qg_err *err)
{
    if (text.n > QG_MAX_TEXT_BYTES)
        return qg_fail(err, QG_ERR_TOO_LONG, "text of %zu bytes, more than %u", text.n,
                       QG_MAX_TEXT_BYTES);
    size_t good = qg_utf8_valid_prefix(text);
    if (good < text.n)
        return qg_fail(err, QG_ERR_ARG, "text is not UTF-8 at byte %zu", good);
    return QG_OK;
}

static qg_status finish(qg_status rc, qg_ids *ids, size_t n_before, qg_err *err)
{
    if (rc == QG_OK)
        return QG_OK;
    ids->n = n_before;
    if (rc == QG_ERR_TOO_LONG)
        return qg_fail(err, rc, "text of more than %u tokens", QG_MAX_IDS);
    return qg_fail(err, rc, "out of memory for tokens");
}

qg_status qg_tok_encode(const qg_tok *tok, qg_slice text, bool parse_added, qg_ids *ids,
                        qg_err *err)
{
    QG_TRY(check_text(text, err));
    size_t n = ids->n;
    qg_span all = {.end = text.n, .input = !parse_added};
    qg_status rc = encode_all(tok, text, &all, 1, QG_ADDED_RAW, parse_added, ids);
    return finish(rc, ids, n, err);
}

qg_status qg_tok_encode_spans(const qg_tok *tok, qg_slice text, const qg_span *spans,
                              size_t n_spans, qg_ids *ids, qg_err *err)
{
    QG_TRY(check_text(text, err));
    size_t end = 0;
    for (size_t i = 0; i < n_spans; i++) {
        if (spans[i].end < end)
            return qg_fail(err, QG_ERR_ARG, "span %zu ends before the one before it", i);
        end = spans[i].end;
    }
    if (end != text.n)
        return qg_fail(err, QG_ERR_ARG, "spans end at byte %zu, the text at %zu", end, text.n);
    size_t n = ids->n;
    qg_status rc = encode_all(tok, text, spans, n_spans, QG_ADDED_ALL, false, ids);
    return finish(rc, ids, n, err);
}
