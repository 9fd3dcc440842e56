/* One pass: which rows of which jobs go into it, and where its outputs go. */
#include "engine/engine_int.h"

static bool linear_wanted(const qg_job *job, int32_t i)
{
    if (job->kind == QG_JOB_LOGITS) {
        const qg_logits_request *r = job->request;
        return job->reads_done < (int32_t)r->n_positions && r->positions[job->reads_done] == i;
    }
    if (job->kind == QG_JOB_SESSION)
        return i >= job->change.base &&
               job->change.items[i - job->change.base].judge != QG_JUDGE_NOT;
    return i + 1 == (int32_t)job->ids.n;
}

static void want(qg_step *step, qg_job *job, int32_t read)
{
    step->wants[step->n_wants++] = (qg_want){job, read};
}

static int32_t read_of(qg_job *job, int32_t i)
{
    if (job->kind == QG_JOB_LOGITS)
        return job->reads_done++;
    return job->kind == QG_JOB_SESSION ? i - job->change.base : 0;
}

static void add_linear(qg_step *step, qg_job *job, int32_t i)
{
    bool wanted = linear_wanted(job, i);
    step->rows[step->n_rows++] = (qg_row){
        .id = qg_job_ids(job)->p[i],
        .pos = i,
        .slot = i,
        .tree_base = INT32_MAX,
        .seq = qg_job_seq(job),
        .want = wanted,
    };
    if (wanted)
        want(step, job, read_of(job, i));
}

/* Node i of the tree lies in the slot behind the linear part and its elder nodes; its path lists
 * the slots of its ancestors and its own. */
static void add_node(qg_step *step, qg_job *job, int32_t i)
{
    const qg_node *nodes = job->tree->nodes;
    int32_t base = (int32_t)job->ids.n;
    int32_t *path = step->paths + step->n_paths;

    step->n_paths += nodes[i].depth + 1;
    for (int32_t at = i; at != QG_TREE_ROOT; at = nodes[at].parent)
        path[nodes[at].depth] = base + at;
    step->rows[step->n_rows++] = (qg_row){
        .id = nodes[i].id,
        .pos = base + nodes[i].depth,
        .slot = base + i,
        .tree_base = base,
        .path = path,
        .seq = &job->seq,
        .want = nodes[i].read >= 0,
    };
    if (nodes[i].read >= 0)
        want(step, job, nodes[i].read);
}

/* A logits request may ask to be fed in pieces: a pass then stops at the end of the piece. */
static int32_t piece_limit(qg_job *job, int32_t room)
{
    const qg_logits_request *r = job->request;
    job->piece = -1;
    if (job->kind != QG_JOB_LOGITS || job->splits_done >= (int32_t)r->n_splits)
        return room;
    int32_t end = 0;
    for (int32_t i = 0; i <= job->splits_done; i++)
        end += r->splits[i];
    job->piece = job->splits_done;
    if (end - job->linear_done > room)
        return room;
    job->splits_done++;
    return end - job->linear_done;
}

static void add_job(qg_step *step, qg_job *job, int32_t room)
{
    int32_t n_linear = (int32_t)qg_job_ids(job)->n;

    room = piece_limit(job, room);
    int32_t before = step->n_rows;
    for (int32_t i = job->linear_done; i < n_linear && step->n_rows - before < room; i++)
        add_linear(step, job, i);
    bool linear_in = job->linear_done + (step->n_rows - before) == n_linear;
    for (int32_t i = job->tree_done;
         job->tree && linear_in && i < job->tree->n_nodes && step->n_rows - before < room; i++)
        add_node(step, job, i);
    job->step_rows = step->n_rows - before;
}

/* Jobs up to one pass of work are of size 0, up to two of size 1, up to four of size 2, …  Bulk
 * jobs count four times. */
static int size_of(const qg_step *step, const qg_job *job)
{
    int size = job->bulk ? 2 : 0;
    for (int64_t rows = step->cap; rows < qg_job_pending(job); rows *= 2)
        size++;
    return size;
}

/* Small jobs go before large ones, within a size the most urgent first: a long prompt delays a
 * check by the pass that is running, not by its own length.  The most urgent job of all gets a
 * quarter of the pass at least, so that nobody is passed for ever. */
void qg_step_fill(qg_engine *engine)
{
    qg_step *step = &engine->step;
    qg_job *first = engine->running; /* the list is in order of urgency */
    int largest = 0;

    step->n_rows = step->n_wants = step->n_paths = 0;
    for (qg_job *job = first; job; job = job->next) {
        int size = size_of(step, job);
        job->step_rows = 0;
        largest = size > largest ? size : largest;
    }
    int32_t kept = step->cap / 4;
    if (!kept) /* too narrow a pass to share: every fourth one is the first's */
        kept = step->turn++ % 4 == 3 ? step->cap : 0;
    int32_t cap = step->cap - kept;
    for (int size = 0; size <= largest; size++)
        for (qg_job *job = first; job; job = job->next) {
            if (size_of(step, job) != size)
                continue;
            if (job == first)
                cap = step->cap;
            if (step->n_rows < cap)
                add_job(step, job, cap - step->n_rows);
        }
}

static bool nobody_waits(void *arg)
{
    qg_engine *engine = arg;
    int64_t now = qg_now_us();

    if (atomic_load_explicit(&engine->stop_now, memory_order_relaxed))
        return true;
    for (const qg_job *job = engine->running; job; job = job->next)
        if (job->step_rows && !atomic_load_explicit(&job->cancelled, memory_order_relaxed) &&
            (!job->deadline_us || now < job->deadline_us))
            return false;
    return true;
}

qg_status qg_step_run(qg_engine *engine)
{
    qg_step *step = &engine->step;
    int64_t now = qg_now_us();

    if (!step->n_rows) /* appends that bring no token */
        return QG_OK;
    for (qg_job *job = engine->running; job; job = job->next)
        if (job->step_rows && !job->started_us)
            job->started_us = now;
    QG_TRY(qg_model_forward(engine->model, engine->scratch, engine->pool, step->rows, step->n_rows,
                            step->hidden, nobody_waits, engine));
    int64_t took = qg_now_us() - now;
    for (qg_job *job = engine->running; job; job = job->next) {
        if (job->step_rows && job->piece >= 0 && job->request->split_us)
            job->request->split_us[job->piece] += took;
        int32_t linear = (int32_t)qg_job_ids(job)->n - job->linear_done;
        if (linear > job->step_rows)
            linear = job->step_rows;
        job->linear_done += linear;
        job->tree_done += job->step_rows - linear;
    }
    return QG_OK;
}

/* A Stream model's heads of all wanted rows in one go, so that their weights are read once. */
static void deliver_heads(qg_engine *engine)
{
    const qg_step *step = &engine->step;
    size_t width = (size_t)qg_logits_width(engine);

    qg_model_heads(engine->model, engine->scratch, engine->pool, step->hidden, step->n_wants,
                   engine->heads);
    for (int32_t i = 0; i < step->n_wants; i++) {
        const qg_want *w = &step->wants[i];
        float *out = w->job->kind == QG_JOB_SESSION ? w->job->logits : w->job->logits_out;
        memcpy(out + (size_t)w->read * width, engine->heads + (size_t)i * width,
               width * sizeof *out);
    }
}

/* How many wants from i on go through their matrix in one go, so that it is read once: reads of one
 * job that follow each other, or tokens to be picked. */
static int32_t together(const qg_step *step, int32_t i)
{
    const qg_want *w = &step->wants[i];
    const bool pick = w->job->kind == QG_JOB_GENERATE;
    int32_t n = 1;
    for (; i + n < step->n_wants; n++)
        if (pick ? n == QG_VOCAB_ROWS || w[n].job->kind != QG_JOB_GENERATE
                 : w[n].job != w->job || w[n].read != w->read + n)
            break;
    return n;
}

/* The next token of n jobs. */
static void deliver_picks(qg_engine *engine, const qg_want *w, int32_t n, const float *hidden)
{
    const int32_t vocab = qg_model_config(engine->model)->vocab_size;
    qg_model_logits(engine->model, engine->scratch, engine->pool, hidden, n, engine->vocab_logits,
                    vocab);
    for (int32_t i = 0; i < n; i++) {
        qg_job *job = w[i].job;
        job->picked = qg_sample_pick(job->sampler, &engine->sample_room,
                                     engine->vocab_logits + (int64_t)i * vocab,
                                     qg_tok_n_ids(engine->tok), vocab, &job->ids, job->n_prompt);
    }
}

static void deliver_some(qg_engine *engine, const qg_want *w, int32_t n, const float *hidden)
{
    const int64_t vocab = qg_model_config(engine->model)->vocab_size;
    switch (w->job->kind) {
    case QG_JOB_VERDICT:
        qg_head_logits(engine->head, engine->model, engine->scratch, hidden, n,
                       w->job->logits + (int64_t)w->read * qg_guard_answers(engine->guard)->n);
        break;
    case QG_JOB_GENERATE:
        deliver_picks(engine, w, n, hidden);
        break;
    case QG_JOB_LOGITS:
        qg_model_logits(engine->model, engine->scratch, engine->pool, hidden, n,
                        w->job->logits_out + (int64_t)w->read * vocab, vocab);
        break;
    case QG_JOB_SESSION: /* Stream models only */
        break;
    }
}

void qg_step_deliver(qg_engine *engine)
{
    const qg_step *step = &engine->step;
    const int64_t hidden = qg_model_config(engine->model)->hidden;

    if (qg_model_is_stream(engine->model)) {
        deliver_heads(engine);
        return;
    }
    for (int32_t i = 0, n; i < step->n_wants; i += n) {
        n = together(step, i);
        deliver_some(engine, &step->wants[i], n, step->hidden + i * hidden);
    }
}
