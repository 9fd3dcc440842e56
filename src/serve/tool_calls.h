/* What a model wants to call is text of its own making, and is judged as such. */
#ifndef QG_SERVE_TOOL_CALLS_H
#define QG_SERVE_TOOL_CALLS_H

#include "base/arena.h"
#include "qguard.h"
#include "text/json.h"

/* True when message has a call: an entry of tool_calls, or a function_call that is not null. */
bool qg_has_calls(const json_t *message);

/* Adds to *text (which may be empty) a line for each call of message: the function's name, a blank
 * and its arguments.  Arguments that are JSON are written anew, so that no escape hides a word; a
 * call of another kind is shown as its JSON.  The text lies in arena.  QG_ERR_NOMEM,
 * QG_ERR_TOO_LONG. */
qg_status qg_calls_add(qg_arena *arena, const json_t *message, qg_text *text);
/* The line of one call. */
qg_status qg_call_text(qg_arena *arena, const json_t *call, qg_text *text);

#endif
