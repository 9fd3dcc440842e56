#include "text/jsonscan.h"

#include "text/utf8.h"

char qg_scan_peek(qg_scan *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\r' || *s->at == '\t'))
        s->at++;
    return s->at < s->end ? *s->at : 0;
}

bool qg_scan_take(qg_scan *s, char c)
{
    if (qg_scan_peek(s) != c || s->at == s->end)
        return false;
    s->at++;
    return true;
}

/* ---- strings --------------------------------------------------------------------------------- */

/* First byte from p on that ends a run of plain ones: a quote, a backslash, a control character or
 * end. */
static const char *plain_end(const char *p, const char *end)
{
    while (p < end && *p != '"' && *p != '\\' && (uint8_t)*p >= 0x20)
        p++;
    return p;
}

static bool hex4(qg_scan *s, uint32_t *out)
{
    *out = 0;
    if (s->end - s->at < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        char c = *s->at++, low = (char)(c | 0x20);
        if (c >= '0' && c <= '9')
            *out = *out << 4 | (uint32_t)(c - '0');
        else if (low >= 'a' && low <= 'f')
            *out = *out << 4 | (uint32_t)(low - 'a' + 10);
        else
            return false;
    }
    return true;
}

/* Behind "\u": the code point, of a pair of surrogates where there is one. */
static bool code_point(qg_scan *s, uint32_t *cp)
{
    uint32_t low;
    if (!hex4(s, cp) || *cp == 0 || (*cp >= 0xDC00 && *cp < 0xE000))
        return false;
    if (*cp < 0xD800 || *cp >= 0xE000)
        return true;
    if (s->end - s->at < 6 || s->at[0] != '\\' || s->at[1] != 'u')
        return false;
    s->at += 2;
    if (!hex4(s, &low) || low < 0xDC00 || low >= 0xE000)
        return false;
    *cp = 0x10000 + ((*cp - 0xD800) << 10) + (low - 0xDC00);
    return true;
}

/* One escape, its backslash taken. */
static qg_status escape(qg_scan *s, qg_buf *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char bytes[4];
    if (s->at == s->end)
        return QG_ERR_FORMAT;
    char c = *s->at++;
    if (c == 'u') {
        uint32_t cp;
        return code_point(s, &cp) ? qg_buf_add(out, bytes, qg_utf8_put(cp, bytes)) : QG_ERR_FORMAT;
    }
    const char *found = c ? strchr(from, c) : NULL;
    return found ? qg_buf_add(out, &to[found - from], 1) : QG_ERR_FORMAT;
}

qg_status qg_scan_string(qg_scan *s, qg_buf *room, qg_slice *out)
{
    if (!qg_scan_take(s, '"'))
        return QG_ERR_FORMAT;
    const char *start = s->at;
    s->at = plain_end(s->at, s->end);
    *out = qg_slice_of(start, (size_t)(s->at - start));
    if (s->at < s->end && *s->at == '\\') {
        room->n = 0;
        QG_TRY(qg_buf_add(room, out->p, out->n));
        while (s->at < s->end && *s->at == '\\') {
            s->at++;
            QG_TRY(escape(s, room));
            start = s->at;
            s->at = plain_end(s->at, s->end);
            QG_TRY(qg_buf_add(room, start, (size_t)(s->at - start)));
        }
        *out = qg_buf_slice(room);
    }
    if (s->at == s->end || *s->at != '"' || !qg_utf8_valid(*out))
        return QG_ERR_FORMAT;
    s->at++;
    return QG_OK;
}

/* ---- numbers and the rest -------------------------------------------------------------------- */

bool qg_scan_int(qg_scan *s, int64_t *out)
{
    bool minus = qg_scan_peek(s) == '-';
    uint64_t n = 0;
    if (minus)
        s->at++;
    const char *first = s->at;
    for (; s->at < s->end && *s->at >= '0' && *s->at <= '9'; s->at++) {
        if (s->at - first > 18)
            return false;
        n = 10 * n + (uint64_t)(*s->at - '0');
    }
    size_t digits = (size_t)(s->at - first);
    char next = s->at < s->end ? *s->at : 0;
    if (!digits || (digits > 1 && *first == '0') || n > INT64_MAX || next == '.' || next == 'e' ||
        next == 'E')
        return false;
    *out = minus ? -(int64_t)n : (int64_t)n;
    return true;
}

/* Behind the quote that ends the string which begins at p, or NULL. */
static const char *string_end(const char *p, const char *end)
{
    for (p++; p < end && *p != '"'; p++)
        if (*p == '\\')
            p++;
    return p < end ? p + 1 : NULL;
}

static inline bool in_word(char c)
{
    return (uint8_t)c > ' ' && c != ',' && c != ']' && c != '}' && c != ':' && c != '"' &&
           c != '[' && c != '{';
}

bool qg_scan_skip(qg_scan *s)
{
    size_t depth = 0;
    if (!qg_scan_peek(s))
        return false;
    do {
        char c = qg_scan_peek(s);
        if (s->at == s->end)
            return false;
        if (c == '"') {
            s->at = string_end(s->at, s->end);
            if (!s->at) {
                s->at = s->end;
                return false;
            }
        } else if (c == '{' || c == '[') {
            depth++;
            s->at++;
        } else if (c == '}' || c == ']') {
            if (!depth)
                return false;
            depth--;
            s->at++;
        } else if (c == ',' || c == ':') {
            if (!depth)
                return false;
            s->at++;
        } else { /* a number or a word */
            const char *start = s->at;
            while (s->at < s->end && in_word(*s->at))
                s->at++;
            if (s->at == start)
                return false; /* a control character */
        }
    } while (depth);
    return true;
}
