/* Sessions: conversations whose ids and KV outlive their appends.
 *
 * Three places know a session: the caller's handle, the job of an append on its way, and the
 * scheduler's list of sessions that hold KV.  Each has a reference.  Which fields may be touched by
 * whom is said at the fields; `busy` hands the conversation from the caller to the job and back. */
#ifndef QG_ENGINE_SESSION_H
#define QG_ENGINE_SESSION_H

#include "guard/convo.h"
#include "guard/stream.h"
#include "model/kv.h"

#include <pthread.h>
#include <stdatomic.h>

struct qg_job;

/* Outlives the engine, so that sessions may be closed after it. */
typedef struct qg_hub {
    atomic_int refs; /* the engine's and one of each session */
    pthread_mutex_t lock;
    qg_engine *engine; /* under lock; NULL once it closes */
} qg_hub;

qg_hub *qg_hub_open(qg_engine *engine); /* NULL when out of memory */
/* Tells that the engine is closing, and drops its reference; NULL is fine. */
void qg_hub_close(qg_hub *hub);

/* What is kept of each final token. */
typedef enum qg_token_mark { QG_MARK_HIT = 1, QG_MARK_JUDGED = 2 } qg_token_mark;

/* Why a session is gone. */
typedef enum qg_gone { QG_GONE_NOT, QG_GONE_EVICTED, QG_GONE_EXPIRED } qg_gone;

struct qg_session {
    atomic_int refs;
    qg_hub *hub;
    /* read-only once open */
    qg_thresholds thresholds;
    bool bulk;
    int64_t idle_us;
    /* under the engine's lock */
    bool busy, closed;
    qg_gone gone;
    struct qg_job *job; /* the append on its way */
    struct qg_session *next_closed;
    /* the caller that made it busy, then its job; the scheduler's when it is gone */
    qg_convo convo;
    qg_buf hits; /* [n_final] qg_token_mark of final tokens */
    float *kept; /* the heads of n_kept tokens from kept_from on */
    int32_t kept_from, n_kept;
    int32_t n_done;   /* tokens whose KV is there and theirs */
    int32_t n_shared; /* whole blocks' tokens that the prefix cache was told of */
    int32_t n_cached; /* tokens found there instead of being computed, in all appends */
    /* scheduler only */
    qg_kv_seq seq;
    struct qg_session *older, *newer; /* by last use, among those that hold KV */
    bool listed;
    int64_t used_us;
};

/* Drops one reference; the last frees it.  Its KV must have been given back. NULL is fine. */
void qg_session_unref(qg_session *session);

/* ---- scheduler thread only ---- */

/* The oldest idle session gives its KV back and is gone; false when there is none. */
bool qg_sessions_evict(qg_engine *engine);
/* Whether no session but this one (may be NULL) holds KV. */
bool qg_session_is_alone(const qg_engine *engine, const qg_session *session);
/* The same for all that have been idle for too long.  Sets engine->next_expiry_us. */
void qg_sessions_expire(qg_engine *engine, int64_t now);
/* Takes leave of closed ones, linked by next_closed; their appends have ended. */
void qg_sessions_bury(qg_engine *engine, qg_session *closed);
/* Everybody's KV goes back: the engine closes. */
void qg_sessions_flush(qg_engine *engine);
/* Gives an append its KV: what the prefix cache knows of its new tokens (job->linear_done then lies
 * behind them), and blocks for the others.  QG_ERR_BUSY: there is not enough; to be tried again. */
qg_status qg_session_reserve(qg_engine *engine, struct qg_job *job);
/* A session's append leaves the waiting list with its KV reserved, and comes back from its end. */
void qg_session_begin(qg_engine *engine, struct qg_job *job);
void qg_session_end(qg_engine *engine, struct qg_job *job, qg_status rc);

/* All rows are in: judges, keeps what the next append needs, fills job->stream_result. */
qg_status qg_session_commit(qg_engine *engine, struct qg_job *job, qg_err *err);

#endif
