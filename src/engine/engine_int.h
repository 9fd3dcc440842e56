/* The engine's inside: what open() builds and the scheduler owns. */
#ifndef QG_ENGINE_ENGINE_INT_H
#define QG_ENGINE_ENGINE_INT_H

#include "engine/demo.h"
#include "engine/job.h"
#include "engine/packcache.h"
#include "engine/prefix.h"

#include <pthread.h>

/* One pass: the rows, who they belong to, and where its outputs go.  Scheduler thread only. */
typedef struct qg_want {
    qg_job *job;
    int32_t read; /* verdict: row of job->logits; logits: index of the position */
} qg_want;

typedef struct qg_step {
    qg_row *rows;   /* [cap] */
    qg_want *wants; /* [cap], in row order */
    int32_t *paths; /* [cap * QG_PATH_MAX] */
    float *hidden;  /* [cap][hidden] */
    int32_t n_rows, n_wants, n_paths, cap;
    unsigned turn; /* passes so far */
} qg_step;

enum { QG_VOCAB_ROWS = 16 }; /* tokens picked in one go: the output matrix is read once for them */
enum { QG_PATH_MAX = 5 * QG_LABEL_IDS }; /* deepest tree node: severity … answer, five pieces */

struct qg_engine {
    /* immutable once open */
    qg_options opt;
    char name[128];
    bool builtin;
    uint32_t features;
    int32_t max_len; /* tokens of context */
    int32_t eos[12], n_eos;
    qg_demo demo; /* what dir reads from when it is a built-in model */
    qg_modeldir *dir;
    qg_tok *tok;
    qg_tmpl *tmpl;
    qg_guard *guard;        /* NULL unless tokenizer and template are open */
    qg_packcache packcache; /* what model may be made of */
    qg_model *model;        /* NULL unless weights are open, and so everything below */
    qg_pool *pool;
    qg_scratch *scratch;
    qg_head *head; /* columns of the answers; NULL when verdicts cannot be forced */
    qg_hub *hub;   /* Stream models only, and so the next four */
    qg_frames frames;
    bool has_frames;
    qg_engine *second; /* asked again where this one is not sure; NULL = none */
    qg_stream_labels labels;
    qg_status labels_rc; /* QG_OK, or why tokens cannot be judged */
    qg_err labels_err;

    /* scheduler thread only */
    qg_kv *kv;
    int32_t kv_warm;   /* blocks to have ready when idle: what is used again and again */
    qg_prefix *prefix; /* NULL: no prefix cache */
    qg_step step;
    float *vocab_logits; /* [QG_VOCAB_ROWS][vocab_size] for generated tokens */
    qg_sample_room sample_room;
    float *heads;                /* [step.cap][labels.width], Stream models only */
    qg_session *oldest, *newest; /* sessions that hold KV, by last use */
    int64_t next_expiry_us;      /* look at them then; 0 = none */
    qg_job *waiting, *running;
    int32_t n_running;
    int32_t crowd; /* most jobs of a pass lately, fading */
    bool kv_full;  /* the first waiting job did not fit and no job has ended since */

    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool lock_ready, thread_ready;
    qg_job *mailbox, **mailbox_end;
    int32_t n_jobs;     /* accepted and not ended */
    int64_t n_tokens;   /* their prompt tokens */
    qg_session *closed; /* sessions to take leave of */
    bool closing;
    qg_stats stats;

    atomic_bool stop_now; /* closing, readable between layers without the lock */
    pthread_t thread;
};

/* The scheduler thread's main. */
void *qg_sched_main(void *engine);

/* Hands a job to the scheduler, or refuses it: QG_ERR_BUSY, QG_ERR_CLOSED. Takes a reference of its
 * own. */
qg_status qg_sched_post(qg_engine *engine, qg_job *job, qg_err *err);

/* seq's slots [0, n_slots), at the expense of the cache, then of idle sessions.  QG_ERR_BUSY,
 * QG_ERR_NOMEM. */
qg_status qg_sched_grow(qg_engine *engine, qg_kv_seq *seq, int32_t n_slots);

/* A job that has ended here still counts (by 1), or no more (-1), against what may be in the house:
 * it is on its way through the second engine.  Any thread. */
void qg_sched_count(qg_engine *engine, const qg_job *job, int by);

/* Fills step with rows of the running jobs. */
void qg_step_fill(qg_engine *engine);
/* Runs the pass; QG_OK, QG_ERR_CANCELLED (every job in it is cancelled or late), QG_ERR_INTERNAL.
 */
qg_status qg_step_run(qg_engine *engine);
/* Delivers the pass's outputs to its jobs (logits), without deciding anything. */
void qg_step_deliver(qg_engine *engine);

/* Numbers per position that qg_logits gives: the vocabulary's, or a Stream model's heads. */
int64_t qg_logits_width(const qg_engine *engine);

/* What a job does when all its pending rows have been run. */
typedef enum qg_next { QG_NEXT_MORE, QG_NEXT_DONE, QG_NEXT_FAILED } qg_next;
qg_next qg_job_decide(qg_engine *engine, qg_job *job, qg_result **result, qg_status *rc,
                      qg_err *err);

/* Results; NULL when out of memory. */
qg_result *qg_result_of_verdict(const qg_engine *engine, const qg_job *job, const qg_verdict *v);
qg_result *qg_result_of_text(const qg_engine *engine, const qg_job *job);

#endif
