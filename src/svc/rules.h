/* Word and pattern rules of a policy: literals in one automaton, patterns by PCRE2 (no JIT, bounded
 * work), over a whole text or one that arrives in pieces: the pieces never change what matches. */
#ifndef QG_SVC_RULES_H
#define QG_SVC_RULES_H

#include "base/slice.h"
#include "base/status.h"

typedef enum qg_phase { QG_PHASE_PROMPT = 0, QG_PHASE_RESPONSE = 1, QG_N_PHASES = 2 } qg_phase;

typedef struct qg_rule {
    qg_slice text;        /* the literal or the pattern */
    bool regex;           /* pattern: PCRE2, UTF mode; literal: case does not count */
    qg_severity severity; /* of a text in which it matches */
    const char *category; /* canonical name; NULL with QG_SAFE only */
    bool phases[QG_N_PHASES];
    bool final;   /* decides alone: the model is not asked */
    int32_t line; /* in the policy file, for sentences */
} qg_rule;

typedef struct qg_rules qg_rules; /* immutable once open; any number of threads may scan */

/* Copies rules [n].  QG_ERR_ARG / QG_ERR_TOO_LONG name the line: a broken pattern (with PCRE2's own
 * words and offset), an empty literal, too many rules. */
qg_status qg_rules_open(qg_rules **out, const qg_rule *rules, size_t n, qg_err *err);
void qg_rules_close(qg_rules *rules);
size_t qg_rules_n(const qg_rules *rules, qg_phase phase);

/* Where a rule matches first; code points [begin, end) of the text. */
typedef struct qg_rule_hit {
    const qg_rule *rule;
    uint64_t begin, end;
} qg_rule_hit;

/* One reader of one text; one thread at a time. */
typedef struct qg_scan qg_scan;
qg_status qg_scan_open(qg_scan **out, const qg_rules *rules, qg_phase phase, qg_err *err);
void qg_scan_close(qg_scan *scan);

/* The next bytes of the text, cut anywhere, also inside a character; last: the text ends here.
 * QG_ERR_ARG: they cannot be UTF-8.  QG_ERR_TOO_LONG: a pattern needs more work or memory than it
 * may have (the line is named): the text is not judged then.  QG_ERR_NOMEM. */
qg_status qg_scan_push(qg_scan *scan, qg_slice bytes, bool last, qg_err *err);

/* What the matches so far say, or false: of the final rules that matched the first of the file;
 * without one the most severe, and of those the one that begins first. */
bool qg_scan_verdict(const qg_scan *scan, qg_rule_hit *hit);
/* Nothing before this code point can become part of a match any more.  A literal holds back no more
 * than its own length, a pattern at most QG_MAX_RULE_SPAN characters: a match that is longer is
 * found in a whole text, but not in one that arrives in pieces. */
uint64_t qg_scan_held(const qg_scan *scan);

#endif
