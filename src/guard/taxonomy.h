/* The taxonomy as data: what can be answered, how it is spelled, where it may appear. */
#ifndef QG_GUARD_TAXONOMY_H
#define QG_GUARD_TAXONOMY_H

#include "base/slice.h"
#include "base/status.h"

enum { QG_N_SEVERITIES = 3, QG_N_CATEGORIES = 10, QG_CATEGORY_NONE = 9 };

/* What is judged: a prompt (last message is the user's) or a reply to it. */
typedef enum qg_judged { QG_PROMPT = 0, QG_REPLY = 1 } qg_judged;

/* The model's own spelling, without the leading blank.  Severities are indexed by qg_severity,
 * categories in the order of the Gen policy, "None" last; refusal by "is it one". */
extern const char *const qg_severity_labels[QG_N_SEVERITIES];
extern const char *const qg_category_labels[QG_N_CATEGORIES];
extern const char *const qg_refusal_labels[2]; /* No, Yes */

/* Bits of the categories that can be the answer: Jailbreak is a prompt's only. */
unsigned qg_categories_allowed(qg_judged judged);

/* Index of a category name, ignoring ASCII case, with the spellings seen in the wild as aliases
 * ("Personally Identifiable Information", ...); -1 when unknown. */
int qg_category_find(qg_slice name);
/* Index of a severity name, ignoring ASCII case; -1 when unknown. */
int qg_severity_find(qg_slice name);

/* Equal up to ASCII case. */
bool qg_same_word(qg_slice a, const char *b);

#endif
