/* The body of POST /v1/chat/completions, read and checked. */
#ifndef QG_SERVE_CHAT_REQUEST_H
#define QG_SERVE_CHAT_REQUEST_H

#include "serve/gen_options.h"
#include "serve/messages.h"

typedef struct qg_chat_request {
    qg_messages messages;
    qg_slice id;        /* request_id, or "" */
    qg_gen_options gen; /* sampling.top_logprobs >= 0: logprobs were asked for */
    bool moderation;    /* verdicts as the `moderation` field, too */
    qg_messages prompt; /* with moderation: the conversation up to the user's last message; n is 0
                           when there is none */
    bool judges_prompt; /* … and that is the message which is judged anyway */
} qg_chat_request;

/* Reads root.  Unknown fields are ignored.  Texts lie in root or in arena.  QG_ERR_FORMAT (a wrong
 * type), QG_ERR_ARG (meaning), QG_ERR_TOO_LONG, QG_ERR_NOMEM, with *fault filled in. */
qg_status qg_chat_request_read(qg_chat_request *r, const json_t *root, qg_arena *arena,
                               qg_fault *fault);

#endif
