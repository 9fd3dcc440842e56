/* One job on its way through the engine.  Field groups name the thread that may touch them. */
#ifndef QG_ENGINE_JOB_H
#define QG_ENGINE_JOB_H

#include "engine/sample.h"
#include "engine/session.h"
#include "engine/waiter.h"
#include "guard/guard.h"
#include "model/model.h"

#include <stdatomic.h>

typedef enum qg_job_kind {
    QG_JOB_VERDICT,
    QG_JOB_GENERATE,
    QG_JOB_LOGITS,
    QG_JOB_SESSION, /* an append: ids and KV are the session's */
} qg_job_kind;

struct qg_job {
    struct qg_job *next;   /* in exactly one list: mailbox, waiting or running */
    atomic_int refs;       /* the engine's and the caller's handle */
    atomic_bool cancelled; /* any thread; polled between layers */

    /* written before posting, read-only afterwards */
    qg_engine *engine;
    qg_job_kind kind;
    qg_judged judged;
    qg_done_fn *done;
    void *ud;
    qg_waiter *waiter; /* the job's own, for qg_job_wait; NULL: done is the caller's */
    int64_t submitted_us;
    int64_t deadline_us;              /* 0 = none */
    bool bulk;                        /* yields to interactive jobs */
    int64_t urgency_us;               /* who goes first: the smaller; set when posted */
    int32_t n_prompt;                 /* tokens of the rendered prompt, the first of ids */
    int32_t max_slots;                /* KV slots the job can ever need */
    int32_t max_ids;                  /* generate: ids may grow to this many */
    qg_sampler *sampler;              /* generate: NULL = greedy, no log probabilities */
    const qg_logits_request *request; /* logits: borrowed, the caller waits */
    float *logits_out;
    qg_session *session; /* session: holds a reference */
    qg_stream_done_fn *stream_done;
    int32_t first_row; /* session: position of the first token to run */
    bool admitted;     /* it was let in by another engine: this one does not count it */
    /* second opinion (second.h); told is who hears of it in the end */
    qg_job *again;      /* of the second engine, made beside this one; NULL: none, … */
    qg_status again_rc; /* … and why */
    qg_done_fn *told;
    void *told_ud;

    /* scheduler thread only, once posted */
    qg_ids ids;    /* the linear part: prompt, "Safety:" (verdict), generated tokens */
    qg_tree *tree; /* verdict: the job's own copy */
    qg_kv_seq seq;
    int32_t n_cached;    /* tokens found in the prefix cache */
    int32_t linear_done; /* ids whose KV is in seq */
    int32_t tree_done;   /* tree nodes whose KV is in seq */
    int32_t reads_done;  /* logits: positions delivered */
    int32_t splits_done; /* logits: pieces of request->splits fed */
    int32_t piece;       /* logits: the piece in the pass being run; -1 = behind the last */
    bool inserted;       /* the prompt is in the prefix cache */
    bool finished;       /* generate: the end token came */
    int32_t picked;      /* generate: the token chosen by the last pass, or as qg_sample_pick */
    int32_t step_rows;   /* rows of this job in the pass being run; 0 = none */
    float *logits;       /* verdict: [tree->n_reads][answers], grows with the tree;
                            session: [change.n_items][heads] */
    float *kept;         /* session: room for the heads that the next append may need */
    qg_change change;    /* session: what is new in the conversation */
    qg_stream_result *stream_result;
    int64_t started_us; /* first pass */
    qg_result *first;   /* what was said, while the second engine has its turn */
    int64_t asked_us;
};

/* Zeroed, with one reference (the caller's handle); NULL when out of memory. */
qg_job *qg_job_new(qg_engine *engine, qg_job_kind kind);
/* Drops one reference; frees at the last. KV must have been given back before. */
void qg_job_unref(qg_job *job);

/* The linear ids and the KV they go into: the job's own, or its session's. */
static inline const qg_ids *qg_job_ids(const qg_job *job)
{
    return job->session ? &job->session->convo.ids : &job->ids;
}
static inline qg_kv_seq *qg_job_seq(qg_job *job)
{
    return job->session ? &job->session->seq : &job->seq;
}

/* Rows the job still has to run before its next decision. */
int32_t qg_job_pending(const qg_job *job);

#endif
