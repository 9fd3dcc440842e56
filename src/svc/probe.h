/* Is an engine alive?  When nothing has come out of it for a while it gets the smallest job there
 * is, one token through every layer, behind all others.
 *
 * All calls from one thread, the server's; the engine outlives what it was given. */
#ifndef QG_SVC_PROBE_H
#define QG_SVC_PROBE_H

#include "qguard.h"

#include <stdatomic.h>

typedef struct qg_probe {
    qg_engine *engine;
    bool stream;
    qg_session *session; /* of a Stream engine, while it is under way */
    atomic_int state;    /* the engine's thread says how it ended */
    int64_t since_us;    /* given to the engine */
    int64_t n_done;      /* jobs that the engine had done when last looked at, … */
    int64_t moved_us;    /* … and when that last changed */
    int64_t n_probes;    /* those among them that were probes */
    bool sick;           /* the last thing that ended was a probe, with a numeric failure */
} qg_probe;

/* engine NULL: nothing to probe.  stream: it is a Stream model. */
void qg_probe_init(qg_probe *probe, qg_engine *engine, bool stream);
/* Looks, and begins a probe when nothing has ended well for every_us. */
void qg_probe_tick(qg_probe *probe, int64_t now_us, int64_t every_us);
/* A probe was begun before before_us and is not back, and since then nothing has ended well nor has
 * the engine finished a pass: under load others may keep a probe waiting. */
bool qg_probe_late(const qg_probe *probe, int64_t before_us);
/* After qg_engine_close. */
void qg_probe_end(qg_probe *probe);

#endif
