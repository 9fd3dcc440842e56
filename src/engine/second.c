#include "engine/second.h"

/* ---- opening --------------------------------------------------------------------------------- */

qg_status qg_second_check(const qg_options *opt, qg_err *err)
{
    if (!opt->second_model)
        return QG_OK;
    if (!(opt->second_below > 0 && opt->second_below <= 1))
        return qg_fail(err, QG_ERR_ARG, "second_below: %g is not in (0,1]", opt->second_below);
    if (opt->parts != QG_PART_ALL)
        return qg_fail(err, QG_ERR_ARG, "second_model: both models must be opened whole");
    if (opt->memory_bytes)
        return qg_fail(err, QG_ERR_ARG, "memory_bytes is for one model, not with second_model");
    return QG_OK;
}

static qg_status needs_gen(const qg_engine *e, qg_err *err)
{
    if (qg_model_is_stream(e->model))
        return qg_fail(err, QG_ERR_UNSUPPORTED,
                       "%s is a Stream model: second opinions are between Gen models", e->name);
    return QG_OK;
}

bool qg_second_options(const qg_options *opt, qg_options *second)
{
    *second = *opt;
    second->model = opt->second_model;
    second->dtype = opt->second_dtype;
    second->second_model = second->chat_template = NULL;
    return opt->second_model != NULL;
}

qg_status qg_second_open(qg_engine *e, const qg_options *opt, qg_err *err)
{
    qg_options own;
    if (!qg_second_options(opt, &own))
        return QG_OK;
    QG_TRY(needs_gen(e, err));
    QG_TRY(qg_engine_open(&e->second, &own, err));
    return needs_gen(e->second, err);
}

qg_engine *qg_engine_second(const qg_engine *engine)
{
    return engine->second;
}

/* ---- asking again ---------------------------------------------------------------------------- */

static bool is_sure(const qg_job *job, const qg_result *r)
{
    return !r->has_p || r->p_severity[r->severity] >= job->engine->opt.second_below;
}

static void first_stands(qg_job *job, qg_result *r, qg_status why)
{
    r->second = QG_SECOND_FAILED;
    r->second_status = why;
    r->first_severity = r->severity;
    r->first_p = r->p_severity[r->severity];
    job->told(job->told_ud, QG_OK, r, NULL);
}

/* What both of them cost goes with the verdict that stands. */
static void second_stands(qg_job *job, qg_result *r, const qg_result *first)
{
    r->second = QG_SECOND_GIVEN;
    r->first_severity = first->severity;
    r->first_p = first->p_severity[first->severity];
    r->n_prompt_tokens += first->n_prompt_tokens;
    r->n_cached_tokens += first->n_cached_tokens;
    r->queued_us += first->queued_us;
    r->compute_us += first->compute_us;
    job->told(job->told_ud, QG_OK, r, NULL);
}

/* On the second engine's thread, or on the first one's when that could not be posted. */
static void on_second(void *ud, qg_status rc, qg_result *result, const qg_err *err)
{
    qg_job *job = ud;
    qg_result *first = job->first;
    const int64_t us = qg_now_us() - job->asked_us;

    job->first = NULL;
    qg_sched_count(job->engine, job, -1);
    if (rc == QG_OK) {
        result->second_us = us;
        second_stands(job, result, first);
    } else if (rc == QG_ERR_CANCELLED) {
        job->told(job->told_ud, rc, NULL, err);
    } else {
        first->second_us = us;
        first->compute_us += us;
        first_stands(job, first, rc);
        first = NULL; /* the caller's */
    }
    qg_result_free(first);
    qg_job_unref(job);
}

/* On the first engine's thread.  From posting on the job is the other thread's. */
static void on_first(void *ud, qg_status rc, qg_result *result, const qg_err *err)
{
    qg_job *job = ud;
    qg_err why;

    if (rc != QG_OK || is_sure(job, result)) {
        job->told(job->told_ud, rc, result, err);
        return;
    }
    if (!job->again) {
        first_stands(job, result, job->again_rc);
        return;
    }
    job->first = result;
    job->asked_us = job->again->submitted_us = qg_now_us();
    atomic_fetch_add(&job->refs, 1);
    qg_sched_count(job->engine, job, 1);
    rc = qg_sched_post(job->engine->second, job->again, &why);
    if (rc != QG_OK)
        on_second(job, rc, NULL, &why);
}

void qg_second_attach(qg_job *job, qg_job *again, qg_status why)
{
    job->again = again;
    job->again_rc = why;
    job->told = job->done;
    job->told_ud = job->ud;
    job->done = on_first;
    job->ud = job;
    if (!again)
        return;
    again->done = on_second;
    again->ud = job;
    again->admitted = true;
}
