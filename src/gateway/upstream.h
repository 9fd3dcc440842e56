/* The models behind the gateway: which server answers for a model's name, and whether it is well.
 *
 * A server that fails (no connection, no answer in time, 5xx) is left out for a while: a second,
 * twice as long each time it fails again, a minute at most.  Whoever comes after that tries it
 * first by GET /models (the owner's part: qg_upstreams_due); when all are left out the one that
 * comes back soonest is used all the same.
 *
 * Any thread. */
#ifndef QG_GATEWAY_UPSTREAM_H
#define QG_GATEWAY_UPSTREAM_H

#include "base/slice.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct qg_upstreams qg_upstreams;

enum {
    QG_MAX_UPSTREAMS = 64,
    QG_MAX_UPSTREAM_MODELS = 1024, /* of one */
    QG_MAX_UPSTREAM_KEY = 4095,    /* bytes */
    QG_MAX_UPSTREAM_ORDER = 1000,
};

/* One server; never changes while the list lives. */
typedef struct qg_upstream {
    const char *url;     /* base: what stands before "/chat/completions"; no slash at its end */
    const char *key;     /* sent in place of the client's; "" = none */
    const char *ca_file; /* authorities for its certificate; NULL = the client's */
    uint32_t index;      /* in the list */
} qg_upstream;

/* What a list is made of. */
typedef struct qg_upstream_spec {
    const char *url;
    const char *const
        *models; /* [n_models] names, or beginnings with '*' behind; none: every name */
    size_t n_models;
    const char *key, *ca_file; /* NULL = none */
    int32_t order; /* 1..QG_MAX_UPSTREAM_ORDER: for a model, those of the lowest order that are well
                      share it */
    int32_t weight; /* 1..QG_MAX_UPSTREAM_ORDER: how much of it, beside those of the same order */
} qg_upstream_spec;

/* specs [n], n >= 1; copied.  One reference.  QG_ERR_ARG names the URL; QG_ERR_NOMEM. */
qg_status qg_upstreams_open(qg_upstreams **out, const qg_upstream_spec *specs, size_t n,
                            qg_err *err);
/* The same of a command line: "URL" or "MODEL=URL"; key for all of them, NULL = none. */
qg_status qg_upstreams_of_words(qg_upstreams **out, const char *const *words, size_t n,
                                const char *key, qg_err *err);
/* The same of a file (docs/GATEWAY.md).  QG_ERR_IO, or QG_ERR_FORMAT with "path: line N: field:
 * what is wrong"; keys never stand in a sentence. */
qg_status qg_upstreams_read(qg_upstreams **out, const char *path, qg_err *err);
void qg_upstreams_ref(qg_upstreams *list);
void qg_upstreams_unref(qg_upstreams *list); /* NULL is fine */
/* Servers that are in both lists (by URL) are as well, or as ill, in the new one, and their
 * counters go on.  Before anybody else knows fresh. */
void qg_upstreams_inherit(qg_upstreams *fresh, qg_upstreams *old);

/* The server for a model among those not in tried (bit i = index i): of those whose models fit best
 * (exact, longest beginning, any; a model with p NULL: any), one that is well, of the lowest order,
 * with the least to do for its weight.  It counts as busy until qg_upstream_done. NULL: none
 * (left).
 */
const qg_upstream *qg_upstreams_pick(qg_upstreams *list, qg_slice model, uint64_t tried);
/* Whether any server has this model. */
bool qg_upstreams_has(const qg_upstreams *list, qg_slice model);
/* Whether server i is among those that a request for this model may go to. */
bool qg_upstreams_serves(const qg_upstreams *list, size_t i, qg_slice model);
/* Whether pick would find one. */
bool qg_upstreams_left(const qg_upstreams *list, qg_slice model, uint64_t tried);
/* How it went. */
typedef enum qg_upstream_word {
    QG_UPSTREAM_WELL,
    QG_UPSTREAM_FAILED,
    QG_UPSTREAM_NOTHING, /* nobody can say: it was not called, or the call was aborted by us */
} qg_upstream_word;
void qg_upstream_done(qg_upstreams *list, const qg_upstream *u, qg_upstream_word word,
                      int64_t now_us);

/* A server whose time out is over and which should be tried; it counts as being tried until
 * qg_upstream_tried.  NULL: none. */
const qg_upstream *qg_upstreams_due(qg_upstreams *list, int64_t now_us);
void qg_upstream_tried(qg_upstreams *list, const qg_upstream *u, bool well, int64_t now_us);

/* Server i, for the metrics page and for whoever asks all of them. */
typedef struct qg_upstream_state {
    const qg_upstream *upstream;
    bool out; /* left out at the moment */
    uint32_t running;
    uint64_t answered, failed;
} qg_upstream_state;
bool qg_upstreams_at(qg_upstreams *list, size_t i, qg_upstream_state *state);

#endif
