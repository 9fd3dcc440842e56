/* The body of POST /v1/chat/completions, read and checked. */
#ifndef QG_SERVE_CHAT_REQUEST_H
#define QG_SERVE_CHAT_REQUEST_H

#include "base/arena.h"
#include "qguard.h"
#include "text/json.h"

enum { QG_CHAT_STOPS = 16 };

typedef struct qg_chat_request {
    json_t *root;   /* holds every text below */
    qg_arena arena; /* holds the lists and joined texts */
    qg_message *messages;
    size_t n_messages;
    qg_slice model; /* "" = the default one */
    qg_slice id;    /* request_id, or "" */
    bool stream, include_usage, continuous_usage;
    int64_t max_tokens; /* 0 = as many as it takes */
    int64_t n;
    size_t n_stops;
    qg_slice stops[QG_CHAT_STOPS];
} qg_chat_request;

/* What was wrong with a request: a sentence, and where ("body.messages.0.content", or "" for the
 * whole body). */
typedef struct qg_chat_fault {
    qg_err err;
    char param[96];
    bool schema; /* syntax or type, rather than meaning */
} qg_chat_fault;

/* Reads body.  Unknown fields are ignored; fields whose effect cannot be given are refused.
 * QG_ERR_FORMAT (not JSON or a wrong type), QG_ERR_ARG or QG_ERR_UNSUPPORTED (meaning),
 * QG_ERR_TOO_LONG, QG_ERR_NOMEM, with *fault filled in.  Free with qg_chat_request_free in every
 * case. */
qg_status qg_chat_request_read(qg_chat_request *r, qg_slice body, qg_chat_fault *fault);
void qg_chat_request_free(qg_chat_request *r);

#endif
