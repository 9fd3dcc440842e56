/* A text longer than the context, judged in overlapping windows where the policy says so
 * (long_input: windows).  The models were not trained on parts of texts, so a reply always says
 * that it was done. */
#ifndef QG_SERVE_WINDOWS_H
#define QG_SERVE_WINDOWS_H

#include "svc/policy.h"
#include "svc/window_cut.h"

/* Of two windows' verdicts whether a stands: the more severe one, of equals the one that is more
 * probably a hit. */
bool qg_window_worse(const qg_policy_view *view, const qg_result *a, const qg_result *b);

#endif
