/* What of a conversation the model is shown, and what the policy's rules say about it: the part of
 * judging that needs no server.  One way, for requests and for rows of files. */
#ifndef QG_SERVE_SHOWN_H
#define QG_SERVE_SHOWN_H

#include "serve/messages.h"
#include "svc/policy.h"

/* Sees to it that the template shows the last message of m, which is judged: a longer list in arena
 * where it would be dropped.  Otherwise the arena's reason (out of memory). */
qg_status qg_shown_messages(qg_arena *arena, qg_messages *m);
/* Leaves out the context that the policy does not want; what is left is shown as above. */
qg_status qg_shown_scope(const qg_policy_view *view, qg_arena *arena, qg_messages *m);

/* Whether the last of n messages is a prompt or a reply. */
qg_phase qg_shown_phase(const qg_message *messages, size_t n);
/* Holds the judged text against the rules: true in *found, and the match, when one of them says
 * something.  QG_ERR_TOO_LONG, QG_ERR_ARG: it could not be, so the text is not judged. */
qg_status qg_shown_rules(const qg_rules *rules, qg_phase phase, qg_text text, bool *found,
                         qg_rule_hit *match, qg_err *err);
/* The verdict that a rule makes; as qg_result_make. */
qg_status qg_shown_rule_result(const qg_engine *engine, qg_phase phase, const qg_rule *rule,
                               qg_result **out, qg_err *err);
/* Of a rule that is not final and the model's verdict the more severe stands. */
bool qg_shown_rule_stands(const qg_rule *rule, const qg_result *said);

#endif
