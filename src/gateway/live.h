/* Who watches replies as they run: events for the live view, as server-sent events.
 *
 * Nobody is ever waited for: a watcher that reads too slowly loses events and is told how many.
 * While nobody watches, an event costs one load. */
#ifndef QG_GATEWAY_LIVE_H
#define QG_GATEWAY_LIVE_H

#include "http/http.h"

#include <jansson.h>

typedef struct qg_live qg_live;

enum {
    QG_MAX_WATCHERS = 8,
    QG_MAX_WATCHER_BYTES = 256 * 1024, /* that wait for one of them */
};

qg_status qg_live_open(qg_live **out, qg_err *err);
/* After qg_http_close, when no channel is left; NULL is fine. */
void qg_live_close(qg_live *live);

/* Any thread; live may be NULL. */
bool qg_live_watched(const qg_live *live);
/* Tells all watchers; name lives for ever, what is taken (NULL: nothing is told).  Any thread. */
void qg_live_say(qg_live *live, const char *name, json_t *what);
/* A number that no other request has. */
uint64_t qg_live_number(qg_live *live);

/* ---- the HTTP server's thread ---------------------------------------------------------------- */

/* In full(), of a GET: answers with the events until the client goes.  hello (taken) is the first.
 * QG_ERR_BUSY: QG_MAX_WATCHERS are there; QG_ERR_NOMEM.  On failure nothing is answered. */
qg_status qg_live_attach(qg_live *live, qg_http_req *req, json_t *hello);
/* Now and then: a comment for watchers to whom nothing was said for 15 s. */
void qg_live_tick(qg_live *live, int64_t now_us);
/* The server stops: all watchers are let go. */
void qg_live_stop(qg_live *live);

#endif
