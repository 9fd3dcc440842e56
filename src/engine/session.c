/* The calls of qguard.h on sessions: on the caller's thread, up to the mailbox. */
#include "engine/engine_int.h"

#include "base/limits.h"
#include "base/mem.h"

enum { IDLE_MS = 300000 };

void qg_session_options_init(qg_session_options *opt)
{
    *opt = (qg_session_options){.size = sizeof *opt};
}

void qg_append_init(qg_append *a)
{
    *a = (qg_append){.size = sizeof *a};
}

/* ---- the hub ---- */

qg_hub *qg_hub_open(qg_engine *engine)
{
    qg_hub *hub = qg_calloc(1, sizeof *hub);
    if (!hub)
        return NULL;
    if (pthread_mutex_init(&hub->lock, NULL)) {
        qg_mfree(hub);
        return NULL;
    }
    atomic_init(&hub->refs, 1);
    hub->engine = engine;
    return hub;
}

static void hub_unref(qg_hub *hub)
{
    if (atomic_fetch_sub(&hub->refs, 1) != 1)
        return;
    pthread_mutex_destroy(&hub->lock);
    qg_mfree(hub);
}

void qg_hub_close(qg_hub *hub)
{
    if (!hub)
        return;
    pthread_mutex_lock(&hub->lock);
    hub->engine = NULL;
    pthread_mutex_unlock(&hub->lock);
    hub_unref(hub);
}

static qg_engine *engine_of(const qg_session *s)
{
    pthread_mutex_lock(&s->hub->lock);
    qg_engine *engine = s->hub->engine;
    pthread_mutex_unlock(&s->hub->lock);
    return engine;
}

/* ---- open and close ---- */

void qg_session_unref(qg_session *s)
{
    if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    qg_convo_free(&s->convo);
    qg_buf_free(&s->hits);
    qg_mfree(s->kept);
    hub_unref(s->hub);
    qg_mfree(s);
}

static qg_status check_engine(const qg_engine *e, qg_err *err)
{
    if (!e || !e->model)
        return qg_fail(err, QG_ERR_ARG, "the engine was opened without its weights");
    if (!qg_model_is_stream(e->model))
        return qg_fail(err, QG_ERR_UNSUPPORTED,
                       "%s is not a Stream model: it judges whole messages, not tokens", e->name);
    return e->labels_rc == QG_OK ? QG_OK : qg_fail(err, e->labels_rc, "%s", e->labels_err.msg);
}

static qg_status check_options(const qg_engine *e, const qg_session_options *opt, qg_err *err)
{
    if (opt->size != sizeof *opt)
        return qg_fail(err, QG_ERR_ARG,
                       "session options: size is not set; call qg_session_options_init first");
    if (opt->max_tokens < 0 || opt->max_tokens > e->max_len)
        return qg_fail(err, QG_ERR_ARG, "max_tokens: %d is not in 0..%d", opt->max_tokens,
                       e->max_len);
    if (opt->idle_ms < 0)
        return qg_fail(err, QG_ERR_ARG, "idle_ms must not be negative");
    return opt->thresholds ? qg_thresholds_check(opt->thresholds, err) : QG_OK;
}

/* The token that ends a user's turn: the template's, or the model's first end token. */
static int32_t end_id(const qg_engine *e)
{
    if (e->has_frames)
        return e->frames.role[QG_ROLE_USER].close.p[0];
    return e->n_eos ? e->eos[0] : -1;
}

static qg_session *new_session(qg_engine *e, const qg_session_options *opt)
{
    qg_session *s = qg_calloc(1, sizeof *s);
    if (!s)
        return NULL;
    atomic_init(&s->refs, 1);
    s->hub = e->hub;
    atomic_fetch_add(&s->hub->refs, 1);
    qg_thresholds_init(&s->thresholds);
    if (opt->thresholds)
        s->thresholds = *opt->thresholds;
    s->bulk = opt->priority != 0;
    s->idle_us = (opt->idle_ms ? opt->idle_ms : IDLE_MS) * (int64_t)1000;
    s->seq.kv = e->kv;
    qg_buf_init(&s->hits, QG_MAX_POSITIONS);
    qg_convo_init(&s->convo, e->tok, e->has_frames ? &e->frames : NULL, end_id(e),
                  qg_model_config(e->model)->vocab_size,
                  opt->max_tokens ? opt->max_tokens : e->max_len);
    return s;
}

qg_status qg_session_open(qg_session **out, qg_engine *e, const qg_session_options *opt,
                          qg_err *err)
{
    qg_session_options defaults;
    qg_status rc = QG_OK;

    *out = NULL;
    qg_session_options_init(&defaults);
    opt = opt ? opt : &defaults;
    QG_TRY(check_engine(e, err));
    QG_TRY(check_options(e, opt, err));
    qg_session *s = new_session(e, opt);
    if (!s)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    pthread_mutex_lock(&e->lock);
    if (e->stats.sessions >= e->opt.max_sessions)
        rc = qg_fail(err, QG_ERR_BUSY, "%d sessions are open, the most allowed", e->stats.sessions);
    else
        e->stats.sessions++;
    pthread_mutex_unlock(&e->lock);
    if (rc == QG_OK)
        *out = s;
    else
        qg_session_unref(s);
    return rc;
}

void qg_session_close(qg_session *s)
{
    if (!s)
        return;
    qg_hub *hub = s->hub;
    atomic_fetch_add(&hub->refs, 1); /* s may be freed before the hub is unlocked */
    pthread_mutex_lock(&hub->lock);
    qg_engine *e = hub->engine; /* it does not go away while we hold the lock */
    if (e) {
        pthread_mutex_lock(&e->lock);
        s->closed = true;
        if (s->job)
            qg_cancel(s->job);
        e->stats.sessions--;
        s->next_closed = e->closed; /* with the handle's reference */
        e->closed = s;
        pthread_cond_signal(&e->wake);
        pthread_mutex_unlock(&e->lock);
    }
    pthread_mutex_unlock(&hub->lock);
    hub_unref(hub);
    if (!e)
        qg_session_unref(s);
}

/* ---- append and roll back ---- */

/* The conversation is the caller's from here until release() or the end of the append. */
static qg_status acquire(qg_engine *e, qg_session *s, qg_err *err)
{
    qg_status rc = QG_OK;
    pthread_mutex_lock(&e->lock);
    if (e->closing)
        rc = qg_fail(err, QG_ERR_CLOSED, "the engine is closing");
    else if (s->closed)
        rc = qg_fail(err, QG_ERR_CLOSED, "the session was closed");
    else if (s->gone != QG_GONE_NOT)
        rc = qg_fail(err, QG_ERR_GONE, "the session %s: send its text again in a new session",
                     s->gone == QG_GONE_EXPIRED ? "was idle for too long"
                                                : "was evicted, others needed its memory");
    else if (s->busy)
        rc = qg_fail(err, QG_ERR_BUSY, "an append of this session is on its way");
    else
        s->busy = true;
    pthread_mutex_unlock(&e->lock);
    return rc;
}

static void release(qg_engine *e, qg_session *s)
{
    pthread_mutex_lock(&e->lock);
    s->busy = false;
    pthread_mutex_unlock(&e->lock);
}

/* All memory that the append may need, so that its end cannot fail halfway. */
static qg_status make_room(const qg_engine *e, qg_job *job)
{
    const qg_session *s = job->session;
    const qg_change *ch = &job->change;
    size_t width = (size_t)e->labels.width, tail = s->convo.ids.n - (size_t)s->convo.n_final;

    job->logits = qg_calloc(ch->n_items * width + 1, sizeof *job->logits);
    job->kept = qg_calloc((tail + QG_KV_BLOCK) * width, sizeof *job->kept);
    if (!job->logits || !job->kept || qg_buf_reserve(&job->session->hits, ch->n_items + 1) != QG_OK)
        return QG_ERR_NOMEM;
    /* what did not change in the tail has its numbers */
    for (int32_t at = ch->base; at < job->first_row; at++)
        memcpy(job->logits + (size_t)(at - ch->base) * width,
               s->kept + (size_t)(at - s->kept_from) * width, width * sizeof *job->logits);
    return QG_OK;
}

static qg_status prepare(const qg_engine *e, qg_job *job, const qg_append *a, qg_err *err)
{
    qg_session *s = job->session;
    QG_TRY(qg_convo_append(&s->convo, a, &job->change, err));
    job->first_row = job->change.base + job->change.same;
    if (s->n_done < job->first_row) /* after an append that failed in the middle of a pass */
        job->first_row = s->n_done;
    job->linear_done = job->first_row;
    job->max_slots = (int32_t)s->convo.ids.n;
    job->n_prompt = job->max_slots - job->first_row;
    qg_status rc = make_room(e, job);
    if (rc != QG_OK) {
        qg_convo_undo(&s->convo, &job->change);
        return qg_fail(err, rc, "out of memory");
    }
    return QG_OK;
}

static qg_status submit(qg_engine *e, qg_session *s, qg_job *job, const qg_append *a, qg_err *err)
{
    job->session = s;
    atomic_fetch_add(&s->refs, 1);
    job->bulk = s->bulk;
    job->deadline_us = a->deadline_us;
    job->submitted_us = qg_now_us();
    QG_TRY(prepare(e, job, a, err));
    qg_status rc = qg_sched_post(e, job, err);
    if (rc != QG_OK)
        qg_convo_undo(&s->convo, &job->change);
    return rc;
}

static qg_status check_append(const qg_append *a, qg_err *err)
{
    if (!a || a->size != sizeof *a)
        return qg_fail(err, QG_ERR_ARG, "append: size is not set; call qg_append_init first");
    if ((!a->content.p && a->content.n) || (!a->ids && a->n_ids))
        return qg_fail(err, QG_ERR_ARG, "append: a length without bytes or ids");
    return QG_OK;
}

qg_status qg_session_submit(qg_session *s, const qg_append *a, qg_stream_done_fn *done, void *ud,
                            qg_err *err)
{
    QG_TRY(check_append(a, err));
    if (!s || !done)
        return qg_fail(err, QG_ERR_ARG, "session and done must not be NULL");
    qg_engine *e = engine_of(s);
    if (!e)
        return qg_fail(err, QG_ERR_CLOSED, "the engine is closed");
    atomic_fetch_add(&s->refs, 1); /* the session may be closed, and ended, before this returns */
    qg_status rc = acquire(e, s, err);
    if (rc == QG_OK) {
        qg_job *job = qg_job_new(e, QG_JOB_SESSION);
        if (job) {
            job->stream_done = done;
            job->ud = ud;
            rc = submit(e, s, job, a, err);
        } else {
            rc = qg_fail(err, QG_ERR_NOMEM, "out of memory");
        }
        if (rc != QG_OK)
            release(e, s);
        qg_job_unref(job);
    }
    qg_session_unref(s);
    return rc;
}

qg_status qg_session_rollback(qg_session *s, int32_t position, qg_err *err)
{
    qg_engine *e = s ? engine_of(s) : NULL;
    if (!s)
        return qg_fail(err, QG_ERR_ARG, "session must not be NULL");
    if (!e)
        return qg_fail(err, QG_ERR_CLOSED, "the engine is closed");
    QG_TRY(acquire(e, s, err));
    qg_status rc = qg_convo_rollback(&s->convo, position, err);
    if (rc == QG_OK) {
        s->hits.n = s->hits.n < s->convo.ids.n ? s->hits.n : s->convo.ids.n;
        if (s->n_done > (int32_t)s->convo.ids.n)
            s->n_done = (int32_t)s->convo.ids.n;
        if (s->n_shared > s->n_done)
            s->n_shared = s->n_done / QG_KV_BLOCK * QG_KV_BLOCK;
        qg_convo_settle(&s->convo);
    }
    release(e, s);
    return rc;
}

qg_status qg_session_turn(qg_session *s, const char **role, char **text, size_t *n_bytes,
                          qg_err *err)
{
    qg_engine *e = s ? engine_of(s) : NULL;
    qg_buf out;
    *role = *text = NULL;
    *n_bytes = 0;
    if (!s)
        return qg_fail(err, QG_ERR_ARG, "session must not be NULL");
    if (!e)
        return qg_fail(err, QG_ERR_CLOSED, "the engine is closed");
    QG_TRY(acquire(e, s, err));
    qg_buf_init(&out, SIZE_MAX / 2);
    qg_status rc = qg_convo_open_text(&s->convo, role, &out);
    release(e, s);
    size_t n = out.n;
    *text = rc == QG_OK ? qg_buf_take(&out) : NULL;
    qg_buf_free(&out);
    if (!*text)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    *n_bytes = n;
    return QG_OK;
}

/* ---- waiting ---- */

qg_status qg_session_judge(qg_session *s, const qg_append *a, qg_stream_result **out, qg_err *err)
{
    qg_waiter w;

    *out = NULL;
    qg_waiter_init(&w);
    qg_status rc = qg_session_submit(s, a, qg_waiter_stream_done, &w, err);
    if (rc == QG_OK)
        rc = qg_waiter_wait(&w, err);
    *out = w.result;
    qg_waiter_destroy(&w);
    return rc;
}
