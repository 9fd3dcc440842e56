/* A JSON message list, as every protocol of the OpenAI family writes it -> qg_message. */
#ifndef QG_SERVE_MESSAGES_H
#define QG_SERVE_MESSAGES_H

#include "base/arena.h"
#include "serve/body.h"

typedef struct qg_messages {
    qg_message *p;
    size_t n;
} qg_messages;

/* Reads list, which stands at where in the body ("body.messages").  role: any non-empty word; then
 * content: a string, null, or an array of {"type":"text","text":…} parts, which are joined; it may
 * be absent only where tools are called.  Tool calls follow as text (tool_calls.h).  The last
 * message is the one that is judged: it must have a text or a call, since without one it would be
 * judged as empty, which is Safe.  Texts lie in list or in the arena.  QG_ERR_FORMAT, QG_ERR_ARG,
 * QG_ERR_TOO_LONG, QG_ERR_NOMEM, with *fault filled in. */
qg_status qg_messages_read(qg_arena *arena, const json_t *list, const char *where, qg_messages *out,
                           qg_fault *fault);

/* One content alone, with the same rules but that it must be there. */
qg_status qg_content_read(qg_arena *arena, const json_t *content, const char *where, qg_text *out,
                          qg_fault *fault);

/* All that a message says, content and calls; "" when it says nothing.  The same rules. */
qg_status qg_message_text(qg_arena *arena, const json_t *message, const char *where, qg_text *out,
                          qg_fault *fault);

#endif
