/* Which code points of a text each of its tokens covers.
 *
 * Tokens spell the normalised text; the caller's text may be longer or shorter.  Both are walked
 * together, one segment at a time that normalises apart: where normalisation changes a segment, its
 * tokens cover the whole of it. */
#ifndef QG_GUARD_COVER_H
#define QG_GUARD_COVER_H

#include "base/buf.h"

typedef struct qg_cover {
    qg_slice raw; /* valid UTF-8 */
    bool nfc;     /* the tokens spell the NFC of raw; false: raw itself */
    size_t at;    /* the entry being covered begins here: a code point, or a changed segment */
    uint32_t cp;  /* code points before it */
    size_t size;  /* bytes of raw in the entry; 0 = none begun */
    uint32_t cps; /* its code points */
    size_t left;  /* bytes of its normalised form that no token has covered yet */
} qg_cover;

/* ids spell the beginning of raw; cp: number of its first code point. */
void qg_cover_start(qg_cover *c, qg_slice raw, uint32_t cp, bool nfc);
/* The next token, of n bytes >= 0: code points [*begin, *end).  QG_ERR_NOMEM. */
qg_status qg_cover_token(qg_cover *c, size_t n, uint32_t *begin, uint32_t *end);
/* Bytes of raw that are covered; a code point or segment covered in part does not count. */
size_t qg_cover_bytes(const qg_cover *c);
/* Number of code points in valid UTF-8. */
uint32_t qg_count_cps(qg_slice text);

#endif
