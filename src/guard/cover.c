#include "guard/cover.h"

#include "text/nfc.h"
#include "text/unicode.h"
#include "text/utf8.h"

uint32_t qg_count_cps(qg_slice text)
{
    uint32_t n = 0;
    for (size_t i = 0; i < text.n; i++)
        n += ((uint8_t)text.p[i] & 0xC0) != 0x80;
    return n;
}

void qg_cover_start(qg_cover *c, qg_slice raw, uint32_t cp, bool nfc)
{
    *c = (qg_cover){.raw = raw, .cp = cp, .nfc = nfc};
}

/* Bytes from raw[at] up to the next code point that normalisation cannot join to what is before. */
static size_t segment(qg_slice raw, size_t at)
{
    size_t n, end = at;
    (void)qg_utf8_at(raw.p + end, &n);
    for (end += n; end < raw.n; end += n)
        if (!(qg_uni_props(qg_utf8_at(raw.p + end, &n)) & QG_UNI_UNSTABLE))
            break;
    return end - at;
}

/* Begins the next entry; there is one. */
static qg_status next_entry(qg_cover *c)
{
    size_t n;
    (void)qg_utf8_at(c->raw.p + c->at, &n);
    c->size = c->left = n;
    c->cps = 1;
    if (!c->nfc)
        return QG_OK;
    const qg_slice one = {c->raw.p + c->at, segment(c->raw, c->at)};
    if (qg_nfc_stable_prefix(one) == one.n)
        return QG_OK;
    qg_buf norm;
    qg_buf_init(&norm, 3 * one.n + 16);
    qg_status rc = qg_nfc(one, &norm);
    /* What normalises to itself is covered by code points, as it is where nothing is normalised. */
    if (rc == QG_OK && !qg_slice_eq(qg_buf_slice(&norm), one)) {
        c->size = one.n;
        c->cps = qg_count_cps(one);
        c->left = norm.n;
    }
    qg_buf_free(&norm);
    return rc;
}

static void leave_entry(qg_cover *c)
{
    c->at += c->size;
    c->cp += c->cps;
    c->size = c->cps = 0;
}

qg_status qg_cover_token(qg_cover *c, size_t n, uint32_t *begin, uint32_t *end)
{
    if (!c->left)
        leave_entry(c);
    *begin = *end = c->cp;
    while (n && (c->size || c->at < c->raw.n)) {
        if (!c->size)
            QG_TRY(next_entry(c));
        *end = c->cp + c->cps;
        size_t take = n < c->left ? n : c->left;
        n -= take;
        c->left -= take;
        if (!c->left)
            leave_entry(c);
    }
    return QG_OK;
}

size_t qg_cover_bytes(const qg_cover *c)
{
    return c->at;
}
