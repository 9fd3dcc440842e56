/* One regular expression over a text that arrives in pieces: PCRE2 wrapped once.  No JIT (it needs
 * memory that is writable and executable), bounded work, memory of base/mem.h. */
#ifndef QG_SVC_PATTERN_H
#define QG_SVC_PATTERN_H

#include "base/slice.h"
#include "base/status.h"

typedef struct qg_pattern qg_pattern; /* immutable; any number of threads */

/* UTF-8, Unicode classes (\w, \d, \b know all scripts).  QG_ERR_ARG: PCRE2's words and the offset;
 * also a pattern that matches the empty text, since that would match everywhere. */
qg_status qg_pattern_open(qg_pattern **out, qg_slice text, qg_err *err);
void qg_pattern_close(qg_pattern *p);

/* Where one pattern is in one text. */
typedef struct qg_pattern_at {
    bool done;     /* it has matched: not to be run again */
    size_t from;   /* bytes behind the window's start where the next try begins */
    uint64_t held; /* code point: nothing before it can become part of a match */
} qg_pattern_at;

/* The window of a text that patterns still need, and what it takes to run them. */
typedef struct qg_match qg_match;
qg_status qg_match_open(qg_match **out, qg_err *err);
void qg_match_close(qg_match *m);
/* Tells that this pattern will be run: how far it looks back. */
void qg_match_reserve(qg_match *m, const qg_pattern *p);
/* Whole characters, the next ones of the text.  QG_ERR_NOMEM, QG_ERR_TOO_LONG. */
qg_status qg_match_add(qg_match *m, qg_slice text, qg_err *err);
/* Looks on from where at stands.  found: code points [*begin, *end).  QG_ERR_TOO_LONG: the work or
 * memory allowed was not enough. */
qg_status qg_match_run(qg_match *m, const qg_pattern *p, qg_pattern_at *at, bool last, bool *found,
                       uint64_t *begin, uint64_t *end, qg_err *err);
/* Drops what none of at [n] can need any more; moves their from. */
void qg_match_trim(qg_match *m, qg_pattern_at *at, size_t n);

#endif
