/* What of the model's text a request gets: cut by max_tokens and stop strings. */
#ifndef QG_SERVE_SAID_H
#define QG_SERVE_SAID_H

#include "serve/gen_options.h"

typedef struct qg_said {
    qg_slice text;    /* borrowed from the result, or from owned */
    char *owned;      /* freed by qg_said_free */
    bool length;      /* cut by max_tokens */
    qg_slice stop;    /* the stop string that ended it; p is NULL when none did */
    int32_t stop_id;  /* the stop token that did, or -1 */
    int64_t n_tokens; /* written, the end token included when it was reached */
} qg_said;

/* Applies the request's limits to the result, as a server that decodes token by token would: the
 * text up to the limit is the same, and so is the count.  Free with qg_said_free in every case. */
qg_status qg_said_make(qg_said *out, const qg_engine *engine, const qg_result *result,
                       const qg_gen_options *o, qg_err *err);
void qg_said_free(qg_said *said);

#endif
