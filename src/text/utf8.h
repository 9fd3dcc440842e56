/* UTF-8, strict: no overlong forms, no surrogates, nothing past U+10FFFF. */
#ifndef QG_TEXT_UTF8_H
#define QG_TEXT_UTF8_H

#include "base/buf.h"

#include <stdint.h>

/* Length of the longest prefix that is whole, valid UTF-8 (text.n when all of it is). */
size_t qg_utf8_valid_prefix(qg_slice text);
static inline bool qg_utf8_valid(qg_slice text)
{
    return qg_utf8_valid_prefix(text) == text.n;
}

/* Appends text to out with U+FFFD for each maximal part that cannot be continued to a code point:
 * what Rust's from_utf8_lossy and the web's decoders do. */
qg_status qg_utf8_lossy(qg_slice text, qg_buf *out) __attribute__((warn_unused_result));

/* Bytes of the longest prefix of valid text that has at most max bytes and cuts no code point; as
 * int for "%.*s" in a sentence. */
int qg_utf8_cut(qg_slice text, int max);

/* Writes cp (valid, not a surrogate) to out [4]; gives the number of bytes. */
size_t qg_utf8_put(uint32_t cp, char *out);

/* Code points of valid text. */
static inline size_t qg_utf8_count(qg_slice text)
{
    size_t count = 0;
    for (size_t i = 0; i < text.n; i++)
        count += ((unsigned char)text.p[i] & 0xC0) != 0x80;
    return count;
}

/* Code point at p, which must point into valid UTF-8; *n gets its bytes. */
static inline uint32_t qg_utf8_at(const char *at, size_t *n)
{
    const uint8_t *p = (const uint8_t *)at;
    if (p[0] < 0x80) {
        *n = 1;
        return p[0];
    }
    if (p[0] < 0xE0) {
        *n = 2;
        return (p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu);
    }
    if (p[0] < 0xF0) {
        *n = 3;
        return (p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
    }
    *n = 4;
    return (p[0] & 0x07u) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu);
}

#endif
