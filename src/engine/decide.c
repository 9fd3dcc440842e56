/* What a job does once all its pending rows have been run. */
#include "engine/engine_int.h"

#include "base/mem.h"

/* Room for the logits of reads that the tree gained. */
static bool grow_logits(const qg_engine *engine, qg_job *job)
{
    size_t n = (size_t)job->tree->n_reads * (size_t)qg_guard_answers(engine->guard)->n;
    float *logits = qg_realloc_array(job->logits, n, sizeof *logits);
    if (logits)
        job->logits = logits;
    return logits != NULL;
}

static qg_next failed(qg_status *rc, qg_status why)
{
    *rc = why;
    return QG_NEXT_FAILED;
}

static qg_next decide_verdict(qg_engine *engine, qg_job *job, qg_result **result, qg_status *rc,
                              qg_err *err)
{
    qg_verdict v;
    bool more;

    *rc = qg_verdict_read(&v, job->judged, job->tree, qg_guard_labels(engine->guard),
                          qg_guard_answers(engine->guard), job->logits, &more, err);
    if (*rc != QG_OK)
        return QG_NEXT_FAILED;
    if (more)
        return grow_logits(engine, job) ? QG_NEXT_MORE
                                        : failed(rc, qg_fail(err, QG_ERR_NOMEM, "out of memory"));
    *result = qg_result_of_verdict(engine, job, &v);
    return *result ? QG_NEXT_DONE : failed(rc, qg_fail(err, QG_ERR_NOMEM, "out of memory"));
}

static bool is_eos(const qg_engine *engine, int32_t id)
{
    for (int32_t i = 0; i < engine->n_eos; i++)
        if (engine->eos[i] == id)
            return true;
    return false;
}

static qg_next decide_generate(qg_engine *engine, qg_job *job, qg_result **result, qg_status *rc,
                               qg_err *err)
{
    qg_status stop_rc = QG_OK;
    if (job->picked == -1)
        return failed(rc, qg_fail(err, QG_ERR_INTERNAL, "a logit is not a finite number"));
    job->finished = is_eos(engine, job->picked) || qg_sampler_is_stop_id(job->sampler, job->picked);
    if (!job->finished) {
        if (job->picked < 0 || qg_ids_push(&job->ids, job->picked) != QG_OK)
            return failed(rc, qg_fail(err, QG_ERR_NOMEM, "out of memory"));
        bool stop = qg_sampler_stops(job->sampler, engine->tok, job->picked, &stop_rc);
        if (stop_rc != QG_OK)
            return failed(rc, qg_fail(err, stop_rc, "out of memory"));
        if (!stop && (int32_t)job->ids.n < job->max_ids)
            return QG_NEXT_MORE;
    }
    *result = qg_result_of_text(engine, job);
    return *result ? QG_NEXT_DONE : failed(rc, qg_fail(err, QG_ERR_NOMEM, "out of memory"));
}

/* Only the linear part is remembered: tree slots behind it belong to this verdict alone. */
static void remember(qg_engine *engine, qg_job *job)
{
    if (!engine->prefix || job->inserted || job->kind == QG_JOB_LOGITS ||
        job->kind == QG_JOB_SESSION)
        return;
    const qg_ids *common = qg_guard_prefix(engine->guard, job->judged);
    size_t pinned = 0;
    while (pinned < common->n && pinned < job->ids.n && common->p[pinned] == job->ids.p[pinned])
        pinned++;
    qg_prefix_insert(engine->prefix, job->ids.p, (int32_t)job->ids.n, &job->seq,
                     pinned == common->n ? (int32_t)pinned : 0);
    job->inserted = true;
}

qg_next qg_job_decide(qg_engine *engine, qg_job *job, qg_result **result, qg_status *rc,
                      qg_err *err)
{
    *result = NULL;
    *rc = QG_OK;
    remember(engine, job);
    switch (job->kind) {
    case QG_JOB_VERDICT:
        return decide_verdict(engine, job, result, rc, err);
    case QG_JOB_GENERATE:
        return decide_generate(engine, job, result, rc, err);
    case QG_JOB_SESSION:
        *rc = qg_session_commit(engine, job, err);
        return *rc == QG_OK ? QG_NEXT_DONE : QG_NEXT_FAILED;
    case QG_JOB_LOGITS:
        break;
    }
    return QG_NEXT_DONE;
}
