#include "text/utf8.h"

static size_t ascii_run(const uint8_t *p, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t word;
        memcpy(&word, p + i, 8);
        if (word & 0x8080808080808080u)
            break;
    }
    while (i < n && p[i] < 0x80)
        i++;
    return i;
}

/* Bytes of the code point that begins at p [n >= 1], or 0; then *bad is the length of the maximal
 * part that might have begun one (at least 1).  Ranges of the second byte: Unicode, table 3-7. */
static size_t one(const uint8_t *p, size_t n, size_t *bad)
{
    *bad = 1;
    uint8_t lead = p[0];
    if (lead < 0x80)
        return 1;
    if (lead < 0xC2 || lead > 0xF4)
        return 0;
    size_t want = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (n < 2 || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < want; i++) {
        if (i >= n || (p[i] & 0xC0) != 0x80) {
            *bad = i;
            return 0;
        }
    }
    return want;
}

size_t qg_utf8_valid_prefix(qg_slice text)
{
    const uint8_t *p = (const uint8_t *)text.p;
    size_t i = 0;
    while (i < text.n) {
        if (p[i] < 0x80) {
            i += ascii_run(p + i, text.n - i);
            continue;
        }
        size_t bad;
        size_t n = one(p + i, text.n - i, &bad);
        if (!n)
            break;
        i += n;
    }
    return i;
}

qg_status qg_utf8_lossy(qg_slice text, qg_buf *out)
{
    while (text.n) {
        size_t good = qg_utf8_valid_prefix(text);
        QG_TRY(qg_buf_add(out, text.p, good));
        text.p += good;
        text.n -= good;
        if (!text.n)
            break;
        size_t bad;
        one((const uint8_t *)text.p, text.n, &bad);
        QG_TRY(qg_buf_add(out, "\xEF\xBF\xBD", 3));
        text.p += bad;
        text.n -= bad;
    }
    return QG_OK;
}

int qg_utf8_cut(qg_slice text, int max)
{
    if (text.n <= (size_t)max)
        return (int)text.n;
    while (max > 0 && ((uint8_t)text.p[max] & 0xC0) == 0x80)
        max--;
    return max;
}

size_t qg_utf8_put(uint32_t cp, char *out)
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xC0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3F));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xE0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3F));
        out[2] = (char)(0x80 | (cp & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3F));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3F));
    out[3] = (char)(0x80 | (cp & 0x3F));
    return 4;
}
