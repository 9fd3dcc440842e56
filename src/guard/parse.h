/* Reads a verdict out of text that the model wrote itself (generate mode). */
#ifndef QG_GUARD_PARSE_H
#define QG_GUARD_PARSE_H

#include "guard/taxonomy.h"

typedef struct qg_parsed {
    int severity;               /* qg_severity; QG_SEVERITY_UNKNOWN when the text is no verdict */
    unsigned categories;        /* bits; QG_CATEGORY_NONE never among them */
    int order[QG_N_CATEGORIES]; /* the categories as written, first mention first */
    int n_categories;
    int refusal; /* 1, 0, or -1 when no such line */
} qg_parsed;

/* Lenient where the meaning is plain: blanks around and inside lines, case of the labels, CRLF,
 * several categories split by commas, unknown category names skipped, a Refusal line where none was
 * asked for.  Strict where it matters: the severity is unknown unless a "Safety:" line holds
 * exactly a known label and no other Safety line contradicts it.  When the text was cut off
 * (finished false) its last line is not read, since a label may be cut too.  Never turns rubbish
 * into Safe. */
void qg_parse_verdict(qg_slice text, bool finished, qg_parsed *out);

#endif
