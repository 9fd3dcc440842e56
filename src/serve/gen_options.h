/* How a request of the OpenAI family wants its text written: length, stops, sampling, stream. */
#ifndef QG_SERVE_GEN_OPTIONS_H
#define QG_SERVE_GEN_OPTIONS_H

#include "base/arena.h"
#include "serve/body.h"

enum { QG_GEN_STOPS = 16 };

typedef struct qg_gen_options {
    bool stream, include_usage, continuous_usage;
    int64_t max_tokens; /* 0 = as many as it takes */
    int64_t n;          /* choices */
    size_t n_stops;
    qg_text stops[QG_GEN_STOPS];
    qg_sampling sampling; /* without its stop strings; its lists lie in the arena */
    bool samples, seeded;
    bool decodes; /* asks for what only decoding token by token can give */
} qg_gen_options;

/* Reads root, a body; lists go into arena.  Unknown fields are ignored.  QG_ERR_FORMAT, QG_ERR_ARG,
 * QG_ERR_NOMEM, with *fault filled in.  Lengths other than max_tokens 0, and log probabilities, are
 * the protocol's own. */
qg_status qg_gen_options_read(qg_gen_options *o, const json_t *root, qg_arena *arena,
                              qg_fault *fault);

/* Fills in one request to the engine for choice i: nothing where the verdict will do. */
qg_status qg_gen_options_apply(const qg_gen_options *o, int64_t i, qg_request *request,
                               qg_arena *arena, qg_fault *fault);

#endif
