#include "gateway/jstr.h"

#include "text/utf8.h"

#include <ctype.h>

/* First byte from p on that is a quote, a backslash or a control character; *high tells of bytes
 * past ASCII on the way. */
static const char *plain_run(const char *p, const char *end, bool *high)
{
    unsigned char seen = 0;
    for (; p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20; p++)
        seen |= (unsigned char)*p;
    *high |= seen >= 0x80;
    return p;
}

/* Four hex digits at p (there are four bytes); -1: no. */
static int32_t hex4(const char *p)
{
    int32_t n = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i], low = (char)(c | 0x20);
        if (c >= '0' && c <= '9')
            n = n << 4 | (c - '0');
        else if (low >= 'a' && low <= 'f')
            n = n << 4 | (low - 'a' + 10);
        else
            return -1;
    }
    return n;
}

/* Bytes of the escape whose backslash is at p; 0: there is none. */
static size_t escape_length(const char *p, const char *end)
{
    if (end - p < 2)
        return 0;
    if (p[1] == 'u')
        return end - p >= 6 && hex4(p + 2) >= 0 ? 6 : 0;
    return p[1] && strchr("\"\\/bfnrt", p[1]) ? 2 : 0;
}

const char *qg_jstr_end(const char *p, const char *end, bool *plain)
{
    const char *start = p;
    bool high = false;
    *plain = true;
    for (;;) {
        p = plain_run(p, end, &high);
        if (p == end || *p != '\\')
            break;
        size_t n = escape_length(p, end);
        if (!n)
            return NULL;
        *plain = false;
        p += n;
    }
    if (p == end || *p != '"' || (high && !qg_utf8_valid(qg_slice_of(start, (size_t)(p - start)))))
        return NULL;
    return p;
}

/* The escape at p: bytes of it, its text in out [4] and their number. */
static size_t read_escape(const char *p, const char *end, char *out, size_t *n_out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (p[1] != 'u') {
        out[0] = to[strchr(from, p[1]) - from];
        *n_out = 1;
        return 2;
    }
    int32_t cp = hex4(p + 2);
    size_t n = 6;
    if (cp >= 0xD800 && cp < 0xE000) {
        int32_t low = cp < 0xDC00 && end - p >= 12 && p[6] == '\\' && p[7] == 'u' ? hex4(p + 8) : 0;
        bool pair = low >= 0xDC00 && low < 0xE000;
        cp = pair ? 0x10000 + ((cp - 0xD800) << 10) + (low - 0xDC00) : 0xFFFD;
        n = pair ? 12 : 6;
    }
    *n_out = qg_utf8_put((uint32_t)cp, out);
    return n;
}

qg_status qg_jstr_decode(qg_slice raw, qg_buf *out)
{
    const char *p = raw.p, *end = raw.p + raw.n;
    while (p < end) {
        const char *slash = memchr(p, '\\', (size_t)(end - p));
        size_t n = (size_t)((slash ? slash : end) - p);
        QG_TRY(qg_buf_add(out, p, n));
        p += n;
        if (slash) {
            char text[4];
            p += read_escape(p, end, text, &n);
            QG_TRY(qg_buf_add(out, text, n));
        }
    }
    return QG_OK;
}

/* Bytes of the inner escape at p, all of them hex digits where there should be some: 0 = it is
 * none, more than there are = its end is still to come. */
static size_t inner_length(const char *p, const char *end)
{
    size_t n = (size_t)(end - p);
    if (n < 2)
        return 2;
    if (p[1] != 'u')
        return 0;
    for (size_t i = 2; i < 6 && i < n; i++)
        if (!isxdigit((unsigned char)p[i]))
            return 0;
    return 6;
}

/* The same of a pair of surrogates. */
static size_t pair_length(const char *p, const char *end)
{
    size_t n = inner_length(p, end);
    if (n != 6 || end - p < 6 || (hex4(p + 2) & 0xFC00) != 0xD800)
        return n;
    if (end - p == 6)
        return 12;
    size_t low = p[6] == '\\' ? inner_length(p + 6, end) : 0;
    return low ? 12 : 6;
}

qg_status qg_jstr_read_inner(qg_slice text, qg_jstr_half *half, qg_buf *out)
{
    size_t from = out->n;
    QG_TRY(qg_buf_add(out, half->p, half->n));
    QG_TRY(qg_buf_add(out, text.p, text.n));
    char *to = out->p + from;
    const char *p = to, *end = out->p + out->n;
    half->n = 0;
    while (p < end) { /* what is read is never longer than what said it */
        size_t n = *p == '\\' ? pair_length(p, end) : 0, said = 0;
        if (n > (size_t)(end - p)) {
            half->n = (uint8_t)(end - p);
            memcpy(half->p, p, half->n);
            break;
        }
        if (n) {
            char utf8[4];
            p += read_escape(p, end, utf8, &said);
            memcpy(to, utf8, said);
            to += said;
            continue;
        }
        said = *p == '\\' ? 2 : 1; /* an escaped backslash begins no escape */
        memmove(to, p, said);
        to += said;
        p += said;
    }
    out->n = (size_t)(to - out->p);
    return QG_OK;
}

size_t qg_jstr_cut(qg_slice raw, size_t n)
{
    const char *p = raw.p, *end = raw.p + raw.n;
    while (p < end && n > 0) {
        char text[4];
        size_t said = 1;
        p += *p == '\\' ? read_escape(p, end, text, &said) : 1;
        n -= said < n ? said : n;
    }
    return (size_t)(p - raw.p);
}

qg_status qg_jstr_put(qg_slice text, qg_buf *out)
{
    QG_TRY(qg_buf_add(out, "\"", 1));
    for (size_t i = 0, from = 0; i <= text.n; i++) {
        unsigned char c = i < text.n ? (unsigned char)text.p[i] : 0;
        if (i < text.n && c >= 0x20 && c != '"' && c != '\\')
            continue;
        QG_TRY(qg_buf_add(out, text.p + from, i - from));
        from = i + 1;
        if (i == text.n)
            break;
        if (c == '"' || c == '\\')
            QG_TRY(qg_buf_addf(out, "\\%c", c));
        else if (c == '\n')
            QG_TRY(qg_buf_adds(out, "\\n"));
        else
            QG_TRY(qg_buf_addf(out, "\\u%04x", c));
    }
    return qg_buf_add(out, "\"", 1);
}
