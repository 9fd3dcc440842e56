#define _GNU_SOURCE /* memmem */
#include "tmpl/ustr.h"

#include "base/limits.h"
#include "text/casemap.h"
#include "text/utf8.h"
#include "tmpl/run.h"

uint32_t qg_cp_read(const char *p, size_t n, size_t *len)
{
    const uint8_t *s = (const uint8_t *)p;
    *len = 1;
    if (s[0] < 0x80)
        return s[0];
    size_t want = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
    if (s[0] < 0xC2 || s[0] > 0xF4 || n < want)
        return 0xDC00u + s[0];
    uint32_t cp = s[0] & (0xFFu >> (want + 1));
    for (size_t i = 1; i < want; i++) {
        if ((s[i] & 0xC0) != 0x80)
            return 0xDC00u + s[0];
        cp = cp << 6 | (s[i] & 0x3Fu);
    }
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (cp < least[want] || cp > 0x10FFFF || (cp >= 0xD800 && cp < 0xE000))
        return 0xDC00u + s[0];
    *len = want;
    return cp;
}

size_t qg_cp_before(const char *p, size_t n)
{
    size_t back = 1, len;
    while (back < 4 && back < n && ((uint8_t)p[n - back] & 0xC0) == 0x80)
        back++;
    qg_cp_read(p + n - back, back, &len);
    return len == back ? back : 1;
}

void qg_sentence_clean(char *s)
{
    s[qg_utf8_valid_prefix(qg_str(s))] = 0;
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            *s = ' ';
}

bool qg_cp_space(uint32_t cp)
{
    if (cp < 0x80)
        return cp == ' ' || (cp >= 0x09 && cp <= 0x0D) || (cp >= 0x1C && cp <= 0x1F);
    return cp == 0x85 || cp == 0xA0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200A) ||
           cp == 0x2028 || cp == 0x2029 || cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

/* ---- builder --------------------------------------------------------------------------------- */

qg_status qg_sb_reserve(qg_run *r, qg_sb *b, size_t n)
{
    if (n <= b->cap - b->n)
        return QG_OK;
    if (n > QG_MAX_TEXT_BYTES || b->n > QG_MAX_TEXT_BYTES - n)
        return qg_run_fail(r, QG_ERR_TOO_LONG, "a string of more than %u bytes", QG_MAX_TEXT_BYTES);
    /* what is reserved first is often all there will be; after that, double */
    size_t cap = b->n + n;
    if (b->cap && cap < b->cap * 2)
        cap = b->cap * 2;
    char *p = qg_run_alloc(r, cap, 1);
    uint8_t *map = NULL;
    if (p && b->map)
        map = qg_run_alloc(r, cap, 1);
    if (!p || (b->map && !map))
        return r->arena.why;
    if (b->n)
        memcpy(p, b->p, b->n);
    if (b->map)
        memcpy(map, b->map, b->n);
    b->p = p;
    b->map = map;
    b->cap = cap;
    return QG_OK;
}

/* Makes room and brings the map in shape for n bytes of one origin, or of many (mixed). */
static qg_status sb_prepare(qg_run *r, qg_sb *b, size_t n, bool input, bool mixed)
{
    QG_TRY(qg_run_spend(r, n / 256));
    QG_TRY(qg_sb_reserve(r, b, n));
    if (b->n == 0 && !mixed && !b->map)
        b->input = input;
    if (!b->map && (mixed || input != b->input)) {
        b->map = qg_run_alloc(r, b->cap, 1);
        if (!b->map)
            return r->arena.why;
        memset(b->map, b->input && b->n, b->n);
        b->input = true;
    }
    return QG_OK;
}

qg_status qg_sb_bytes(qg_run *r, qg_sb *b, const char *p, size_t n, bool input)
{
    if (n == 0)
        return QG_OK;
    QG_TRY(sb_prepare(r, b, n, input, false));
    memcpy(b->p + b->n, p, n);
    if (b->map)
        memset(b->map + b->n, input, n);
    b->n += n;
    return QG_OK;
}

qg_status qg_sb_adds(qg_run *r, qg_sb *b, const char *s)
{
    return qg_sb_bytes(r, b, s, strlen(s), false);
}

qg_status qg_sb_add(qg_run *r, qg_sb *b, const qg_val *s)
{
    if (!s->s.map)
        return qg_sb_bytes(r, b, s->s.p, s->s.n, s->input);
    if (s->s.n == 0)
        return QG_OK;
    QG_TRY(sb_prepare(r, b, s->s.n, true, true));
    memcpy(b->p + b->n, s->s.p, s->s.n);
    memcpy(b->map + b->n, s->s.map, s->s.n);
    b->n += s->s.n;
    return QG_OK;
}

qg_val qg_sb_done(const qg_sb *b)
{
    return (qg_val){.kind = QG_V_STR,
                    .input = b->input,
                    .s = {.p = b->n ? b->p : "", .n = b->n, .map = b->map}};
}

/* ---- looking --------------------------------------------------------------------------------- */

qg_val qg_ustr_cut(const qg_val *s, size_t from, size_t to)
{
    qg_val cut = *s;
    cut.s.p += from;
    cut.s.n = to - from;
    if (cut.s.map)
        cut.s.map += from;
    return cut;
}

size_t qg_ustr_length(const qg_val *s)
{
    size_t count = 0, len;
    for (size_t i = 0; i < s->s.n; i += len, count++)
        qg_cp_read(s->s.p + i, s->s.n - i, &len);
    return count;
}

size_t qg_ustr_find(const qg_val *s, qg_slice needle, size_t from)
{
    if (needle.n > s->s.n || from > s->s.n - needle.n)
        return SIZE_MAX;
    if (needle.n == 0)
        return from;
    const char *hit = memmem(s->s.p + from, s->s.n - from, needle.p, needle.n);
    return hit ? (size_t)(hit - s->s.p) : SIZE_MAX;
}

void qg_ustr_line(const qg_val *s, size_t from, size_t *end, size_t *next)
{
    size_t len;
    for (*end = from; *end < s->s.n; *end += len) {
        uint32_t cp = qg_cp_read(s->s.p + *end, s->s.n - *end, &len);
        bool breaks = (cp >= 0x0A && cp <= 0x0D) || (cp >= 0x1C && cp <= 0x1E) || cp == 0x85 ||
                      cp == 0x2028 || cp == 0x2029;
        if (breaks) {
            *next = *end + len;
            *next += cp == '\r' && *next < s->s.n && s->s.p[*next] == '\n';
            return;
        }
    }
    *next = *end;
}

static bool in_set(uint32_t cp, const qg_val *chars)
{
    if (!chars)
        return qg_cp_space(cp);
    size_t len;
    for (size_t i = 0; i < chars->s.n; i += len)
        if (qg_cp_read(chars->s.p + i, chars->s.n - i, &len) == cp)
            return true;
    return false;
}

qg_val qg_ustr_strip(const qg_val *s, const qg_val *chars, int sides)
{
    size_t from = 0, to = s->s.n, len;
    while ((sides & QG_STRIP_LEFT) && from < to &&
           in_set(qg_cp_read(s->s.p + from, to - from, &len), chars))
        from += len;
    while ((sides & QG_STRIP_RIGHT) && to > from) {
        size_t back = qg_cp_before(s->s.p + from, to - from);
        if (!in_set(qg_cp_read(s->s.p + to - back, back, &len), chars))
            break;
        to -= back;
    }
    return qg_ustr_cut(s, from, to);
}

/* ---- making ---------------------------------------------------------------------------------- */

/* "".replace(): with goes before every character and behind the last. */
static qg_status interleave(qg_run *r, const qg_val *s, const qg_val *with, int64_t max, qg_sb *b)
{
    size_t at = 0, len;
    for (; max != 0; max--) {
        QG_TRY(qg_run_spend(r, 1));
        QG_TRY(qg_sb_add(r, b, with));
        if (at == s->s.n)
            return QG_OK;
        qg_cp_read(s->s.p + at, s->s.n - at, &len);
        qg_val ch = qg_ustr_cut(s, at, at + len);
        QG_TRY(qg_sb_add(r, b, &ch));
        at += len;
    }
    qg_val rest = qg_ustr_cut(s, at, s->s.n);
    return qg_sb_add(r, b, &rest);
}

qg_status qg_ustr_replace(qg_run *r, const qg_val *s, const qg_val *old, const qg_val *with,
                          int64_t max, qg_val *out)
{
    qg_sb b = {0};
    size_t at = 0, hit;
    if (old->s.n == 0) {
        QG_TRY(interleave(r, s, with, max, &b));
        *out = qg_sb_done(&b);
        return QG_OK;
    }
    QG_TRY(qg_run_spend(r, s->s.n / 256));
    for (; max != 0 && (hit = qg_ustr_find(s, qg_v_slice(old), at)) != SIZE_MAX; max--) {
        qg_val before = qg_ustr_cut(s, at, hit);
        QG_TRY(qg_run_spend(r, 1));
        QG_TRY(qg_sb_add(r, &b, &before));
        QG_TRY(qg_sb_add(r, &b, with));
        at = hit + old->s.n;
    }
    qg_val rest = qg_ustr_cut(s, at, s->s.n);
    if (at == 0) {
        *out = rest;
        return QG_OK;
    }
    QG_TRY(qg_sb_add(r, &b, &rest));
    *out = qg_sb_done(&b);
    return QG_OK;
}

/* Byte where code point number i starts; s->n when there are fewer. */
static size_t byte_of(const qg_val *s, size_t from, int64_t i)
{
    size_t len;
    for (; i > 0 && from < s->s.n; i--, from += len)
        qg_cp_read(s->s.p + from, s->s.n - from, &len);
    return from;
}

qg_status qg_ustr_slice(qg_run *r, const qg_val *s, int64_t from, int64_t to, int64_t step,
                        qg_val *out)
{
    QG_TRY(qg_run_spend(r, s->s.n / 64));
    if (step > 0 && from >= to) {
        *out = qg_ustr_cut(s, 0, 0);
        return QG_OK;
    }
    if (step == 1) {
        size_t a = byte_of(s, 0, from);
        *out = qg_ustr_cut(s, a, byte_of(s, a, to - from));
        return QG_OK;
    }
    qg_sb b = {0};
    size_t at = byte_of(s, 0, from), len;
    for (int64_t i = from; step > 0 ? i < to : i > to; i += step) {
        QG_TRY(qg_run_spend(r, 1));
        qg_cp_read(s->s.p + at, s->s.n - at, &len);
        qg_val ch = qg_ustr_cut(s, at, at + len);
        QG_TRY(qg_sb_add(r, &b, &ch));
        if (step > 0) {
            if (step >= to - i) /* also keeps i + step from overflowing */
                break;
            at = byte_of(s, at, step);
        } else {
            if (step <= to - i)
                break;
            for (int64_t k = step; k < 0; k++)
                at -= qg_cp_before(s->s.p, at);
        }
    }
    *out = qg_sb_done(&b);
    return QG_OK;
}

/* ---- upper and lower case -------------------------------------------------------------------- */

/* Final: behind a letter with case and not before one, marks and apostrophes in between aside. */
static bool final_sigma(const char *p, size_t at, size_t n)
{
    size_t i = at, len;
    uint32_t cp = 0;
    bool letter = false;
    while (i > 0) {
        size_t back = qg_cp_before(p, i);
        i -= back;
        cp = qg_cp_read(p + i, back, &len);
        if (!qg_case_ignorable(cp)) {
            letter = qg_case_cased(cp);
            break;
        }
    }
    if (!letter)
        return false;
    for (i = at + 2; i < n; i += len) {
        cp = qg_cp_read(p + i, n - i, &len);
        if (!qg_case_ignorable(cp))
            return !qg_case_cased(cp);
    }
    return true;
}

/* Whether the next character of a title is the first of its word. */
static bool starts_word(qg_case how, uint32_t before, size_t at)
{
    if (at == 0)
        return true;
    if (how == QG_TITLE)
        return !qg_case_cased(before);
    if (how == QG_FILTER_TITLE) /* jinja2: words start behind [-\s({\[<] */
        return qg_cp_space(before) || (before < 0x80 && before && strchr("-({[<", (int)before));
    return false;
}

qg_status qg_ustr_case(qg_run *r, const qg_val *s, qg_case how, qg_val *out)
{
    qg_sb b = {0};
    size_t len, word = 0; /* the title filter lowers the rest of each word on its own */
    uint32_t cp, before = 0;
    QG_TRY(qg_run_spend(r, s->s.n / 16));
    QG_TRY(qg_sb_reserve(r, &b, s->s.n));
    for (size_t at = 0; at < s->s.n; at += len, before = cp) {
        uint32_t to[3];
        cp = qg_cp_read(s->s.p + at, s->s.n - at, &len);
        bool upper = how == QG_UPPER || (how != QG_LOWER && starts_word(how, before, at));
        bool title = how == QG_TITLE || how == QG_CAPITALIZE;
        if (upper && how == QG_FILTER_TITLE)
            word = at + len;
        size_t n = upper ? qg_case_upper(cp, title, to) : qg_case_lower(cp, to);
        if (!upper && cp == 0x3A3 && /* the one letter whose small form depends on its place */
            final_sigma(s->s.p + word, at - word, s->s.n - word))
            to[0] = 0x3C2;
        bool input = s->s.map ? s->s.map[at] : s->input;
        if (n == 1 && to[0] == cp) {
            QG_TRY(qg_sb_bytes(r, &b, s->s.p + at, len, input));
            continue;
        }
        for (size_t i = 0; i < n; i++) {
            char buf[4];
            QG_TRY(qg_sb_bytes(r, &b, buf, qg_utf8_put(to[i], buf), input));
        }
    }
    *out = qg_sb_done(&b);
    return QG_OK;
}
