#include "serve/stream_op.h"

qg_status qg_stream_op_open(qg_stream_op *op, qg_server *srv, const qg_thresholds *thresholds,
                            qg_err *err)
{
    qg_session_options opt;
    qg_session *session = NULL;
    op->srv = srv;
    op->rollback = -1;
    op->house = qg_house_ref(srv->house);
    op->record.house = op->house;
    if (!srv->house->stream)
        return qg_fail(err, QG_ERR_UNSUPPORTED,
                       "this server has no Stream model: start it with --stream-model");
    qg_session_options_init(&opt);
    if (thresholds)
        op->record.view.thresholds = *thresholds;
    opt.thresholds = &op->record.view.thresholds;
    qg_stream_rules_begin(&op->rules, qg_policy_rules(op->record.policy), &op->record.view);
    QG_TRY(qg_session_open(&session, srv->house->stream, &opt, err));
    atomic_store(&op->session, session);
    return QG_OK;
}

static void close_once(qg_stream_op *op)
{
    qg_session_close(atomic_exchange(&op->session, NULL));
}

/* Submitter and engine each end their part, in whatever order; the last one tells. */
static void end_parts(qg_stream_op *op, int n)
{
    if (atomic_fetch_sub(&op->parts, n) == n)
        op->done(op);
}

/* On the engine's thread. */
static void on_judged(void *ud, qg_status status, qg_stream_result *result, const qg_err *err)
{
    qg_stream_op *op = ud;
    op->status = status;
    op->result = result;
    if (status != QG_OK) {
        op->rules.stale = true;
        if (err)
            op->err = *err;
    }
    end_parts(op, 1);
}

/* Encodes, which takes as long as the text is long. */
static void submit(qg_stream_op *op)
{
    qg_err err = {""}; /* not op->err: that is the engine's thread's, once submitted */
    qg_session *session = atomic_load(&op->session);
    const qg_append *a = &op->append;
    bool nothing = !a->role && !a->content.n && !a->n_ids && !a->end;
    qg_status rc = QG_OK;
    if (op->rollback >= 0) {
        rc = qg_session_rollback(session, op->rollback, &err);
        op->rolled = rc == QG_OK;
        op->rules.stale = true;
    }
    if (rc == QG_OK)
        rc = qg_stream_rules_append(&op->rules, session, op->house->stream, a, &err);
    if (rc == QG_OK)
        rc = qg_session_submit(session, a, on_judged, op, &err);
    if (rc != QG_OK) {
        op->rules.stale = true;
        op->status = op->rolled && nothing && rc == QG_ERR_ARG ? QG_OK : rc;
        op->err = err;
        end_parts(op, 2);
        return;
    }
    atomic_store(&op->submitted, true);
    if (atomic_load(&op->gone)) /* in the meantime: the closer may have left it to us */
        close_once(op);
    end_parts(op, 1);
}

static void run_task(qg_task *task)
{
    submit((qg_stream_op *)task);
}

/* Gives the bytes that may have to be encoded. */
static size_t prepare(qg_stream_op *op)
{
    const qg_serve_options *opt = op->srv->opt;
    size_t n = op->unsettled + op->append.content.n;
    op->result = NULL;
    op->rolled = false;
    op->status = QG_OK;
    op->err.msg[0] = 0;
    op->unsettled = op->append.end ? 0 : n;
    if (opt->request_timeout_ms)
        op->append.deadline_us = qg_now_us() + (int64_t)opt->request_timeout_ms * 1000;
    atomic_store(&op->submitted, false);
    atomic_store(&op->parts, 2);
    return n;
}

void qg_stream_op_next(qg_stream_op *op)
{
    (void)prepare(op);
    submit(op);
}

void qg_stream_op_run(qg_stream_op *op)
{
    enum { INLINE_BYTES = 16 * 1024 }; /* as in judge.c */
    if (prepare(op) <= INLINE_BYTES && op->rollback < 0) {
        submit(op);
    } else {
        op->task.run = run_task;
        qg_worker_post(op->srv->worker, &op->task);
    }
}

void qg_stream_op_end(qg_stream_op *op)
{
    qg_stream_rules_free(&op->rules);
    qg_stream_record_end(&op->record);
    qg_house_unref(op->house);
    op->house = NULL;
}

void qg_stream_op_close(qg_stream_op *op)
{
    atomic_store(&op->gone, true);
    if (atomic_load(&op->parts) <= 0 || atomic_load(&op->submitted))
        close_once(op);
}
