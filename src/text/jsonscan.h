/* JSON read from front to back, value by value, without a tree: for tables of a hundred thousand
 * entries.  What it takes is what text/json.h takes; what it refuses has no sentence here: ask
 * qg_json_parse for one. */
#ifndef QG_TEXT_JSONSCAN_H
#define QG_TEXT_JSONSCAN_H

#include "base/buf.h"

typedef struct qg_scan {
    const char *at, *end;
} qg_scan;

/* The next byte that is no white space, not taken; 0 at the end. */
char qg_scan_peek(qg_scan *s);
/* Takes c (a bracket, comma or colon) if it is the next byte. */
bool qg_scan_take(qg_scan *s, char c);
/* Takes a string.  *out points into the text, or into room (caller inits and frees; overwritten)
 * when it has escapes.  QG_ERR_FORMAT: no string, a control character, broken UTF-8, a lone
 * surrogate or U+0000; QG_ERR_NOMEM. */
qg_status qg_scan_string(qg_scan *s, qg_buf *room, qg_slice *out);
/* Takes an integer that fits; false: there is none (s may have moved). */
bool qg_scan_int(qg_scan *s, int64_t *out);
/* Passes over one value: strings and brackets are matched, their contents not checked.  False: the
 * text ends before it, or there is none. */
bool qg_scan_skip(qg_scan *s);

#endif
