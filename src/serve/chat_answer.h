/* Chat completions on the wire: one object, or a stream of chunks. */
#ifndef QG_SERVE_CHAT_ANSWER_H
#define QG_SERVE_CHAT_ANSWER_H

#include "serve/chat_text.h"
#include "serve/serve_priv.h"

/* Everything an answer says; texts are borrowed for as long as the answer is made from it. */
typedef struct qg_chat_answer {
    char id[QG_HTTP_VALUE_BYTES + 16]; /* "chatcmpl-…" */
    const char *model;
    int64_t created, n;
    qg_chat_text said;
    int64_t n_prompt, n_cached;
    bool include_usage, continuous_usage;
} qg_chat_answer;

/* The chat.completion object; NULL when out of memory. */
json_t *qg_chat_answer_object(const qg_chat_answer *a);

/* The stream's frames one after the other: 1 and text in *frame (freed with qg_mfree), 0 at the
 * end, -1 when out of memory.  step counts from 0. */
int qg_chat_answer_frame(const qg_chat_answer *a, int64_t step, char **frame);

#endif
