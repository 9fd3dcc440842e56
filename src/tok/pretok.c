#include "tok/pretok.h"

#include "text/unicode.h"
#include "text/utf8.h"

const char *const qg_pretok_pattern = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
                                      "\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
                                      "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

static inline unsigned ascii_class(uint8_t c)
{
    if ((uint8_t)((c | 0x20) - 'a') < 26)
        return QG_UNI_LETTER;
    if (c == ' ' || (uint8_t)(c - '\t') < 5)
        return QG_UNI_SPACE;
    return (uint8_t)(c - '0') < 10 ? QG_UNI_NUMBER : QG_UNI_OTHER;
}

/* Class of the code point at `at` < text.n and where it ends. */
static inline unsigned class_at(qg_slice text, size_t at, size_t *end)
{
    uint8_t c = (uint8_t)text.p[at];
    if (c < 0x80) {
        *end = at + 1;
        return ascii_class(c);
    }
    size_t n;
    uint32_t cp = qg_utf8_at(text.p + at, &n);
    *end = at + n;
    return qg_uni_props(cp) & QG_UNI_CLASS;
}

/* End of the longest run of class cls from at (possibly at itself). */
static inline size_t run_of(qg_slice text, size_t at, unsigned cls)
{
    size_t end;
    while (at < text.n && class_at(text, at, &end) == cls)
        at = end;
    return at;
}

static inline bool is_break(char c)
{
    return c == '\r' || c == '\n';
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d) at an apostrophe: its end, or at.  Ignoring case is Unicode's, so
 * U+017F (long s) counts as an s; no other code point outside ASCII folds to these letters. */
static size_t contraction(qg_slice text, size_t at)
{
    if (text.n - at >= 3 && text.p[at + 1] == '\xC5' && text.p[at + 2] == '\xBF')
        return at + 3;
    if (text.n - at < 2)
        return at;
    char a = (char)(text.p[at + 1] | 0x20);
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return at + 2;
    if (text.n - at < 3)
        return at;
    char b = (char)(text.p[at + 2] | 0x20);
    if (((a == 'r' || a == 'v') && b == 'e') || (a == 'l' && b == 'l'))
        return at + 3;
    return at;
}

/*  ?[^\s\p{L}\p{N}]+[\r\n]*  whose first code point of the class begins at `at`. */
static size_t punctuation(qg_slice text, size_t at)
{
    at = run_of(text, at, QG_UNI_OTHER);
    while (at < text.n && is_break(text.p[at]))
        at++;
    return at;
}

/* \s*[\r\n]+|\s+(?!\S)|\s+  at white space that no word or punctuation takes: up to the last line
 * break of the run; without one, all of it but the last, which is left for the next word. */
static size_t white_space(qg_slice text, size_t at)
{
    size_t after_break = at;
    size_t last = at; /* where the last code point begins */
    size_t i = at;
    size_t end;
    while (i < text.n && class_at(text, i, &end) == QG_UNI_SPACE) {
        if (is_break(text.p[i]))
            after_break = end;
        last = i;
        i = end;
    }
    if (after_break > at)
        return after_break;
    return i == text.n || last == at ? i : last;
}

size_t qg_pretok_next(qg_slice text, size_t at)
{
    size_t second; /* where the code point behind the first begins */
    unsigned cls = class_at(text, at, &second);
    if (cls == QG_UNI_LETTER)
        return run_of(text, second, QG_UNI_LETTER);
    if (cls == QG_UNI_NUMBER)
        return second;
    char c = text.p[at];
    if (c == '\'') {
        size_t end = contraction(text, at);
        if (end > at)
            return end;
    }
    size_t third;
    unsigned next = second < text.n ? class_at(text, second, &third) : QG_UNI_SPACE;
    if (next == QG_UNI_LETTER && !is_break(c))
        return run_of(text, third, QG_UNI_LETTER);
    if (cls == QG_UNI_OTHER)
        return punctuation(text, second);
    if (c == ' ' && next == QG_UNI_OTHER)
        return punctuation(text, second);
    return white_space(text, at);
}

/* ---- pieces that go on ----------------------------------------------------------------------- */

/* At `at` a piece begins.  FRESH where the next few characters still decide what it is. */
static qg_piece_kind kind_of(qg_slice text, size_t at)
{
    size_t second, third;
    unsigned cls = class_at(text, at, &second);
    char c = text.p[at];
    if (cls == QG_UNI_LETTER)
        return QG_PIECE_LETTERS;
    if (cls == QG_UNI_NUMBER)
        return QG_PIECE_FRESH;
    if (c == '\'' && (text.n - at < 4 || contraction(text, at) > at))
        return QG_PIECE_FRESH;
    unsigned next = second < text.n ? class_at(text, second, &third) : QG_UNI_SPACE;
    if (next == QG_UNI_LETTER && !is_break(c))
        return QG_PIECE_LETTERS;
    if (cls == QG_UNI_OTHER)
        return second < text.n ? QG_PIECE_MARKS : QG_PIECE_FRESH;
    return c == ' ' && next == QG_UNI_OTHER ? QG_PIECE_MARKS : QG_PIECE_BLANKS;
}

/* White space is open as long as nothing else has come: a line break takes all before it into the
 * piece; without one the last of it goes to the next word. */
static qg_pretok_piece look_at_space(qg_slice text, size_t at, qg_piece_kind kind)
{
    size_t after_break = at, last = at, i = at, end;
    while (i < text.n && class_at(text, i, &end) == QG_UNI_SPACE) {
        if (is_break(text.p[i])) {
            after_break = end;
            kind = QG_PIECE_LINES;
        }
        last = i;
        i = end;
    }
    bool open = i == text.n;
    if (kind == QG_PIECE_LINES)
        return (qg_pretok_piece){
            .end = after_break, .open = open, .kind = kind, .sure = after_break, .last = last};
    return (qg_pretok_piece){.end = open ? i : last, .open = open, .kind = kind, .sure = last};
}

qg_pretok_piece qg_pretok_look(qg_slice text, size_t at, qg_piece_kind kind)
{
    qg_pretok_piece p = {.kind = kind == QG_PIECE_FRESH ? kind_of(text, at) : kind};
    size_t second;
    if (kind == QG_PIECE_BLANKS || kind == QG_PIECE_LINES)
        return look_at_space(text, at, kind);
    if (kind == QG_PIECE_FRESH)
        p.end = qg_pretok_next(text, at);
    else if (kind == QG_PIECE_LETTERS)
        p.end = run_of(text, at, QG_UNI_LETTER);
    else if (kind == QG_PIECE_MARKS)
        p.end = punctuation(text, at);
    else
        for (p.end = at; p.end < text.n && is_break(text.p[p.end]);)
            p.end++;
    if (p.kind == QG_PIECE_BLANKS) { /* a lone blank in front of a number is a piece as well */
        size_t end = p.end;
        p = look_at_space(text, at, p.kind);
        p.end = end;
        return p;
    }
    p.open = p.end == text.n && class_at(text, at, &second) != QG_UNI_NUMBER;
    p.sure = p.end;
    return p;
}

qg_piece_kind qg_pretok_kind(qg_slice text, size_t cut, qg_piece_kind kind)
{
    return kind == QG_PIECE_MARKS && is_break(text.p[cut - 1]) ? QG_PIECE_BREAKS : kind;
}
