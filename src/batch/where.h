/* Which rows of a labelled data set are kept: comparisons over their verdicts. */
#ifndef QG_BATCH_WHERE_H
#define QG_BATCH_WHERE_H

#include "base/limits.h"
#include "batch/plain_verdict.h"

typedef enum qg_where_field {
    QG_WHERE_SEVERITY,
    QG_WHERE_CATEGORY,
    QG_WHERE_REFUSAL,
    QG_WHERE_ROLE,
    QG_WHERE_HIT,
    QG_WHERE_ACTION,
    QG_WHERE_P_SEVERITY,
    QG_WHERE_P_CATEGORY,
    QG_WHERE_P_REFUSAL,
} qg_where_field;

typedef enum qg_where_op { QG_EQ, QG_NE, QG_LT, QG_LE, QG_GT, QG_GE } qg_where_op;

typedef struct qg_where_term {
    qg_where_field field;
    qg_where_op op;
    int index;    /* of P_SEVERITY, P_CATEGORY */
    double value; /* number, or the place of the word in its list */
    bool or_next; /* the next term begins another alternative */
} qg_where_term;

typedef struct qg_where {
    qg_where_term terms[QG_MAX_WHERE];
    size_t n; /* 0 = every row */
} qg_where;

/* Reads "severity!=Safe && p.Unsafe>=0.8 || category=PII": && binds closer than ||, no brackets.
 *   severity, =, !=, and by rank <, <=, >, >=   Safe, Controversial, Unsafe
 *   category, =, !=     one of the nine, or None
 *   refusal, =, !=      Yes, No, None
 *   role, =, !=         user, assistant
 *   hit, =, !=          true, false (by the policy)
 *   action, =, !=       allow, flag, block (by the policy)
 *   p.Safe, p.Controversial, p.Unsafe, p.refusal, p.CATEGORY   a number; all operators
 * Case does not count in words.  QG_ERR_ARG says which comparison is wrong. */
qg_status qg_where_parse(qg_where *w, const char *text, qg_err *err);
/* Reads a list of severities, "safe,controversial", and hit or pass: any of them keeps a row. */
qg_status qg_where_keep(qg_where *w, const char *words, qg_err *err);

/* Whether this verdict's row is kept.  Any thread. */
bool qg_where_holds(const qg_where *w, const qg_said *said, const qg_policy_view *view);

#endif
