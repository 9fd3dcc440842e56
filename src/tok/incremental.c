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
    inc->kind = QG_PIECE_FRESH;
    inc->tried = 0;
    qg_buf_init(&inc->tail, SIZE_MAX / 2);
}

void qg_inc_free(qg_inc *inc)
{
    qg_buf_free(&inc->tail);
}

void qg_inc_reset(qg_inc *inc)
{
    inc->tail.n = 0;
    inc->kind = QG_PIECE_FRESH;
    inc->tried = 0;
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

/* Where the last segment of raw begins: a mark could still join it, everything before is settled.
 */
static size_t last_segment(qg_slice raw)
{
    size_t last = 0;
    for (size_t at = 0; at < raw.n; at = segment_end(raw, at))
        last = at;
    return last;
}

/* What became stable, and where. */
typedef struct taking {
    const qg_tok *tok;
    segments seg;
    qg_ids *stable;
    size_t n_ids;       /* of stable that are before the cut */
    size_t raw_end;     /* the cut */
    qg_piece_kind kind; /* of the piece behind it */
} taking;

/* A cut needs a token's end and a segment's beginning at once.  Tokens end at `end` of the
 * normalised text, n_ids of them before it.  *cut tells whether it is one. */
static qg_status try_cut(taking *t, size_t end, size_t n_ids, qg_piece_kind kind, bool *cut)
{
    while (t->seg.norm.n < end)
        QG_TRY(next_segment(&t->seg));
    *cut = t->seg.norm.n == end;
    if (*cut) {
        t->raw_end = t->seg.at;
        t->n_ids = n_ids;
        t->kind = kind;
    }
    return QG_OK;
}

/* Of an open piece's bytes [at, sure) the tokens that are settled; *end: of the last that can be
 * cut behind, or at. */
static qg_status take_settled(taking *t, qg_slice text, size_t at, size_t sure, qg_piece_kind kind,
                              size_t *end)
{
    const size_t before = t->stable->n;
    size_t i = before, to = at;
    *end = at;
    QG_TRY(qg_tok_settled(t->tok, qg_slice_of(text.p + at, sure - at), t->stable));
    for (; i < t->stable->n; i++) {
        bool cut;
        to += qg_tok_bytes(t->tok, t->stable->p[i]).n;
        QG_TRY(try_cut(t, to, i + 1, qg_pretok_kind(text, to, kind), &cut));
        if (cut)
            *end = to;
    }
    t->stable->n = *end > at ? t->n_ids : before;
    return QG_OK;
}

static size_t n_common(const qg_ids *a, const qg_ids *b)
{
    size_t n = 0;
    while (n < a->n && n < b->n && a->p[n] == b->p[n])
        n++;
    return n;
}

/* White space goes on behind a line break: another one takes all of it into this piece; without one
 * the piece ends behind the break and the rest is the next.  What the tokens of both have in common
 * is settled.  A short rest is not worth it. */
static qg_status take_gap(taking *t, qg_slice text, size_t at, const qg_pretok_piece *piece)
{
    const size_t brk = piece->sure, last = piece->last;
    qg_ids one = {0}, two = {0};
    if (last < brk + QG_INC_SHORT / 2)
        return QG_OK;
    qg_status rc = qg_tok_settled(t->tok, qg_slice_of(text.p + at, last - at), &one);
    if (rc == QG_OK && brk > at)
        rc = qg_tok_encode_piece(t->tok, qg_slice_of(text.p + at, brk - at), &two);
    if (rc == QG_OK)
        rc = qg_tok_settled(t->tok, qg_slice_of(text.p + brk, last - brk), &two);
    const size_t n = rc == QG_OK ? n_common(&one, &two) : 0;
    for (size_t i = 0; i < n && rc == QG_OK; i++) {
        bool cut;
        rc = qg_ids_push(t->stable, one.p[i]);
        at += qg_tok_bytes(t->tok, one.p[i]).n;
        if (rc == QG_OK)
            rc = try_cut(t, at, t->stable->n, at > brk ? QG_PIECE_BLANKS : QG_PIECE_LINES, &cut);
    }
    qg_ids_free(&one);
    qg_ids_free(&two);
    return rc;
}

/* A long piece part by part, so that the time is linear; only where nothing settles are the parts
 * taken together. */
static qg_status take_open(taking *t, qg_slice text, size_t at, const qg_pretok_piece *piece)
{
    enum { PART = 2048 };
    qg_piece_kind kind = piece->kind;
    for (size_t size = PART; at < piece->sure;) {
        size_t left = piece->sure - at, n = left < size ? left : size, end;
        QG_TRY(take_settled(t, text, at, at + n, kind, &end));
        if (end == at && n == left)
            break;
        size = end == at ? 2 * size : PART;
        kind = end == at ? kind : qg_pretok_kind(text, end, kind);
        at = end;
    }
    return kind == QG_PIECE_LINES ? take_gap(t, text, at, piece) : QG_OK;
}

/* Goes through the pieces of settled (normalised) and the segments of raw together, up to the piece
 * to which more may come.  Pieces are encoded one by one: the stable part taken alone could be cut
 * otherwise, since a piece of blanks depends on what follows it. */
static qg_status take_stable(taking *t, qg_slice settled)
{
    qg_piece_kind kind = t->kind;
    for (size_t at = 0; at < settled.n;) {
        const qg_pretok_piece piece = qg_pretok_look(settled, at, kind);
        bool cut;
        if (piece.open)
            return piece.kind == QG_PIECE_FRESH ? QG_OK : take_open(t, settled, at, &piece);
        if (piece.end > at)
            QG_TRY(qg_tok_encode_piece(t->tok, qg_slice_of(settled.p + at, piece.end - at),
                                       t->stable));
        kind = QG_PIECE_FRESH;
        at = piece.end;
        QG_TRY(try_cut(t, at, t->stable->n, kind, &cut));
    }
    return QG_OK;
}

static qg_status cut(qg_inc *inc, qg_slice raw, qg_ids *stable, size_t *raw_end,
                     qg_piece_kind *kind)
{
    segments all = {.raw = raw, .nfc = inc->tok->nfc};
    taking t = {
        .tok = inc->tok, .seg = all, .stable = stable, .n_ids = stable->n, .kind = inc->kind};
    size_t last = last_segment(raw);
    qg_status rc = QG_OK;

    qg_buf_init(&all.norm, 3 * raw.n + 16);
    qg_buf_init(&t.seg.norm, 3 * raw.n + 16);
    while (all.at < last && rc == QG_OK)
        rc = next_segment(&all);
    if (rc == QG_OK)
        rc = take_stable(&t, qg_buf_slice(&all.norm));
    qg_buf_free(&all.norm);
    qg_buf_free(&t.seg.norm);
    stable->n = t.n_ids;
    *raw_end = t.raw_end;
    *kind = t.kind;
    return rc;
}

static void drop_front(qg_buf *b, size_t n)
{
    memmove(b->p, b->p + n, b->n - n);
    b->n -= n;
    b->p[b->n] = 0;
}

/* Ids of valid text that begins in the middle of a piece, and ends. */
static qg_status encode_from(const qg_tok *tok, qg_slice text, qg_piece_kind kind, qg_ids *ids,
                             qg_err *err)
{
    qg_buf norm;
    size_t n = ids->n;
    qg_buf_init(&norm, 3 * text.n + 16);
    qg_status rc = tok->nfc ? qg_nfc(text, &norm) : qg_buf_add(&norm, text.p, text.n);
    for (size_t at = 0; at < norm.n && rc == QG_OK; kind = QG_PIECE_FRESH) {
        size_t end = qg_pretok_look(qg_buf_slice(&norm), at, kind).end;
        if (end > at)
            rc = qg_tok_encode_piece(tok, qg_slice_of(norm.p + at, end - at), ids);
        at = end;
    }
    qg_buf_free(&norm);
    if (rc == QG_OK)
        return QG_OK;
    ids->n = n;
    return qg_fail(err, rc, rc == QG_ERR_TOO_LONG ? "too many tokens" : "out of memory");
}

/* Where the character begins that is not whole at the end of text [n], or n. */
static size_t whole_chars(const char *text, size_t n)
{
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        uint8_t c = (uint8_t)text[n - back];
        if (c >= 0xC0)
            return back < (c >= 0xF0 ? 4u : c >= 0xE0 ? 3u : 2u) ? n - back : n;
        if (c < 0x80)
            break;
    }
    return n;
}

/* Whether it is too early to look for a place to cut: nothing but blanks and marks came to a tail
 * that is long and has grown little since. */
static bool too_early(const qg_inc *inc, size_t from, size_t whole)
{
    if (from <= QG_INC_SHORT || whole >= inc->tried + inc->tried / 8)
        return false;
    for (size_t n; from < whole; from += n) {
        unsigned props = qg_uni_props(qg_utf8_at(inc->tail.p + from, &n));
        if (!(props & QG_UNI_UNSTABLE) && (props & QG_UNI_CLASS) != QG_UNI_SPACE)
            return false;
    }
    return true;
}

static qg_slice shown(qg_slice tail)
{
    tail.n = tail.n > QG_INC_SHOWN ? QG_INC_SHOWN : tail.n;
    tail.n = whole_chars(tail.p, tail.n);
    return tail;
}

qg_slice qg_inc_shown(const qg_inc *inc)
{
    return shown(qg_buf_slice(&inc->tail));
}

qg_status qg_inc_push(qg_inc *inc, qg_slice bytes, qg_ids *stable, qg_ids *provisional, qg_err *err)
{
    size_t before = inc->tail.n, n_stable = stable->n, done = 0;
    qg_piece_kind kind = inc->kind;
    bool looked = false;
    qg_status rc = qg_buf_add(&inc->tail, bytes.p, bytes.n);

    if (rc != QG_OK)
        return qg_fail(err, rc, "out of memory");
    const char *text = qg_buf_slice(&inc->tail).p;
    size_t from = whole_chars(text, before); /* valid up to there */
    int open = unfinished(qg_slice_of(text + from, inc->tail.n - from));
    size_t whole = inc->tail.n - (size_t)(open > 0 ? open : 0);
    provisional->n = 0;
    if (open < 0)
        rc = qg_fail(err, QG_ERR_ARG, "the text is not UTF-8");
    else if ((looked = !too_early(inc, from, whole)) &&
             (rc = cut(inc, qg_slice_of(inc->tail.p, whole), stable, &done, &kind)) != QG_OK)
        qg_fail(err, rc, "out of memory");
    else if (inc->tail.n - done > inc->max_tail)
        rc = qg_fail(err, QG_ERR_TOO_LONG, "%zu bytes without a place to cut, at most %zu",
                     inc->tail.n - done, inc->max_tail);
    if (rc == QG_OK)
        rc = encode_from(inc->tok, shown(qg_slice_of(inc->tail.p + done, whole - done)), kind,
                         provisional, err);
    if (rc == QG_OK) {
        if (done)
            drop_front(&inc->tail, done);
        inc->kind = kind;
        if (looked)
            inc->tried = inc->tail.n;
        return QG_OK;
    }
    stable->n = n_stable;
    inc->tail.n = before;
    return rc;
}

qg_status qg_inc_finish_as(qg_inc *inc, qg_slice rest, qg_ids *stable, qg_err *err)
{
    QG_TRY(encode_from(inc->tok, rest, inc->kind, stable, err));
    qg_inc_reset(inc);
    return QG_OK;
}

qg_status qg_inc_finish(qg_inc *inc, qg_ids *stable, qg_err *err)
{
    qg_buf text;
    qg_buf_init(&text, 3 * inc->tail.n + 16);
    qg_status rc = qg_utf8_lossy(qg_buf_slice(&inc->tail), &text);
    if (rc != QG_OK)
        qg_fail(err, rc, "out of memory");
    else
        rc = qg_inc_finish_as(inc, qg_buf_slice(&text), stable, err);
    qg_buf_free(&text);
    return rc;
}
