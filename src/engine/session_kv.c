/* Sessions on the scheduler's thread: who holds KV, who has to give it back. */
#include "engine/engine_int.h"

#include "base/mem.h"

/* ---- the list by last use ---- */

static void unlist(qg_engine *e, qg_session *s)
{
    *(s->older ? &s->older->newer : &e->oldest) = s->newer;
    *(s->newer ? &s->newer->older : &e->newest) = s->older;
    s->older = s->newer = NULL;
    s->listed = false;
}

static void list(qg_engine *e, qg_session *s)
{
    s->older = e->newest;
    s->newer = NULL;
    *(e->newest ? &e->newest->newer : &e->oldest) = s;
    e->newest = s;
    s->listed = true;
    s->used_us = qg_now_us();
    int64_t expiry = s->used_us + s->idle_us;
    if (!e->next_expiry_us || expiry < e->next_expiry_us)
        e->next_expiry_us = expiry;
}

bool qg_session_is_alone(const qg_engine *e, const qg_session *s)
{
    return (!e->oldest || e->oldest == s) && (!e->newest || e->newest == s);
}

/* ---- leaving ---- */

/* Nobody touches a session that is gone but to be told so. */
static bool mark_gone(qg_engine *e, qg_session *s, qg_gone why)
{
    pthread_mutex_lock(&e->lock);
    bool idle = !s->busy && !s->closed;
    if (idle) {
        s->gone = why;
        *(why == QG_GONE_EVICTED ? &e->stats.sessions_evicted : &e->stats.sessions_expired) += 1;
    }
    pthread_mutex_unlock(&e->lock);
    return idle;
}

static void give_back(qg_engine *e, qg_session *s)
{
    unlist(e, s);
    qg_kv_seq_free(&s->seq);
    e->kv_full = false;
    qg_session_unref(s);
}

static void forget(qg_engine *e, qg_session *s)
{
    qg_convo_free(&s->convo);
    qg_buf_free(&s->hits);
    qg_mfree(s->kept);
    s->kept = NULL;
    give_back(e, s);
}

bool qg_sessions_evict(qg_engine *e)
{
    for (qg_session *s = e->oldest; s; s = s->newer)
        if (mark_gone(e, s, QG_GONE_EVICTED)) {
            forget(e, s);
            return true;
        }
    return false;
}

void qg_sessions_expire(qg_engine *e, int64_t now)
{
    if (!e->next_expiry_us || now < e->next_expiry_us)
        return;
    int64_t next = 0;
    for (qg_session *s = e->oldest, *newer; s; s = newer) {
        newer = s->newer;
        int64_t expiry = s->used_us + s->idle_us;
        if (now >= expiry && mark_gone(e, s, QG_GONE_EXPIRED)) {
            forget(e, s);
            continue;
        }
        if (now >= expiry) /* an append is on its way, or a close: look again soon */
            expiry = now + 100000;
        if (!next || expiry < next)
            next = expiry;
    }
    e->next_expiry_us = next;
}

void qg_sessions_bury(qg_engine *e, qg_session *closed)
{
    while (closed) {
        qg_session *s = closed;
        closed = s->next_closed;
        if (s->listed)
            give_back(e, s);
        qg_session_unref(s); /* the handle's reference */
    }
}

void qg_sessions_flush(qg_engine *e)
{
    while (e->oldest)
        give_back(e, e->oldest);
}

/* ---- appends ---- */

void qg_session_begin(qg_engine *e, qg_job *job)
{
    if (job->session->listed) {
        unlist(e, job->session);
        qg_session_unref(job->session); /* the job has its own */
    }
}

void qg_session_end(qg_engine *e, qg_job *job, qg_status rc)
{
    qg_session *s = job->session;
    if (rc != QG_OK) {
        qg_convo_undo(&s->convo, &job->change);
        if (job->started_us && s->n_done > job->first_row)
            s->n_done = job->first_row; /* a pass has written over the old tail */
        if (s->n_done > (int32_t)s->convo.ids.n)
            s->n_done = (int32_t)s->convo.ids.n;
        qg_kv_seq_trim(&s->seq, (int32_t)s->convo.ids.n);
    }
    if (s->listed) { /* it never ran; it was not used either */
        if (!s->seq.n_blocks)
            give_back(e, s);
        return;
    }
    if (s->seq.n_blocks) {
        atomic_fetch_add(&s->refs, 1);
        list(e, s);
    } else {
        qg_kv_seq_free(&s->seq);
    }
}
