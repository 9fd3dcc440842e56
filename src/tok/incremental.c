#include "tok/incremental.h"

#include "base/limits.h"
#include "text/nfc.h"
#include "text/unicode.h"
#include "text/utf8.h"
#include "tok/pretok.h"
#include "tok/tok_parts.h"

void qg_inc_init(qg_inc *inc, const qg_tok *tok, size_t max_tail)
{
    inc->tok = tok;
    inc->max_tail = max_tail;
    qg_buf_init(&inc->tail, SIZE_MAX / 2);
}

void qg_inc_free(qg_inc *inc)
{
    qg_buf_free(&inc->tail);
}

/* Bytes at the end of text that begin a character without ending it (0..3), when everything before
 * is valid UTF-8; -1 when text cannot be continued to UTF-8. */
static int unfinished(qg_slice text)
{
    static const char *const ends[] = {"\x80", "\x80\x80", "\x80\x80\x80", "\xbf\xbf\xbf"};
    size_t good = qg_utf8_valid_prefix(text), rest = text.n - good;
    char trial[8];

    if (!rest)
        return 0;
    if (rest > 3)
        return -1;
    /* It is a beginning if some continuation makes it valid; the second byte's narrower ranges are
     * covered by the lowest and the highest continuation. */
    memcpy(trial, text.p + good, rest);
    for (size_t i = 0; i < QG_COUNT(ends); i++) {
        size_t n = strlen(ends[i]);
        memcpy(trial + rest, ends[i], n);
        for (size_t k = 1; k <= n; k++)
            if (rest + k <= 4 && qg_utf8_valid(qg_slice_of(trial, rest + k)))
                return (int)rest;
    }
    return -1;
}

/* A walk over raw text that normalises it segment by segment.  A segment begins where a code point
 * cannot change, move or join what stands before it, so segments normalise apart. */
typedef struct segments {
    qg_slice raw;
    bool nfc;
    size_t at;   /* raw offset of the next segment */
    qg_buf norm; /* normalised text of the segments before at */
} segments;

static size_t segment_end(qg_slice raw, size_t at)
{
    size_t n;
    (void)qg_utf8_at(raw.p + at, &n);
    for (at += n; at < raw.n; at += n)
        if (!(qg_uni_props(qg_utf8_at(raw.p + at, &n)) & QG_UNI_UNSTABLE))
            break;
    return at;
}

static qg_status next_segment(segments *s)
{
    size_t end = segment_end(s->raw, s->at);
    const qg_slice one = {s->raw.p + s->at, end - s->at};
    s->at = end;
    if (s->nfc && qg_nfc_stable_prefix(one) < one.n)
        return qg_nfc(one, &s->norm);
    return qg_buf_add(&s->norm, one.p, one.n);
}

static bool all_space(qg_slice text, bool *line_break)
{
    size_t n;
    *line_break = false;
    for (size_t at = 0; at < text.n; at += n) {
        uint32_t cp = qg_utf8_at(text.p + at, &n);
        if ((qg_uni_props(cp) & QG_UNI_CLASS) != QG_UNI_SPACE)
            return false;
        *line_break |= cp == '\n' || cp == '\r';
    }
    return true;
}

/* Whether the piece [at, end) of norm may still grow when text is added behind norm: the one case
 * that pretok.h names. */
static bool may_grow(qg_slice norm, size_t at, size_t end)
{
    bool with_break, ignored;
    return all_space(qg_slice_of(norm.p + at, end - at), &with_break) && with_break &&
           all_space(qg_slice_of(norm.p + end, norm.n - end), &ignored);
}

/* Where the last segment of raw begins: a mark could still join it, everything before is settled.
 */
static size_t last_segment(qg_slice raw)
{
    size_t last = 0;
    for (size_t at = 0; at < raw.n; at = segment_end(raw, at))
        last = at;
    return last;
}

/* Goes through the pieces of settled (normalised) and the segments of raw together.  A cut needs a
 * piece's end and a segment's beginning at once.  Appends the ids of the pieces before the last cut
 * to stable and gives its raw offset.  Pieces are encoded one by one: the stable part taken alone
 * could be cut otherwise, since a piece of blanks depends on what follows it. */
static qg_status take_stable(qg_slice settled, segments *s, const qg_tok *tok, qg_ids *stable,
                             size_t *raw_end)
{
    size_t n_ids = stable->n;

    *raw_end = 0;
    for (size_t at = 0; at < settled.n;) {
        size_t end = qg_pretok_next(settled, at);
        if (end >= settled.n || may_grow(settled, at, end))
            break;
        QG_TRY(qg_tok_encode_piece(tok, qg_slice_of(settled.p + at, end - at), stable));
        while (s->norm.n < end)
            QG_TRY(next_segment(s));
        if (s->norm.n == end) {
            *raw_end = s->at;
            n_ids = stable->n;
        }
        at = end;
    }
    stable->n = n_ids;
    return QG_OK;
}

static qg_status cut(const qg_tok *tok, qg_slice raw, qg_ids *stable, size_t *raw_end)
{
    segments all = {.raw = raw, .nfc = tok->nfc}, again = all;
    size_t last = last_segment(raw);
    qg_status rc = QG_OK;

    qg_buf_init(&all.norm, 3 * raw.n + 16);
    qg_buf_init(&again.norm, 3 * raw.n + 16);
    while (all.at < last && rc == QG_OK)
        rc = next_segment(&all);
    if (rc == QG_OK)
        rc = take_stable(qg_buf_slice(&all.norm), &again, tok, stable, raw_end);
    qg_buf_free(&all.norm);
    qg_buf_free(&again.norm);
    return rc;
}

static void drop_front(qg_buf *b, size_t n)
{
    memmove(b->p, b->p + n, b->n - n);
    b->n -= n;
    b->p[b->n] = 0;
}

qg_status qg_inc_push(qg_inc *inc, qg_slice bytes, qg_ids *stable, qg_ids *provisional, qg_err *err)
{
    size_t before = inc->tail.n, n_stable = stable->n, done = 0;
    qg_status rc = qg_buf_add(&inc->tail, bytes.p, bytes.n);

    if (rc != QG_OK)
        return qg_fail(err, rc, "out of memory");
    int open = unfinished(qg_buf_slice(&inc->tail));
    size_t whole = inc->tail.n - (size_t)(open > 0 ? open : 0);
    provisional->n = 0;
    if (open < 0)
        rc = qg_fail(err, QG_ERR_ARG, "the text is not UTF-8");
    else if ((rc = cut(inc->tok, qg_slice_of(inc->tail.p, whole), stable, &done)) != QG_OK)
        qg_fail(err, rc, "out of memory");
    else if (inc->tail.n - done > inc->max_tail)
        rc = qg_fail(err, QG_ERR_TOO_LONG, "%zu bytes without a place to cut, at most %zu",
                     inc->tail.n - done, inc->max_tail);
    if (rc == QG_OK)
        rc = qg_tok_encode(inc->tok, qg_slice_of(inc->tail.p + done, whole - done), false,
                           provisional, err);
    if (rc == QG_OK) {
        if (done)
            drop_front(&inc->tail, done);
        return QG_OK;
    }
    stable->n = n_stable;
    inc->tail.n = before;
    return rc;
}

qg_status qg_inc_finish(qg_inc *inc, qg_ids *stable, qg_err *err)
{
    qg_buf text;
    qg_buf_init(&text, 3 * inc->tail.n + 16);
    qg_status rc = qg_utf8_lossy(qg_buf_slice(&inc->tail), &text);
    if (rc != QG_OK)
        qg_fail(err, rc, "out of memory");
    else
        rc = qg_tok_encode(inc->tok, qg_buf_slice(&text), false, stable, err);
    qg_buf_free(&text);
    if (rc == QG_OK)
        inc->tail.n = 0;
    return rc;
}
