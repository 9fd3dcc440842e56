#include "engine/job.h"

#include "base/mem.h"

qg_job *qg_job_new(qg_engine *engine, qg_job_kind kind)
{
    qg_job *job = qg_calloc(1, sizeof *job);
    if (!job)
        return NULL;
    atomic_init(&job->refs, 1);
    atomic_init(&job->cancelled, false);
    job->engine = engine;
    job->kind = kind;
    return job;
}

void qg_job_unref(qg_job *job)
{
    if (!job || atomic_fetch_sub(&job->refs, 1) != 1)
        return;
    if (job->waiter) {
        qg_result_free(job->waiter->result);
        qg_waiter_destroy(job->waiter);
        qg_mfree(job->waiter);
    }
    qg_job_unref(job->again);
    qg_ids_free(&job->ids);
    qg_mfree(job->tree);
    qg_mfree(job->logits);
    qg_sampler_free(job->sampler);
    qg_mfree(job->kept);
    qg_change_free(&job->change);
    qg_session_unref(job->session);
    qg_mfree(job);
}

int32_t qg_job_pending(const qg_job *job)
{
    int32_t linear = (int32_t)qg_job_ids(job)->n - job->linear_done;
    return linear + (job->tree ? job->tree->n_nodes - job->tree_done : 0);
}

void qg_cancel(qg_job *job)
{
    for (; job; job = job->again)
        atomic_store(&job->cancelled, true);
}

void qg_job_release(qg_job *job)
{
    qg_job_unref(job);
}
