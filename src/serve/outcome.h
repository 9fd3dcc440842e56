/* What a verdict means under the policy: the one place where probabilities become hits and scores.
 * Every protocol but chat shows nothing else. */
#ifndef QG_SERVE_OUTCOME_H
#define QG_SERVE_OUTCOME_H

#include "serve/serve_priv.h"
#include "svc/policy.h"

/* The nine categories in canonical order, and what other protocols call them. */
typedef struct qg_category_names {
    const char *name;     /* the model's own */
    const char *key;      /* for JSON: "violent" */
    unsigned openai;      /* bits of the 13 OpenAI categories, see qg_openai_categories */
    unsigned openai_wide; /* further ones, so that no hit is without any of the 13 */
    const char *lakera;   /* detector_type */
    int azure;            /* 0 Hate, 1 Sexual, 2 SelfHarm, 3 Violence */
    bool azure_wide;      /* … only so that no hit is without any of the four */
} qg_category_names;

enum { QG_N_HARMS = QG_POLICY_CATEGORIES, QG_N_OPENAI = 13 };
extern const qg_category_names qg_harms[QG_N_HARMS];
extern const char *const qg_openai_categories[QG_N_OPENAI];

typedef struct qg_outcome {
    bool hit;     /* by the policy */
    bool block;   /* … and its action is to block, not in shadow mode */
    double score; /* of a hit, in [0,1]; above 0.5 exactly when hit */
    double p_hit; /* the same as the model gives it: the labels that are hits, together */
    int primary;  /* category of a hit, -1 = None or no hit */
    double category[QG_N_HARMS]; /* score of each; above 0.5 for the primary one of a hit only */
    const char *severity, *category_name; /* "Unsafe", "Violent"; "None" */
    const char *refusal;                  /* "Yes", "No" or NULL */
    const char *message;                  /* the policy's, for what is blocked */
} qg_outcome;

/* Puts "strict" or "loose" of the request's own over the policy's; false for another word. */
bool qg_view_choose(qg_policy_view *view, qg_slice word);

/* Of ask i, by the policy of the request. */
void qg_serve_outcome(const qg_serve_job *job, size_t i, qg_outcome *out);
void qg_outcome_of(qg_outcome *out, const qg_policy_view *view, const qg_result *result);
/* One moderation_result with the nine categories, as the `moderation` field of chat completions
 * and of the Responses API has it; NULL when out of memory. */
json_t *qg_outcome_moderation(const qg_outcome *out, const char *model);
/* "Unsafe: Violent", for people; cut to fit. */
void qg_outcome_sentence(const qg_outcome *out, char *text, size_t n);

#endif
