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

enum { QG_MAX_UPSTREAMS = 64 };

/* One server; never changes while the list lives. */
typedef struct qg_upstream {
    const char *models; /* a name, a beginning of names with '*' behind it, or "" = every name */
    const char *url;    /* base: what stands before "/chat/completions"; no slash at its end */
    const char *key;    /* sent in place of the client's; "" = none */
    uint32_t index;     /* in the list */
} qg_upstream;

/* specs [n]: "URL" or "MODELS=URL", n >= 1.  key: for all of them, NULL = none; copied.
 * QG_ERR_ARG names the spec. */
qg_status qg_upstreams_open(qg_upstreams **out, const char *const *specs, size_t n, const char *key,
                            qg_err *err);
void qg_upstreams_close(qg_upstreams *list); /* NULL is fine */

/* The server for a model among those not in tried (bit i = index i): of those whose models fit
 * best (a model with p NULL: any), one that is well and has the least to do.  It counts as busy
 * until qg_upstream_done. NULL: none (left). */
const qg_upstream *qg_upstreams_pick(qg_upstreams *list, qg_slice model, uint64_t tried,
                                     int64_t now_us);
/* Whether any server has this model. */
bool qg_upstreams_has(const qg_upstreams *list, qg_slice model);
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

/* For the metrics page: server i. */
typedef struct qg_upstream_state {
    const qg_upstream *upstream;
    bool out; /* left out at the moment */
    uint32_t running;
    uint64_t answered, failed;
} qg_upstream_state;
bool qg_upstreams_at(qg_upstreams *list, size_t i, qg_upstream_state *state);

#endif
