/* The second opinion: what one model is not sure of is asked of another (docs/decisions/0019).
 *
 * An engine with a second model holds that model's engine.  Each verdict's job brings the other
 * engine's job along; its callback posts that one when the first model was unsure, and the caller's
 * callback hears of the verdict that stands.  Nothing waits, and nobody encodes on a scheduler's
 * thread. */
#ifndef QG_ENGINE_SECOND_H
#define QG_ENGINE_SECOND_H

#include "engine/engine_int.h"

/* QG_ERR_ARG: second_below is not in (0,1], or what a second model does not go with. */
qg_status qg_second_check(const qg_options *opt, qg_err *err);
/* How to open it; false: there is none. */
bool qg_second_options(const qg_options *opt, qg_options *second);
/* Opens opt's second model, if it has one, as e->second.  QG_ERR_UNSUPPORTED: either of them is a
 * Stream model; else as qg_engine_open. */
qg_status qg_second_open(qg_engine *e, const qg_options *opt, qg_err *err);
/* Before job is posted: again is asked when job's own verdict is unsure; it is taken.  NULL: it
 * cannot be asked, and why. */
void qg_second_attach(qg_job *job, qg_job *again, qg_status why);

#endif
