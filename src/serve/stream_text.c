#include "serve/stream_text.h"

json_t *qg_stream_summary(const char *role, const qg_stream_result *r, const qg_stream_rule *rule,
                          const qg_policy_view *view)
{
    bool by_rule = qg_stream_rule_decides(rule, r->flagged ? r->severity : QG_SAFE);
    bool flagged = by_rule ? qg_stream_rule_hits(rule, view) : r->flagged;
    qg_severity severity = by_rule ? rule->rule->severity : r->severity;
    const char *category = by_rule ? rule->rule->category : r->category;
    uint64_t begin = by_rule ? rule->begin : r->flagged_begin;
    uint64_t end = by_rule ? rule->end : r->flagged_end;
    qg_action action = flagged ? qg_policy_action(view, severity, category) : QG_ACTION_ALLOW;
    /* The end of a prompt covers no text. */
    json_t *range = flagged && end > begin ? json_pack("[I,I]", (json_int_t)begin, (json_int_t)end)
                                           : json_null();
    json_t *line = by_rule ? json_integer(rule->rule->line) : json_null();
    return json_pack(
        "{s:s?,s:i,s:i,s:i,s:b,s:i,s:o,s:s,s:s?,s:s,s:o,s:s}", "role", role, "n_tokens",
        (int)r->n_ids, "n_cached", (int)r->n_cached, "n_provisional", (int)r->n_provisional,
        "flagged", (int)flagged, "first_flagged_index", (int)r->first_flagged_index, "range", range,
        "severity", qg_severity_name(severity), "category", category, "source",
        by_rule ? "rule" : "stream", "rule_line", line, "action", qg_action_name(action));
}
