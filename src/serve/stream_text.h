/* Results of a Stream session as JSON. */
#ifndef QG_SERVE_STREAM_TEXT_H
#define QG_SERVE_STREAM_TEXT_H

#include "serve/stream_rules.h"

/* {"role":…,"n_tokens":…,…,"flagged":…,"first_flagged_index":…,"range":…,"severity":…,
 * "category":…,"source":…,"rule_line":…,"action":…}: where the conversation stands.  The turn is
 * what its first flagged token says, or what the rule says that decides.  role may be NULL.  NULL
 * when out of memory. */
json_t *qg_stream_summary(const char *role, const qg_stream_result *result,
                          const qg_stream_rule *rule, const qg_policy_view *view);

#endif
