/* What chat completions and plain completions have in common on the wire: choices, usage, one
 * object or a stream of server-sent events.  The two shapes differ in a few functions. */
#ifndef QG_SERVE_COMPLETION_H
#define QG_SERVE_COMPLETION_H

#include "serve/said.h"
#include "serve/serve_priv.h"

typedef struct qg_completion qg_completion;

typedef struct qg_completion_shape {
    const char *prefix, *object, *chunk; /* of the id; names of the whole and of a stream's chunk */
    int parts;                           /* chunks of each choice */
    json_t *(*choice)(const qg_completion *c, size_t i);
    json_t *(*delta)(const qg_completion *c, size_t i, int part);
} qg_completion_shape;

struct qg_completion {
    const qg_completion_shape *shape;
    char id[QG_HTTP_VALUE_BYTES + 16];
    const qg_engine *engine;
    const char *model;
    int64_t created;
    const qg_gen_options *gen;
    size_t n, per_ask; /* choices; how many of them show the same ask */
    const qg_serve_ask *asks;
    qg_said *said;      /* [n / per_ask] */
    json_t *moderation; /* borrowed, NULL = none: told at the end */
    void *more;         /* the protocol's own */
};

/* Answers the job: the first n / per_ask of its asks hold the texts.  Fills in the rest of c from
 * job; shape, gen, n, per_ask, moderation, more are the caller's. */
void qg_completion_reply(qg_completion *c, qg_serve_job *job);

/* Parts of a choice: what was said, why it ended. */
const qg_said *qg_completion_said(const qg_completion *c, size_t i);
const qg_result *qg_completion_result(const qg_completion *c, size_t i);
json_t *qg_completion_text(const qg_completion *c, size_t i);
const char *qg_completion_finish(const qg_completion *c, size_t i);
json_t *qg_completion_stop_reason(const qg_completion *c, size_t i);

#endif
