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

/* ---- KV of an append ---- */

static qg_kv_block take(qg_engine *e)
{
    for (;;) {
        qg_kv_block b = qg_kv_take(e->kv);
        if (b >= 0 || !((e->prefix && qg_prefix_evict(e->prefix)) || qg_sessions_evict(e)))
            return b;
    }
}

/* What will be written into must be the session's own.  Whole blocks alone are shared, so it is,
 * unless a rollback led back into one. */
static qg_status own_blocks(qg_engine *e, qg_session *s, int32_t from)
{
    qg_kv_seq *seq = &s->seq;
    int32_t k = from / QG_KV_BLOCK;
    while (k < seq->n_blocks && qg_kv_refs(e->kv, seq->blocks[k]) == 1)
        k++;
    if (k == seq->n_blocks)
        return QG_OK;
    if (k * QG_KV_BLOCK < from) {
        qg_kv_block own = take(e);
        if (own < 0)
            return QG_ERR_BUSY;
        qg_kv_copy(e->kv, own, seq->blocks[k]);
        qg_kv_seq_replace(seq, k, own);
        k++;
    }
    if (s->n_done > from)
        s->n_done = from;
    qg_kv_seq_trim(seq, k * QG_KV_BLOCK);
    return QG_OK;
}

static bool is_judged(void *ud, int32_t at)
{
    const qg_change *ch = &((const qg_job *)ud)->change;
    return at >= ch->base && ch->items[at - ch->base].judge != QG_JUDGE_NOT;
}

static void take_heads(void *ud, int32_t at, const float *heads)
{
    qg_job *job = ud;
    size_t width = (size_t)job->engine->labels.width;
    memcpy(job->logits + (size_t)(at - job->change.base) * width, heads, width * sizeof *heads);
}

/* One token more is computed sooner than looked up. */
enum { WORTH_LOOKING = QG_KV_BLOCK };

qg_status qg_session_reserve(qg_engine *e, qg_job *job)
{
    qg_session *s = job->session;
    const qg_ids *ids = &s->convo.ids;
    int32_t from = job->linear_done, n = (int32_t)ids->n;
    QG_TRY(own_blocks(e, s, from));
    if (e->prefix && n - from >= WORTH_LOOKING) {
        const qg_prefix_ask ask = {is_judged, take_heads, job};
        job->linear_done = qg_prefix_follow(e->prefix, ids->p, from, n, &s->seq, &ask);
        job->n_cached += job->linear_done - from;
        if (job->linear_done > from && s->n_done > from)
            s->n_done = from; /* its old tail is gone */
    }
    return qg_sched_grow(e, &s->seq, job->max_slots);
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
