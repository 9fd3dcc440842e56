/* What the chat template puts around a turn, learnt by rendering marked contents:
 *
 *   <|im_start|>user\n  content  <|im_end|>\n
 *   '-- open ---'`lead'         '--- close --'
 *
 * open and close are control tokens and what lies between them; the lead is text in front of the
 * content in the same run, so it has to be encoded together with it ("user\n" and a content that
 * begins with a line break make other tokens apart). */
#ifndef QG_GUARD_FRAMES_H
#define QG_GUARD_FRAMES_H

#include "guard/guard.h"

typedef enum qg_role { QG_ROLE_SYSTEM, QG_ROLE_USER, QG_ROLE_ASSISTANT, QG_N_ROLES } qg_role;

extern const char *const qg_role_names[QG_N_ROLES];
/* -1 when unknown. */
int qg_role_find(const char *name);

typedef struct qg_turn_open {
    bool known;
    qg_ids ids;
    qg_buf lead;
} qg_turn_open;

typedef struct qg_frame_of {
    qg_turn_open open[2]; /* [0] as the conversation's first turn, [1] later */
    qg_buf trail;         /* text behind the content in the same run */
    qg_ids close;         /* ids[0] is the control token that ends the turn */
} qg_frame_of;

typedef struct qg_frames {
    qg_frame_of role[QG_N_ROLES];
} qg_frames;

/* QG_ERR_UNSUPPORTED when the template does not show contents, or does not part turns by control
 * tokens; the sentence says so.  A role that the template refuses in a place is not known there.
 * An assistant's frame is that of a conversation's last turn: with an empty think block.
 * frames: zero-initialised; free it also after failure. */
qg_status qg_frames_init(qg_frames *frames, const qg_guard *guard, const qg_tok *tok, qg_err *err);
void qg_frames_free(qg_frames *frames);

#endif
