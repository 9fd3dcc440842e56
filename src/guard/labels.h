/* The answers as token sequences, derived from the tokenizer at load time.
 *
 * A verdict reads  Safety: S \n Categories: C [\n Refusal: R].  The model is led by the fixed parts
 * and asked only at the labels, so each piece must encode apart exactly as inside the whole; that
 * is checked for every possible verdict.  Within a group no label may be the beginning of another.
 */
#ifndef QG_GUARD_LABELS_H
#define QG_GUARD_LABELS_H

#include "guard/taxonomy.h"
#include "tok/tok.h"

enum { QG_LABEL_IDS = 24 }; /* most tokens of one piece; the real tokenizer needs 5 */

typedef struct qg_piece {
    int32_t ids[QG_LABEL_IDS];
    int32_t n;
} qg_piece;

typedef struct qg_labels {
    qg_piece safety;                    /* "Safety:" */
    qg_piece severity[QG_N_SEVERITIES]; /* " Safe", … */
    qg_piece categories;                /* "\nCategories:" */
    qg_piece category[QG_N_CATEGORIES]; /* " Violent", …, " None" */
    qg_piece refusal;                   /* "\nRefusal:" */
    qg_piece answer[2];                 /* " No", " Yes" */
} qg_labels;

/* QG_ERR_UNSUPPORTED when this tokenizer cannot tell the answers apart; the sentence names them. */
qg_status qg_labels_init(qg_labels *labels, const qg_tok *tok, qg_err *err);

/* Most tokens any verdict can have, end token included. */
int32_t qg_labels_longest(const qg_labels *labels, qg_judged judged);

#endif
