#include "serve/outcome.h"

#include <stdio.h>

const char *const qg_openai_categories[QG_N_OPENAI] = {
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/intent",
    "self-harm/instructions",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
};

enum {
    HARASSMENT = 1u << 0,
    HATE = 1u << 2,
    ILLICIT = 1u << 4,
    ILLICIT_VIOLENT = 1u << 5,
    SELF_HARM = 1u << 6,
    SEXUAL = 1u << 9,
    VIOLENCE = 1u << 11,
};

/* PII is not "pii/…" at Lakera: LiteLLM masks spans then, instead of blocking. */
const qg_category_names qg_harms[QG_N_HARMS] = {
    {"Violent", "violent", VIOLENCE | ILLICIT_VIOLENT, 0, "moderated_content/violence", 3, false},
    {"Non-violent Illegal Acts", "non_violent_illegal_acts", ILLICIT, 0, "moderated_content/crime",
     3, true},
    {"Sexual Content or Sexual Acts", "sexual_content", SEXUAL, 0, "moderated_content/sexual", 1,
     false},
    {"PII", "pii", 0, ILLICIT, "moderated_content/pii", 3, true},
    {"Suicide & Self-Harm", "suicide_self_harm", SELF_HARM, 0, "moderated_content/self_harm", 2,
     false},
    {"Unethical Acts", "unethical_acts", HARASSMENT | HATE, 0, "moderated_content/hate", 0, false},
    {"Politically Sensitive Topics", "politically_sensitive", 0, HARASSMENT,
     "moderated_content/politics", 0, true},
    {"Copyright Violation", "copyright", 0, ILLICIT, "moderated_content/copyright", 3, true},
    {"Jailbreak", "jailbreak", 0, ILLICIT, "prompt_attack", 3, true},
};

bool qg_view_choose(qg_policy_view *view, qg_slice word)
{
    if (qg_slice_is(word, "strict") || qg_slice_is(word, "loose"))
        view->thresholds.loose = qg_slice_is(word, "loose");
    else
        return word.n == 0;
    return true;
}

static int harm_of(const char *name)
{
    for (int i = 0; i < QG_N_HARMS; i++)
        if (strcmp(qg_harms[i].name, name) == 0)
            return i;
    return -1;
}

/* Without probabilities (generate mode) the label has all of it. */
static void probabilities(const qg_result *r, double *severity, double *harm)
{
    memset(severity, 0, 3 * sizeof *severity);
    memset(harm, 0, QG_N_HARMS * sizeof *harm);
    if (r->has_p)
        memcpy(severity, r->p_severity, 3 * sizeof *severity);
    else if (r->severity < QG_SEVERITY_UNKNOWN)
        severity[r->severity] = 1;
    for (size_t i = 0; r->has_p && i < r->n_p_categories; i++) {
        int k = harm_of(r->p_category_names[i]);
        if (k >= 0)
            harm[k] = r->p_categories[i];
    }
    int only = r->n_categories ? harm_of(r->categories[0]) : -1;
    if (!r->has_p && only >= 0)
        harm[only] = 1;
}

/* Some clients take a score above 0.5 for a hit and others look at the flag: both must say the same
 * (CONTRACTS.md 14, row 6).  The label may win with less than half, and a threshold may lie
 * elsewhere; the score then stands just beside 0.5. */
static double agreeing(double score, bool hit)
{
    const double above = 0.500001;
    if (hit)
        return score > 0.5 ? score : above;
    return score > 0.5 ? 0.5 : score;
}

/* A hit that the policy allows is none. */
static void act(qg_outcome *out, const qg_policy_view *view, const qg_result *r)
{
    const char *category = out->primary >= 0 ? qg_harms[out->primary].name : NULL;
    qg_action action = qg_policy_action(view, r->severity, category);
    if (action == QG_ACTION_ALLOW) {
        out->hit = false;
        out->primary = -1;
    }
    out->block = out->hit && !view->shadow && action == QG_ACTION_BLOCK;
}

void qg_outcome_of(qg_outcome *out, const qg_policy_view *view, const qg_result *r)
{
    double severity[3], harm[QG_N_HARMS], all = 0;
    int by;
    probabilities(r, severity, harm);
    double p_hit = severity[QG_UNSAFE] + (view->thresholds.loose ? 0 : severity[QG_CONTROVERSIAL]);
    *out = (qg_outcome){
        .primary = -1,
        .p_hit = p_hit,
        .severity = qg_severity_name(r->severity),
        .category_name = r->n_categories ? r->categories[0] : "None",
        .refusal = r->refusal < 0 ? NULL
                   : r->refusal   ? "Yes"
                                  : "No",
        .message = view->message,
    };
    for (int i = 0; i < QG_N_HARMS; i++)
        all += harm[i];
    for (int i = 0; i < QG_N_HARMS; i++) /* given that it is a hit */
        harm[i] = all > 0 ? harm[i] / all : 0;
    out->hit = qg_thresholds_hit(&view->thresholds, r->severity, severity, harm,
                                 r->n_categories ? harm_of(r->categories[0]) : -1, &by);
    out->primary = out->hit ? by : -1;
    for (int i = 0; i < QG_N_HARMS; i++) /* shares of what is a hit */
        harm[i] *= p_hit;
    act(out, view, r);
    out->score = agreeing(p_hit, out->hit);
    for (int i = 0; i < QG_N_HARMS; i++)
        out->category[i] = agreeing(harm[i], i == out->primary);
}

void qg_serve_outcome(const qg_serve_job *job, size_t i, qg_outcome *out)
{
    qg_outcome_of(out, &job->view, job->asks[i].result);
}

json_t *qg_outcome_moderation(const qg_outcome *out, const char *model)
{
    json_t *hits = json_object(), *scores = json_object(), *types = json_object();
    for (int i = 0; i < QG_N_HARMS; i++) {
        json_object_set_new(hits, qg_harms[i].key, json_boolean(i == out->primary));
        json_object_set_new(scores, qg_harms[i].key, json_real(out->category[i]));
        json_object_set_new(types, qg_harms[i].key, json_pack("[s]", "text"));
    }
    return json_pack("{s:s,s:s,s:b,s:o,s:o,s:o}", "type", "moderation_result", "model", model,
                     "flagged", (int)out->hit, "categories", hits, "category_scores", scores,
                     "category_applied_input_types", types);
}

void qg_outcome_sentence(const qg_outcome *out, char *text, size_t n)
{
    snprintf(text, n, "%s: %s", out->severity, out->category_name);
}
