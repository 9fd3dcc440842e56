/* What servers say back of a request (instructions, tools, stop words): no text of the model's
 * where the client has said the very same, and a text like any other where not. */
#ifndef QG_GATEWAY_ECHO_H
#define QG_GATEWAY_ECHO_H

#include "base/buf.h"

typedef struct qg_echo {
    qg_buf said; /* every string of the request, each between 0 bytes; "" = not read yet */
    qg_buf room;
} qg_echo;

/* Allocates nothing. */
void qg_echo_init(qg_echo *echo);
void qg_echo_free(qg_echo *echo);

/* True: every string in value (JSON as it stands: one string without its quotes, or with `nested` a
 * list or object) is one of the request's (JSON), or a word.  Without memory nothing is. */
bool qg_echo_is(qg_echo *echo, qg_slice request, qg_slice value, bool nested);

#endif
