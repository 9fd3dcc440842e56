/* The calls of qguard.h that make jobs. */
#include "engine/engine_int.h"
#include "engine/second.h"

#include "base/limits.h"
#include "base/mem.h"

void qg_request_init(qg_request *req)
{
    *req = (qg_request){.size = sizeof *req};
}

void qg_free(void *p)
{
    qg_mfree(p);
}

static qg_status need(const qg_engine *e, const void *part, const char *what, qg_err *err)
{
    if (e && part)
        return QG_OK;
    return qg_fail(err, QG_ERR_ARG, "the engine was opened without its %s", what);
}

static qg_status too_long(const qg_engine *e, int32_t answer, size_t prompt, qg_err *err)
{
    return qg_fail(err, QG_ERR_TOO_LONG,
                   "This model's maximum context length is %d tokens. However, you requested %d "
                   "output tokens and your prompt contains at least %zu input tokens, for a total "
                   "of at least %zu tokens. Please reduce the length of the input prompt or the "
                   "number of requested output tokens.",
                   e->max_len, answer, prompt, prompt + (size_t)answer);
}

/* Room behind the prompt for a verdict: the tree as it stands and the branch that a reply's refusal
 * may add. */
static qg_status prepare_verdict(qg_engine *e, qg_job *job, qg_err *err)
{
    QG_TRY(qg_guard_forced(e->guard, err));
    const qg_labels *labels = qg_guard_labels(e->guard);
    const qg_tree *tree = qg_guard_tree(e->guard, job->judged);
    int32_t longest = qg_labels_longest(labels, job->judged);

    if (job->n_prompt > e->max_len - longest)
        return too_long(e, longest, (size_t)job->n_prompt, err);
    job->tree = qg_malloc(sizeof *job->tree);
    job->logits = qg_calloc((size_t)tree->n_reads * (size_t)qg_guard_answers(e->guard)->n,
                            sizeof *job->logits);
    if (!job->tree || !job->logits ||
        qg_ids_add(&job->ids, labels->safety.ids, (size_t)labels->safety.n) != QG_OK)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    *job->tree = *tree;
    job->max_slots = (int32_t)job->ids.n + tree->n_nodes + longest;
    return QG_OK;
}

static qg_status prepare_generate(qg_engine *e, qg_job *job, int32_t max_tokens, qg_err *err)
{
    int32_t room = e->max_len - job->n_prompt;
    int32_t most = max_tokens ? max_tokens : QG_MAX_ANSWER_IDS;
    if (room < 1 || max_tokens > room)
        return too_long(e, max_tokens, (size_t)job->n_prompt, err);
    job->max_ids = job->n_prompt + (most < room ? most : room);
    job->max_slots = job->max_ids;
    return QG_OK;
}

static qg_status check_ids(const qg_engine *e, const qg_request *req, qg_err *err)
{
    int32_t n_vocab = qg_model_config(e->model)->vocab_size;
    if (!req->n_ids)
        return qg_fail(err, QG_ERR_ARG, "the prompt must not be empty");
    for (size_t i = 0; i < req->n_ids; i++)
        if (req->ids[i] < 0 || req->ids[i] >= n_vocab)
            return qg_fail(err, QG_ERR_ARG, "ids[%zu]: %d is not in 0..%d", i, req->ids[i],
                           n_vocab - 1);
    return QG_OK;
}

static qg_status check_request(const qg_engine *e, const qg_request *req, qg_err *err)
{
    QG_TRY(need(e, e ? e->guard : NULL, "tokenizer and template", err));
    QG_TRY(need(e, e->model, "weights", err));
    if (qg_model_is_stream(e->model))
        return qg_fail(err, QG_ERR_UNSUPPORTED,
                       "%s is a Stream model: it judges token by token, not whole messages",
                       e->name);
    if (!req || req->size != sizeof *req)
        return qg_fail(err, QG_ERR_ARG, "request: size is not set; call qg_request_init first");
    if (req->max_tokens < 0)
        return qg_fail(err, QG_ERR_ARG, "max_tokens must not be negative");
    if (req->decode != QG_DECODE_GENERATE && (req->ids || req->sampling))
        return qg_fail(err, QG_ERR_ARG, "ids and sampling need decode to be generate");
    if (req->ids)
        return check_ids(e, req, err);
    if (!req->messages || !req->n_messages)
        return qg_fail(err, QG_ERR_ARG, "messages must not be empty");
    for (size_t i = 0; i < req->n_messages; i++)
        if (!req->messages[i].role)
            return qg_fail(err, QG_ERR_ARG, "messages[%zu].role is missing", i);
    return QG_OK;
}

/* Renders, encodes and measures on the caller's thread. */
static qg_status prepare(qg_engine *e, qg_job *job, const qg_request *req, qg_err *err)
{
    if (!req->ids)
        job->judged = qg_guard_judged(req->messages, req->n_messages);
    if (req->sampling)
        QG_TRY(qg_sampler_new(&job->sampler, req->sampling, qg_model_config(e->model)->vocab_size,
                              err));
    job->bulk = req->priority != 0;
    job->deadline_us = req->deadline_us;
    job->submitted_us = qg_now_us();
    if (req->ids)
        QG_TRY(qg_ids_add(&job->ids, req->ids, req->n_ids));
    else
        QG_TRY(qg_guard_prompt(e->guard, req->messages, req->n_messages, e->opt.special, &job->ids,
                               err));
    if (job->ids.n > (size_t)e->max_len)
        return too_long(e, 0, job->ids.n, err);
    job->n_prompt = (int32_t)job->ids.n;
    return job->kind == QG_JOB_VERDICT ? prepare_verdict(e, job, err)
                                       : prepare_generate(e, job, req->max_tokens, err);
}

/* The verdict stays with the job, for qg_job_wait. */
static qg_status wait_later(qg_job *job, qg_err *err)
{
    job->waiter = qg_malloc(sizeof *job->waiter);
    if (!job->waiter)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    qg_waiter_init(job->waiter);
    job->done = qg_waiter_done;
    job->ud = job->waiter;
    return QG_OK;
}

/* Everything but who hears of it. */
static qg_status make_job(qg_engine *engine, const qg_request *req, qg_job **out, qg_err *err)
{
    bool generate = req->decode == QG_DECODE_GENERATE;
    *out = qg_job_new(engine, generate ? QG_JOB_GENERATE : QG_JOB_VERDICT);
    if (!*out)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    qg_status rc = prepare(engine, *out, req, err);
    if (rc != QG_OK) {
        qg_job_unref(*out);
        *out = NULL;
    }
    return rc;
}

/* The second model's job is made here, too, on the caller's thread and while the messages live: it
 * costs a rendering, and asking again then neither encodes on the scheduler's thread nor fails for
 * want of memory.  A text that this model cannot take does not keep the first one from it. */
static qg_status add_second(qg_job *job, const qg_request *req, qg_err *err)
{
    qg_job *again;
    qg_status rc = make_job(job->engine->second, req, &again, err);
    if (rc == QG_ERR_NOMEM)
        return rc;
    qg_second_attach(job, again, rc);
    return QG_OK;
}

qg_status qg_submit(qg_engine *engine, const qg_request *req, qg_done_fn *done, void *ud,
                    qg_job **out, qg_err *err)
{
    qg_job *job;
    if (out)
        *out = NULL;
    QG_TRY(check_request(engine, req, err));
    if (!done && !out)
        return qg_fail(err, QG_ERR_ARG, "without done, job must not be NULL: the verdict is its");
    QG_TRY(make_job(engine, req, &job, err));
    job->done = done;
    job->ud = ud;
    qg_status rc = done ? QG_OK : wait_later(job, err);
    if (rc == QG_OK && engine->second && job->kind == QG_JOB_VERDICT)
        rc = add_second(job, req, err);
    if (rc == QG_OK)
        rc = qg_sched_post(engine, job, err);
    if (rc == QG_OK && out)
        *out = job;
    else
        qg_job_unref(job);
    return rc;
}

/* ---- waiting ---- */

qg_status qg_judge(qg_engine *engine, const qg_request *req, qg_result **out, qg_err *err)
{
    qg_waiter w;

    *out = NULL;
    qg_waiter_init(&w);
    qg_status rc = qg_submit(engine, req, qg_waiter_done, &w, NULL, err);
    if (rc == QG_OK)
        rc = qg_waiter_wait(&w, err);
    *out = w.result;
    qg_waiter_destroy(&w);
    return rc;
}

qg_status qg_job_wait(qg_job *job, qg_result **out, qg_err *err)
{
    *out = NULL;
    if (!job || !job->waiter)
        return qg_fail(err, QG_ERR_ARG, "this job tells a callback, nobody can wait for it");
    QG_TRY(qg_waiter_wait(job->waiter, err));
    *out = job->waiter->result;
    job->waiter->result = NULL;
    return *out ? QG_OK : qg_fail(err, QG_ERR_ARG, "the job's result was taken before");
}

int64_t qg_logits_width(const qg_engine *e)
{
    int64_t width = 0;
    if (!qg_model_is_stream(e->model))
        return qg_model_config(e->model)->vocab_size;
    for (int g = 0; g < QG_N_LABEL_GROUPS; g++)
        width += qg_model_n_labels(e->model, (qg_label_group)g);
    return width;
}

static qg_status check_logits(const qg_engine *e, const qg_logits_request *r, qg_err *err)
{
    QG_TRY(need(e, e ? e->model : NULL, "weights", err));
    int32_t vocab = qg_model_config(e->model)->vocab_size;
    if (!r || !r->ids || !r->n_ids || !r->positions || !r->n_positions)
        return qg_fail(err, QG_ERR_ARG, "ids and positions must not be empty");
    if (r->n_ids > (size_t)e->max_len)
        return too_long(e, 0, r->n_ids, err);
    for (size_t i = 0; i < r->n_ids; i++)
        if (r->ids[i] < 0 || r->ids[i] >= vocab)
            return qg_fail(err, QG_ERR_ARG, "ids[%zu]: %d is not in 0..%d", i, r->ids[i],
                           vocab - 1);
    for (size_t i = 0; i < r->n_positions; i++)
        if (r->positions[i] < 0 || (size_t)r->positions[i] >= r->n_ids ||
            (i && r->positions[i] <= r->positions[i - 1]))
            return qg_fail(err, QG_ERR_ARG, "positions[%zu]: %d is not rising within 0..%zu", i,
                           r->positions[i], r->n_ids - 1);
    if (r->n_positions > QG_MAX_LOGITS_BYTES / sizeof(float) / (size_t)qg_logits_width(e))
        return qg_fail(err, QG_ERR_TOO_LONG, "%zu positions of %d logits are too many at once",
                       r->n_positions, vocab);
    for (size_t i = 0; i < r->n_splits; i++)
        if (r->splits[i] < 1 || (size_t)r->splits[i] > r->n_ids)
            return qg_fail(err, QG_ERR_ARG, "splits[%zu]: %d is not in 1..%zu", i, r->splits[i],
                           r->n_ids);
    return QG_OK;
}

qg_status qg_logits(qg_engine *engine, const qg_logits_request *req, float *out, qg_err *err)
{
    qg_waiter w;

    QG_TRY(check_logits(engine, req, err));
    for (size_t i = 0; req->split_us && i < req->n_splits; i++)
        req->split_us[i] = 0;
    qg_waiter_init(&w);
    qg_job *job = qg_job_new(engine, QG_JOB_LOGITS);
    qg_status rc = job ? qg_ids_add(&job->ids, req->ids, req->n_ids) : QG_ERR_NOMEM;
    if (rc == QG_OK) {
        job->done = qg_waiter_done;
        job->ud = &w;
        job->request = req;
        job->logits_out = out;
        job->submitted_us = qg_now_us();
        job->n_prompt = job->max_slots = (int32_t)req->n_ids;
        rc = qg_sched_post(engine, job, err);
        if (rc == QG_OK)
            rc = qg_waiter_wait(&w, err);
    } else {
        qg_fail(err, rc, "out of memory");
    }
    qg_job_unref(job);
    qg_waiter_destroy(&w);
    return rc;
}
