/* What of the model's text a chat request gets: cut by max_tokens and stop strings. */
#ifndef QG_SERVE_CHAT_TEXT_H
#define QG_SERVE_CHAT_TEXT_H

#include "serve/chat_request.h"

typedef struct qg_chat_text {
    qg_slice text;    /* borrowed from the result, or from owned */
    char *owned;      /* freed by qg_chat_text_free */
    bool length;      /* cut by max_tokens */
    qg_slice stop;    /* the stop string that ended it; p is NULL when none did */
    int64_t n_tokens; /* written, the end token included when it was reached */
} qg_chat_text;

/* Applies the request's limits to the result, as a server that decodes token by token would: the
 * text up to the limit is the same, and so is the count. */
qg_status qg_chat_text_make(qg_chat_text *out, const qg_engine *engine, const qg_result *result,
                            const qg_chat_request *r, qg_err *err);
void qg_chat_text_free(qg_chat_text *text);

#endif
