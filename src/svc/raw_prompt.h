/* Prompts that the caller has rendered: which part of them is the caller's, for the policy's rules.
 * What the model's own template says (its list of forbidden things, for one) is not. */
#ifndef QG_SVC_RAW_PROMPT_H
#define QG_SVC_RAW_PROMPT_H

#include "qguard.h"
#include "svc/policy.h"

/* The template's text around a conversation. */
typedef struct qg_raw_frame {
    char *text; /* rendered with a mark for the conversation; NULL = no such frame */
    qg_slice before, behind;
} qg_raw_frame;

typedef struct qg_raw {
    qg_raw_frame frame[2]; /* by qg_phase: prompts, replies */
} qg_raw;

/* Renders the engine's template.  What it does not render has no frame; never fails. */
void qg_raw_open(qg_raw *raw, const qg_engine *engine);
void qg_raw_close(qg_raw *raw);

/* The part of text inside the frame it has, and whether it asks about a prompt or a reply; without
 * a frame all of it, and *known is false. */
qg_slice qg_raw_inside(const qg_raw *raw, qg_slice text, qg_phase *phase, bool *known);

#endif
