/* What a client says to a Stream session: one JSON object, a line of a body, a message of a socket
 * or the body of a request. */
#ifndef QG_SERVE_STREAM_ASK_H
#define QG_SERVE_STREAM_ASK_H

#include "base/buf.h"
#include "qguard.h"
#include "text/json.h"

typedef struct qg_stream_ask {
    json_t *root; /* holds every text below */
    qg_ids ids;
    qg_append *appends; /* [n] in order: the context, then what the line itself says */
    size_t n;
    qg_slice model;   /* "" = not said */
    const char *role; /* for what comes: "user", "assistant" or "system"; NULL = not said */
    bool empty;       /* it has a content, with nothing in it */
    int32_t rollback; /* before all appends; -1 = not said.  With it there is always an append,
                         maybe of nothing */
    qg_thresholds thresholds;
    bool has_thresholds; /* false: as the policy says */
} qg_stream_ask;

/* Reads an object.  first: it may also carry model, messages, mode and thresholds, and need not
 * append anything.  role: of what the object appends when it names none; NULL = "assistant".
 * Unknown members are ignored.  QG_ERR_FORMAT, QG_ERR_ARG, QG_ERR_TOO_LONG or QG_ERR_NOMEM with a
 * sentence.  Free in every case. */
qg_status qg_stream_ask_read(qg_stream_ask *ask, qg_slice text, bool first, const char *role,
                             qg_err *err);
void qg_stream_ask_free(qg_stream_ask *ask);

#endif
