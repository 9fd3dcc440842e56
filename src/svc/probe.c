#include "svc/probe.h"

enum { IDLE, UNDER_WAY, WELL, FAILED, NOTHING };

/* 0 is an id in every vocabulary. */
static const int32_t one_id = 0;

void qg_probe_init(qg_probe *p, qg_engine *engine, bool stream)
{
    *p = (qg_probe){.engine = engine, .stream = stream};
    p->moved_us = p->since_us = qg_now_us();
    atomic_init(&p->state, IDLE);
}

/* ---- on the engine's thread ------------------------------------------------------------------ */

/* Full, late or closed says nothing about its health. */
static void end(qg_probe *p, qg_status status)
{
    atomic_store(&p->state, status == QG_OK ? WELL : status == QG_ERR_INTERNAL ? FAILED : NOTHING);
}

static void on_judged(void *ud, qg_status status, qg_result *result, const qg_err *err)
{
    (void)err;
    qg_result_free(result);
    end(ud, status);
}

static void on_token(void *ud, qg_status status, qg_stream_result *result, const qg_err *err)
{
    (void)err;
    qg_stream_result_free(result);
    end(ud, status);
}

/* ---- on the server's ------------------------------------------------------------------------- */

static qg_status submit(qg_probe *p)
{
    qg_request r;
    qg_request_init(&r);
    r.ids = &one_id;
    r.n_ids = 1;
    r.decode = QG_DECODE_GENERATE;
    r.max_tokens = 1;
    r.priority = 1;
    return qg_submit(p->engine, &r, on_judged, p, NULL, NULL);
}

static qg_status submit_stream(qg_probe *p)
{
    qg_session_options opt;
    qg_append a;
    qg_session_options_init(&opt);
    opt.priority = 1;
    qg_status rc = qg_session_open(&p->session, p->engine, &opt, NULL);
    if (rc != QG_OK)
        return rc;
    qg_append_init(&a);
    a.role = "assistant";
    a.ids = &one_id;
    a.n_ids = 1;
    a.end = true;
    return qg_session_submit(p->session, &a, on_token, p, NULL);
}

static void close_session(qg_probe *p)
{
    qg_session_close(p->session);
    p->session = NULL;
}

/* A full queue is tried again at the next look. */
static void begin(qg_probe *p, int64_t now_us)
{
    atomic_store(&p->state, UNDER_WAY);
    int64_t before_us = p->since_us;
    p->since_us = now_us;
    if ((p->stream ? submit_stream(p) : submit(p)) == QG_OK)
        return;
    p->since_us = before_us;
    close_session(p);
    atomic_store(&p->state, IDLE);
}

static void look(qg_probe *p, int64_t now_us)
{
    qg_stats stats;
    int state = atomic_load(&p->state); /* first: the counter then has what ended before */
    qg_engine_stats(p->engine, &stats);
    if (stats.jobs_done != p->n_done) {
        p->n_done = stats.jobs_done;
        p->moved_us = now_us;
        p->sick = false;
    }
    if (state == IDLE || state == UNDER_WAY)
        return;
    p->n_probes += state == WELL;
    p->sick = state == FAILED || (state == NOTHING && p->sick);
    close_session(p);
    atomic_store(&p->state, IDLE);
}

void qg_probe_tick(qg_probe *p, int64_t now_us, int64_t every_us)
{
    if (!p->engine)
        return;
    look(p, now_us);
    if (atomic_load(&p->state) == IDLE && now_us - p->moved_us >= every_us &&
        now_us - p->since_us >= every_us)
        begin(p, now_us);
}

bool qg_probe_late(const qg_probe *p, int64_t before_us)
{
    qg_stats stats;
    if (!p->engine || atomic_load(&p->state) != UNDER_WAY || p->since_us >= before_us ||
        p->moved_us >= before_us)
        return false;
    qg_engine_stats(p->engine, &stats);
    return stats.last_progress_us < before_us;
}

void qg_probe_end(qg_probe *p)
{
    close_session(p);
}
