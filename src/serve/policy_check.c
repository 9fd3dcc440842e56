#include "serve/serve.h"
#include "svc/policy.h"

#include <stdio.h>

qg_status qg_serve_policy_check(const char *path, char *summary, size_t n, qg_err *err)
{
    qg_policy *policy;
    qg_policy_view view;
    QG_TRY(qg_policy_open(&policy, path, err));
    qg_policy_view_of(policy, qg_str(""), qg_str(""), &view);
    const qg_rules *rules = qg_policy_rules(policy);
    qg_policy_size size = qg_policy_size_of(policy);
    snprintf(summary, n,
             "%s; what cannot be judged: prompts %s, responses %s; %zu rules for prompts, %zu for "
             "responses; %zu keys, %zu models%s",
             view.thresholds.loose ? "loose" : "strict",
             view.open[QG_PHASE_PROMPT] ? "pass" : "are blocked",
             view.open[QG_PHASE_RESPONSE] ? "pass" : "are blocked",
             qg_rules_n(rules, QG_PHASE_PROMPT), qg_rules_n(rules, QG_PHASE_RESPONSE), size.n_keys,
             size.n_models, view.shadow ? "; shadow: nothing is blocked" : "");
    qg_policy_unref(policy);
    return QG_OK;
}
