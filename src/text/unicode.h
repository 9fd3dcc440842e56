/* What the reference tokenizer's expressions say about a code point.  The tables follow Unicode
 * 16.0 for classes and 9.0 for normalisation, as the reference does (its two libraries differ);
 * tools/make_unicode_tables makes them. */
#ifndef QG_TEXT_UNICODE_H
#define QG_TEXT_UNICODE_H

#include <stdbool.h>
#include <stdint.h>

enum {
    QG_UNI_OTHER = 0, /* [^\s\p{L}\p{N}], combining marks included */
    QG_UNI_LETTER = 1,
    QG_UNI_NUMBER = 2,
    QG_UNI_SPACE = 3,
    QG_UNI_CLASS = 3,    /* mask of the four above */
    QG_UNI_UNSTABLE = 4, /* may change, move or join the one before it under NFC */
};

enum { QG_UNI_SHIFT = 7, QG_UNI_LIMIT = 0x32400 };
extern const uint8_t qg_uni_first[];  /* [cp >> SHIFT] -> block */
extern const uint8_t qg_uni_second[]; /* [block << SHIFT | low bits], two to a byte */

/* Class and stability of any 32-bit value; past Unicode's end: OTHER. */
static inline unsigned qg_uni_props(uint32_t cp)
{
    if (cp >= QG_UNI_LIMIT)
        return QG_UNI_OTHER;
    uint32_t at = (uint32_t)qg_uni_first[cp >> QG_UNI_SHIFT] << QG_UNI_SHIFT |
                  (cp & ((1u << QG_UNI_SHIFT) - 1));
    return (unsigned)qg_uni_second[at >> 1] >> (at & 1) * 4 & 7;
}

#endif
