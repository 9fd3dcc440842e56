/* From logits at the tree's nodes to a verdict with probabilities. */
#ifndef QG_GUARD_VERDICT_H
#define QG_GUARD_VERDICT_H

#include "guard/tree.h"

/* Every token that occurs in a label: the only columns of the output matrix that are computed. */
enum { QG_ANSWER_IDS = (QG_N_SEVERITIES + QG_N_CATEGORIES + 2) * QG_LABEL_IDS };

typedef struct qg_answers {
    int32_t ids[QG_ANSWER_IDS]; /* distinct, rising */
    int32_t n;
} qg_answers;

/* Collects them. */
void qg_answers_init(qg_answers *answers, const qg_labels *labels);

typedef struct qg_verdict {
    qg_judged judged;
    int severity;                       /* qg_severity */
    int category;                       /* given that severity */
    int refusal;                        /* 1, 0; -1 for a prompt */
    double p_severity[QG_N_SEVERITIES]; /* sums to 1 */
    double p_category[QG_N_CATEGORIES]; /* over all severities: sum of p(s) p(c|s); sums to 1 */
    double p_refusal;                   /* of Yes, on the chosen branch; -1 for a prompt */
} qg_verdict;

/* Reads the verdict from logits [tree->n_reads][answers->n].  The most probable severity is taken,
 * then the most probable category behind it, then the refusal behind both, as greedy decoding among
 * the allowed answers would.  Probabilities are renormalised over the allowed answers; a label of
 * several tokens has the product along its path. *more: the refusal's branch was not in the tree;
 * it has been added, and the caller computes the new reads and calls again.  QG_ERR_INTERNAL: a
 * logit is not a finite number. */
qg_status qg_verdict_read(qg_verdict *v, qg_judged judged, qg_tree *tree, const qg_labels *labels,
                          const qg_answers *answers, const float *logits, bool *more, qg_err *err);

/* Appends the verdict's ids (without the end token). */
qg_status qg_verdict_ids(const qg_verdict *v, const qg_labels *labels, qg_ids *ids);
/* Appends the verdict's text: exactly what the model writes. */
qg_status qg_verdict_text(const qg_verdict *v, qg_buf *text);

#endif
