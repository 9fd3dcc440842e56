/* Judging a text in windows, one after the other: what the first leaves in the cache of prefixes
 * (the policy, the messages before) serves the others, and a long text takes one place in the queue
 * at a time.  Each step runs on the worker, since it encodes; deadline and cancelling are those of
 * the ask. */
#define _GNU_SOURCE

#include "serve/windows.h"

#include "base/mem.h"
#include "serve/outcome.h"

#include <stdio.h>

struct qg_windows {
    qg_task task; /* first */
    qg_serve_ask *ask;
    qg_window_cut cut;
    qg_request request;
    qg_message *messages; /* the ask's, the last one a window */
    qg_text text;
    size_t next; /* the window under way */
    /* Submitting a window and its end: who is second goes on. */
    atomic_int turn;
    qg_status status;
    qg_result *result;
    qg_err err;
    /* what stands so far */
    qg_result *worst;
    size_t decided_by;
    int32_t prompt_tokens, cached_tokens;
    int64_t queued_us, compute_us;
    qg_job *handles[QG_MAX_WINDOWS]; /* kept to the end: on_gone may hold one */
};

/* ---- which verdict stands -------------------------------------------------------------------- */

/* Text that is no verdict is never Safe; it hides less than Unsafe shows. */
static int rank(qg_severity severity)
{
    static const int ranks[] = {[QG_SAFE] = 0, [QG_CONTROVERSIAL] = 1, [QG_UNSAFE] = 3};
    return severity < QG_SEVERITY_UNKNOWN ? ranks[severity] : 2;
}

bool qg_window_worse(const qg_policy_view *view, const qg_result *a, const qg_result *b)
{
    qg_outcome of_a, of_b;
    if (rank(a->severity) != rank(b->severity))
        return rank(a->severity) > rank(b->severity);
    qg_outcome_of(&of_a, view, a);
    qg_outcome_of(&of_b, view, b);
    return of_a.p_hit > of_b.p_hit;
}

/* Where a protocol says pass or block the policy speaks first: by its thresholds and actions a
 * milder label can be the one that is blocked. */
static bool worse(const qg_serve_job *job, const qg_result *a, const qg_result *b)
{
    qg_outcome of_a, of_b;
    qg_outcome_of(&of_a, &job->view, a);
    qg_outcome_of(&of_b, &job->view, b);
    if (job->how->opens && of_a.block != of_b.block)
        return of_a.block;
    if (job->how->opens && of_a.hit != of_b.hit)
        return of_a.hit;
    return qg_window_worse(&job->view, a, b);
}

static void keep(qg_windows *w)
{
    qg_result *r = w->result;
    qg_second_count_add(&w->ask->second, r);
    w->prompt_tokens += r->n_prompt_tokens;
    w->cached_tokens += r->n_cached_tokens;
    w->queued_us += r->queued_us;
    w->compute_us += r->compute_us;
    if (!w->worst || worse(w->ask->job, r, w->worst)) {
        qg_result_free(w->worst);
        w->worst = r;
        w->decided_by = w->next;
    } else {
        qg_result_free(r);
    }
    w->result = NULL;
}

/* What all of them cost goes with the one that stands. */
static void finish(qg_windows *w)
{
    qg_serve_ask *ask = w->ask;
    if (w->status == QG_OK) {
        ask->result = w->worst;
        w->worst = NULL;
        ask->result->n_prompt_tokens = w->prompt_tokens;
        ask->result->n_cached_tokens = w->cached_tokens;
        ask->result->queued_us = w->queued_us;
        ask->result->compute_us = w->compute_us;
    }
    ask->err = w->err;
    qg_serve_end_ask(ask, w->status);
}

/* ---- one after the other --------------------------------------------------------------------- */

static void judge(qg_windows *w);

static void go_on(qg_task *task)
{
    qg_windows *w = (qg_windows *)task;
    if (w->status == QG_OK)
        keep(w);
    if (w->status == QG_OK && ++w->next < w->cut.n)
        judge(w);
    else
        finish(w);
}

static void pass_turn(qg_windows *w)
{
    if (atomic_fetch_sub(&w->turn, 1) == 1)
        qg_worker_post(w->ask->job->srv->worker, &w->task);
}

/* On the engine's thread. */
static void on_window(void *ud, qg_status status, qg_result *result, const qg_err *err)
{
    qg_windows *w = ud;
    w->status = status;
    w->result = result;
    if (status != QG_OK && err)
        w->err = *err;
    pass_turn(w);
}

/* Between submitting and its turn's end neither the ask nor its job can end. */
static void judge(qg_windows *w)
{
    qg_serve_ask *ask = w->ask;
    qg_serve_job *job = ask->job;
    const qg_window *window = &w->cut.at[w->next];
    qg_job *handle = NULL;
    qg_err err;
    w->messages[w->request.n_messages - 1].content =
        (qg_text){w->text.p + window->begin, window->end - window->begin};
    atomic_store(&w->turn, 2);
    qg_status rc = atomic_load(&job->gone) || atomic_load(&job->failed)
                       ? qg_fail(&err, QG_ERR_CANCELLED, "the client has gone")
                       : qg_submit(job->house->engine, &w->request, on_window, w, &handle, &err);
    if (rc != QG_OK) {
        w->status = rc;
        w->err = err;
        finish(w);
        return;
    }
    w->handles[w->next] = handle;
    atomic_store(&ask->handle, handle);
    if (atomic_load(&job->gone))
        qg_cancel(handle);
    pass_turn(w);
}

static qg_status prepare(qg_windows *w, qg_serve_ask *ask, qg_err *err)
{
    const qg_request *r = &ask->request;
    const qg_house *house = ask->job->house;
    w->task.run = go_on;
    w->ask = ask;
    w->request = *r;
    QG_TRY(qg_window_cut_request(&w->cut, house->engine, house->info.max_model_len, r, err));
    w->messages = qg_calloc(r->n_messages, sizeof *w->messages);
    if (!w->messages)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    memcpy(w->messages, r->messages, r->n_messages * sizeof *w->messages);
    w->text = r->messages[r->n_messages - 1].content;
    w->request.messages = w->messages;
    return QG_OK;
}

bool qg_serve_windows_begin(qg_serve_ask *ask, qg_status *rc, qg_err *err)
{
    const qg_request *r = &ask->request;
    if (*rc != QG_ERR_TOO_LONG || !ask->job->view.long_input_windows || r->ids || !r->n_messages)
        return false;
    qg_windows *w = qg_calloc(1, sizeof *w);
    if (!w) {
        *rc = qg_fail(err, QG_ERR_NOMEM, "out of memory");
        return false;
    }
    ask->windows = w;
    *rc = prepare(w, ask, err);
    if (*rc != QG_OK)
        return false;
    judge(w);
    return true;
}

void qg_serve_windows_free(qg_windows *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < QG_MAX_WINDOWS; i++)
        if (w->handles[i])
            qg_job_release(w->handles[i]);
    qg_result_free(w->worst);
    qg_mfree(w->messages);
    qg_mfree(w);
}

/* ---- what the reply says --------------------------------------------------------------------- */

static json_int_t code_points(const char *p, size_t n)
{
    json_int_t chars = 0;
    for (size_t i = 0; i < n; i++)
        chars += ((unsigned char)p[i] & 0xC0) != 0x80;
    return chars;
}

size_t qg_serve_windows_n(const qg_serve_ask *ask)
{
    const qg_windows *w = ask->windows; /* a rule may stand where a window failed */
    return w && ask->status == QG_OK && w->next == w->cut.n ? w->cut.n : 0;
}

json_t *qg_serve_windows_json(const qg_serve_ask *ask)
{
    const qg_windows *w = ask->windows;
    json_int_t n = (json_int_t)w->cut.n;
    if (ask->by_rule) /* of the whole text */
        return json_pack("{s:I,s:n}", "n", n, "decided_by");
    const qg_window *at = &w->cut.at[w->decided_by];
    return json_pack("{s:I,s:I,s:I,s:I}", "n", n, "decided_by", (json_int_t)w->decided_by, "begin",
                     code_points(w->text.p, at->begin), "end", code_points(w->text.p, at->end));
}

void qg_serve_windows_note(const qg_serve_job *job)
{
    char value[24];
    size_t most = 0;
    for (size_t i = 0; i < job->n_asks; i++) {
        size_t n = qg_serve_windows_n(&job->asks[i]);
        most = n > most ? n : most;
    }
    if (!most)
        return;
    snprintf(value, sizeof value, "%zu", most);
    qg_http_set_extra(job->req, "X-Qguard-Windows", value);
}
